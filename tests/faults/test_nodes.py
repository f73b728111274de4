"""Row 31: a node is about to be taken away. Its trials leave in the middle of an epoch and go on elsewhere."""

import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.conftest import MakeSandbox, address_of
from tests.faults.invariants import Table, account, table
from tests.faults.runs import CLEAN, OnRay
from tests.faults.sandbox import SPACE
from tests.faults.summary import Row

pytestmark = [pytest.mark.faults, pytest.mark.timeout(2400)]
TRIALS = 2
NODE = {"RAY_worker_maximum_startup_concurrency": "16", "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "120"}


@contextmanager
def ray_node(secret: dict[str, str], *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A node as a container runs it: a SIGTERM drains it, here for at most as long as AWS warns of a spot machine."""
    command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--disable-usage-stats", *options]
    command += ["--object-store-memory=80000000", "--min-worker-port=0", "--max-worker-port=0"]
    with tempfile.NamedTemporaryFile("r") as said:
        process = subprocess.Popen(
            command, env=CLEAN | secret | NODE, stdout=said.fileno(), stderr=said.fileno(), start_new_session=True
        )
        try:
            deadline = time.monotonic() + 300
            while "Ray runtime started" not in Path(said.name).read_text():
                assert process.poll() is None, Path(said.name).read_text()
                assert time.monotonic() < deadline, Path(said.name).read_text()
                time.sleep(0.3)
            yield process
        finally:
            process.terminate()
            process.wait(180)


@pytest.fixture
def head() -> Iterator[OnRay]:
    """A node without CPUs, for the driver."""
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    folder = Path(tempfile.mkdtemp(prefix="dfn-", dir="/tmp"))  # short: sockets' paths have 107 bytes
    options = ("--head", "--port=0", "--num-cpus=0", "--include-dashboard=false", f"--temp-dir={folder}")
    try:
        with ray_node(secret, *options) as process:
            yield OnRay(address_of(folder, process), secret)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_node_is_told_that_it_goes(
    make: MakeSandbox, row: Callable[..., Row], head: OnRay, uninterrupted: Table
) -> None:
    sandbox = make(head, space=SPACE.replace("trials: 6", f"trials: {TRIALS}"))
    named = row(31, "node drained with a deadline (SIGTERM to `ray start --block`)", "amid an epoch", "Ray, 3 nodes")
    secret, worker = dict(head.environment), (f"--address={head.address}", "--num-cpus=1")
    with ray_node(secret, *worker) as going:
        driver = sandbox.begin(step_s=3.0)
        sandbox.wait_for("step", timeout_s=900, trial=0, epoch=2, step=1)
        with ray_node(secret, *worker):
            going.send_signal(signal.SIGTERM)
            sandbox.ended(driver, code=0, timeout_s=900)
    records, events = sandbox.trials(), sandbox.events()
    named.tally = account(events, {record.number for record in records if record.value is not None})
    assert table(sandbox) == uninterrupted[:TRIALS], "I8"
    assert sum((Counter(record.retries) for record in records), Counter[str]()).keys() == {"preempted"}
    assert named.tally.steps == 0, "not one step was done twice"
    assert len({event["pid"] for event in sandbox.events("start")}) > 1, "it did go on elsewhere"
