"""Rows 11 to 16, 18 and 33: the study's file is damaged, locked, on a full disk; nothing is trained on a guess."""

import os
import pickle
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import MakeSandbox
from tests.faults.invariants import Table, check, table
from tests.faults.plan import Fault
from tests.faults.sandbox import Sandbox
from tests.faults.summary import Row

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def cut_off(make: MakeSandbox) -> Sandbox:
    """A sweep whose driver was killed in the middle."""
    sandbox: Sandbox = make()
    sandbox.kill_at(Fault("after-report", "kill", {"trial": 2, "epoch": 1}))
    return sandbox


def settle(study: Path) -> None:
    """Bring the write-ahead log into the database, so that damage to the one is not repaired from the other."""
    with closing(sqlite3.connect(study)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def truncated(study: Path) -> None:
    os.truncate(study, study.stat().st_size // 2)


def emptied(study: Path) -> None:
    os.truncate(study, 0)


def missing(study: Path) -> None:
    study.unlink()


def replaced(study: Path) -> None:
    study.write_text("trial,value\n0,0.9\n" * 500)


def zeroed(study: Path) -> None:
    """All pages but the first, as a file system does that lost them."""
    with study.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(study.stat().st_size - 4096))


def newer(study: Path) -> None:
    """As a later version would write it."""
    with closing(sqlite3.connect(study)) as connection, connection:
        query = "UPDATE study_user_attributes SET value_json = replace(value_json, '\"format\": ', '\"format\": 9')"
        assert connection.execute(query).rowcount


DAMAGES = {"truncated": truncated, "emptied": emptied, "missing": missing, "replaced": replaced, "zeroed": zeroed}


@pytest.mark.faults
@pytest.mark.parametrize("name", [*DAMAGES, "of a newer version"])
def test_a_damaged_study_trains_nothing(cut_off: Sandbox, row: Callable[..., Row], name: str) -> None:
    row(14 if "newer" in name else 12, f"study file {name}", "before a resume")
    settle(cut_off.study_file)
    {**DAMAGES, "of a newer version": newer}[name](cut_off.study_file)
    before = len(cut_off.events())
    for words in (["search", "--resume", "toy"], ["fsck", "toy"], ["top", "toy"]):
        answer = cut_off.start(cut_off.folder, cut_off.plan(), words, {}).finish()
        assert answer.code == 74, f"{words} left with {answer.code}: {answer.err}"
        assert "study.db" in answer.cause
        assert "Traceback" not in answer.err
    assert len(cut_off.events()) == before, "nothing is trained on a guess"


@pytest.mark.faults
@pytest.mark.parametrize("share", [0.99, 0.6, 0.2, 0.0])
def test_a_log_that_lost_its_tail(
    cut_off: Sandbox, row: Callable[..., Row], uninterrupted: Table, share: float
) -> None:
    """Committed transactions vanish, as when a disk lies about fsync: the study opens at the last whole one."""
    row(11, f"write-ahead log cut to {share:.0%}", "before a resume")
    log = Path(f"{cut_off.study_file}-wal")
    assert log.stat().st_size > 0, "what a killed driver leaves"
    os.truncate(log, int(log.stat().st_size * share))
    cut_off.ended(cut_off.resume(), code=0)
    assert table(cut_off) == uninterrupted, "I8"


@pytest.mark.faults
def test_pickles_of_others_are_never_opened(cut_off: Sandbox, row: Callable[..., Row], uninterrupted: Table) -> None:
    named = row(13, "canary pickles where Ray Tune keeps its state", "before a resume")
    canary = cut_off.folder / "canary"

    class Canary:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (canary,)

    for name in ("tuner.pkl", "trainable.pkl", "searcher-state.pkl", "experiment_state-2026-01-01.json", "study.pkl"):
        for folder in (cut_off.sweep, cut_off.sweep / ".ray", cut_off.sweep / "trials/0000/checkpoints"):
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(pickle.dumps(Canary()))
    cut_off.finish()
    named.tally = check(cut_off)
    assert table(cut_off) == uninterrupted, "I8"
    assert not canary.exists()


@pytest.mark.faults
def test_a_lock_that_is_held(make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table) -> None:
    sandbox, named = make(), row(18, "study locked by another process for 10 s", "running")
    driver = sandbox.begin(step_s=0.05)
    sandbox.wait_for("reported")
    with closing(sqlite3.connect(sandbox.study_file, timeout=60)) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(10)
        other.rollback()
    sandbox.ended(driver, code=0)
    named.tally = check(sandbox)
    assert table(sandbox) == uninterrupted, "I8"


@contextmanager
def disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """A file system of this size at ``folder``; skips the test where it cannot be made."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small file system needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small file system could not be mounted: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("place", "where"),
    [("step", {"trial": 0, "epoch": 2, "step": 1}), ("before-report", {"trial": 0, "epoch": 2}), ("before-tell", {})],
)
def test_a_full_disk(
    make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, place: str, where: dict[str, int]
) -> None:
    """The sweep stops with what it has, and goes on once there is room."""
    named, sandbox = row(15, "disk full", place), make()
    store = (sandbox.folder / "results/mlflow.db").read_bytes()
    with disk(sandbox.folder / "results", 6):
        (sandbox.folder / "results/mlflow.db").write_bytes(store)
        answer = sandbox.ended(sandbox.begin(Fault(place, "fill-disk", where)), code=74)
        assert "results" in answer.cause
        (sandbox.folder / "results/filler").unlink()
        sandbox.finish()
        named.tally = check(sandbox)
        assert table(sandbox) == uninterrupted, "I8"


@pytest.mark.faults
def test_a_disk_that_became_read_only(make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table) -> None:
    named, sandbox = row(16, "results read-only", "before a resume"), make()
    store = (sandbox.folder / "results/mlflow.db").read_bytes()
    with disk(sandbox.folder / "results", 16) as folder:
        (folder / "mlflow.db").write_bytes(store)
        sandbox.kill_at(Fault("after-report", "kill", {"trial": 2, "epoch": 1}))
        time.sleep(1)  # until its workers have gone too
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        before = len(sandbox.events())
        sandbox.ended(sandbox.resume(), code=74)
        assert len(sandbox.events()) == before
        subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
        sandbox.finish()
        named.tally = check(sandbox)
        assert table(sandbox) == uninterrupted, "I8"


@pytest.mark.faults
def test_a_sweep_that_is_removed_while_it_runs(make: MakeSandbox, row: Callable[..., Row]) -> None:
    sandbox = make()
    row(16, "sweep's folder removed", "after-report")
    driver = sandbox.begin(Fault("after-report", "remove-sweep", {"trial": 0, "epoch": 1}))
    sandbox.ended(driver, code=74)


@pytest.mark.faults
def test_resources_that_no_node_has(make: MakeSandbox, row: Callable[..., Row]) -> None:
    row(33, "8 GPUs a trial, on a machine without", "start")
    sandbox = make()
    started = time.monotonic()
    answer = sandbox.ended(sandbox.begin(options=("--gpus-per-trial", "8")), code=78)
    assert "--gpus-per-trial" in answer.cause
    assert time.monotonic() - started < 30
    assert not sandbox.sweep.exists(), "its name is free again"
