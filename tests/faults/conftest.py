"""One nursery and one Ray for all rows, a sandbox for each, and the table at the end."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.faults.invariants import Table, check, table
from tests.faults.on_hosts import cluster, hosts_s3, launched, net, store
from tests.faults.runs import CLEAN, Nursery, OnRay, Start
from tests.faults.sandbox import Sandbox, Toys
from tests.faults.summary import Row, Summary

__all__ = ["cluster", "hosts_s3", "launched", "net", "store"]  # fixtures of `make test-cluster`, in all files the same
_ROW = pytest.StashKey[Row]()
_SUMMARY = Summary()
MakeSandbox = Callable[..., Sandbox]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    row = item.stash.get(_ROW, None)
    if row is not None and report.when == "call":
        row.seconds = report.duration
        row.result = {"passed": "held", "failed": "BROKEN", "skipped": "skipped"}[report.outcome]
        report.user_properties.append(("row", asdict(row)))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Also what the workers of pytest-xdist report arrives here."""
    if report.when == "call":
        _SUMMARY.rows += [Row(**value) for name, value in report.user_properties if name == "row"]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _SUMMARY.rows:
        _SUMMARY.out.parent.mkdir(exist_ok=True)
        _SUMMARY.out.write_text(_SUMMARY.markdown())
        terminalreporter.write_line(f"\n{_SUMMARY.markdown()}written to {_SUMMARY.out}")


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Callable[..., Row]:
    """Name the test's row: number, fault, injection point, what it runs on."""

    def name(number: int | str, fault: str, point: str, on: str = "a pipe") -> Row:
        request.node.stash[_ROW] = row = Row(str(number), fault, point, on)
        return row

    return name


@pytest.fixture(scope="session")
def playground() -> Iterator[Path]:
    """A folder for sandboxes: in memory where that can be, since each row commits hundreds of times."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="dmlray-faults-", dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def toys(playground: Path) -> Toys:
    return Toys.make(playground / "toys")


@pytest.fixture(scope="session")
def clock(playground: Path) -> Path | None:
    """`clock.c` as a library; None where there is no compiler."""
    if shutil.which("cc") is None:
        return None
    out = playground / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", out, Path(__file__).with_name("clock.c")], check=True)
    return out


@pytest.fixture(scope="session")
def nursery(clock: Path | None) -> Iterator[Nursery]:
    nursery = Nursery(clock)
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def on_ray(playground: Path) -> Iterator[OnRay]:
    """One Ray for all rows that share one, with a token, known to nobody else."""
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    folder = Path(tempfile.mkdtemp(prefix="dfr-", dir="/tmp"))  # short: sockets' paths have 107 bytes
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--port=0", "--num-cpus=4"]
    command += ["--include-dashboard=false", "--disable-usage-stats", "--object-store-memory=100000000"]
    process = subprocess.Popen(
        [*map(str, command), f"--temp-dir={folder}"],
        cwd=folder,
        env=CLEAN | secret | {"RAY_worker_maximum_startup_concurrency": "16"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield OnRay(address_of(folder, process), secret)
    finally:
        process.terminate()
        process.wait(120)  # until all of Ray's processes have gone
        shutil.rmtree(folder, ignore_errors=True)


def address_of(folder: Path, process: "subprocess.Popen[bytes]") -> str:
    """Of the Ray head that ``process`` starts with ``folder`` for its files."""

    file = folder / "ray_current_cluster"
    for _ in range(1800):
        if file.exists():
            return file.read_text().strip()
        assert process.poll() is None, "Ray did not start"
        time.sleep(0.1)
    raise TimeoutError("Ray did not start within 180 s")


@pytest.fixture
def make(playground: Path, toys: Toys, nursery: Nursery) -> Iterator[MakeSandbox]:
    """Sandboxes that vanish with the test; drivers run without Ray unless ``start`` says otherwise."""
    folder = Path(tempfile.mkdtemp(dir=playground))

    def make_sandbox(start: Start = nursery, **options: Any) -> Sandbox:
        return Sandbox(folder / str(len(list(folder.iterdir()))), toys, start, **options)

    yield make_sandbox
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def uninterrupted(playground: Path, toys: Toys, nursery: Nursery) -> Table:
    """What the toy sweep comes to when nothing happens."""
    sandbox = Sandbox(playground / "uninterrupted", toys, nursery)
    sandbox.ended(sandbox.begin(), code=0)
    check(sandbox)
    return table(sandbox)


is_root = os.geteuid() == 0
