"""A head and two workers started by `ray up` on hosts of their own, and an S3 at their switch, for all of the session.

What of `cluster/onprem.yaml` is replaced is told in `tests.faults.launched`. Beyond that Ray takes a silent node for
dead after some 15 s, not after a minute. The witness of `tests.faults.oracle` sees all hosts; workers see neither each
other's results nor the data, which come from S3.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.hosts import Host, Network, missing, network
from tests.faults.invariants import Table, check, table
from tests.faults.launched import Launched
from tests.faults.oracle import Event
from tests.faults.runs import REPOSITORY, OnRay
from tests.faults.sandbox import NAME, Sandbox, Toys
from tests.faults.summary import Row
from tests.s3 import BUCKET, S3, SECRET, serve

MARKS = [
    pytest.mark.cluster,
    pytest.mark.timeout(1200),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
STORAGE = ("--storage-path", f"s3://{BUCKET}/all")
DATA = ("--data", f"s3://{BUCKET}/set")
STEP_S = 0.5
WORKERS = 2
QUICK_TO_DECLARE_DEAD = {"RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "4000"}
QUICK_TO_DECLARE_DEAD |= {"RAY_health_check_failure_threshold": "3", "AUTOSCALER_HEARTBEAT_TIMEOUT_S": "15"}


@pytest.fixture(scope="session")
def net(playground: Path) -> Iterator[Network]:
    if reason := missing():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="dmlray-hosts-") as folder:
        kept = [REPOSITORY, Path(sys.prefix), Path(sys.base_prefix), playground]
        with network(Path(folder), kept) as made:
            yield made


@pytest.fixture(scope="session")
def store(net: Network, toys: Toys) -> Iterator[S3]:
    """At the address of the switch, with the data."""
    with serve(net.router) as s3:
        for path in toys.data.rglob("*.*"):
            s3.write(f"set/{path.relative_to(toys.data)}", path.read_bytes())
        yield s3


@pytest.fixture
def hosts_s3(store: S3) -> S3:
    """Nothing in it but the data, and no trouble."""
    store.troubles.clear()
    for key in store.objects("all"):
        store.client.delete_object(Bucket=BUCKET, Key=key)
    return store


@pytest.fixture(scope="session")
def launched(net: Network, store: S3) -> Launched:
    return Launched(net, store.environment | QUICK_TO_DECLARE_DEAD, WORKERS)


@pytest.fixture
def cluster(launched: Launched) -> Launched:
    """All of its nodes are there."""
    launched.whole()
    return launched


def on(sandbox: Sandbox, cluster: Launched, s3: S3) -> Sandbox:
    """Have its drivers run on the head; workers see nothing of its results."""
    sandbox.start = OnRay("auto", s3.environment, cluster.head.enter())
    for host in cluster.workers:
        if host.is_on:
            host.run(f"mount -t tmpfs results {sandbox.folder}/results")
    return sandbox


def begin(sandbox: Sandbox, *options: str, step_s: float = STEP_S) -> Any:
    return sandbox.begin(step_s=step_s, options=(*DATA, *STORAGE, *options))


def end(sandbox: Sandbox, driver: Any, row: Row, expected: Table) -> None:
    """The sweep has ended well, whatever befell it."""
    answer = sandbox.ended(driver, code=0, timeout_s=600)
    row.tally = check(sandbox)
    assert table(sandbox) == expected, "I8"
    assert SECRET not in answer.out + answer.err
    command(sandbox, "fsck", NAME)


def command(sandbox: Sandbox, *words: str) -> str:
    """What `dmlray` says on the head; it must succeed."""
    finished = sandbox.start(sandbox.folder, sandbox.plan(), list(words), {}).finish(300)
    assert finished.code == 0, finished.out + finished.err
    return finished.out


def check_storage(sandbox: Sandbox, expected: Table) -> None:
    """What lies on S3 is the whole sweep: a machine that has nothing gets study and predictions of it."""
    lose_results(sandbox)
    command(sandbox, "fetch", NAME, *STORAGE)
    assert table(sandbox) == expected, "I8, of what lies on S3"
    command(sandbox, "fsck", NAME, "--repair")  # of MLflow's runs, which are not copied


def lose_results(sandbox: Sandbox) -> None:
    """The next head has an empty folder. Workers go on to have one of their own there."""
    results = sandbox.folder / "results"
    sandbox.looks.clear()
    for path in results.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copy(sandbox.toys.mlflow, results / "mlflow.db")


def at_work(sandbox: Sandbox, cluster: Launched, **details: int) -> tuple[Host, Event]:
    """The worker that is in the middle of its trial's second epoch, and its step."""
    step = sandbox.wait_for("step", timeout_s=600, **({"epoch": 2} | details))
    return next(host for host in cluster.workers if host.name == step["host"]), step


def wait_for_another(sandbox: Sandbox, host: Host, trial: int, what: str = "step", timeout_s: float = 300) -> Event:
    """The first event of a trial on any other host."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for event in sandbox.events(what):
            if event["trial"] == trial and event["host"] != host.name:
                return event
        time.sleep(0.1)
    raise TimeoutError(f"no {what} of trial {trial} but on {host.name}: {json.dumps(sandbox.events())}")
