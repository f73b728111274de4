"""Rows 29 to 33 on machines of their own: `ray up cluster/onprem.yaml` on hosts that share nothing but an S3.

`make test-cluster`. Hosts are namespaces, see `tests.faults.hosts`; what of the file is replaced is told in
`tests.faults.launched`. Beyond that Ray takes a silent node for dead after some 15 s, not after a minute. The witness
of `tests.faults.oracle` sees all hosts; they see neither each other's results nor the data, which come from S3.
Training, its data and the invariants are those of all rows: whatever happens, the study must be what one process alone
comes to.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import MakeSandbox
from tests.faults.hosts import Host, Network, missing, network
from tests.faults.invariants import Table, check, interrupted_steps, table
from tests.faults.launched import Launched
from tests.faults.oracle import Event
from tests.faults.runs import REPOSITORY, OnRay
from tests.faults.sandbox import NAME, Sandbox, Toys
from tests.faults.summary import HOSTS, Row
from tests.faults.test_storage import STORAGE
from tests.s3 import BUCKET, S3, SECRET, serve

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(2400),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
DATA = ("--data", f"s3://{BUCKET}/set")
STEP_S = 0.5
WORKERS = 2
QUICK_TO_DECLARE_DEAD = {"RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "4000"}
QUICK_TO_DECLARE_DEAD |= {"RAY_health_check_failure_threshold": "3", "AUTOSCALER_HEARTBEAT_TIMEOUT_S": "15"}


@pytest.fixture(scope="module")
def net(playground: Path) -> Iterator[Network]:
    if reason := missing():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="dmlray-hosts-") as folder:
        kept = [REPOSITORY, Path(sys.prefix), Path(sys.base_prefix), playground]
        with network(Path(folder), kept) as made:
            yield made


@pytest.fixture(scope="module")
def server(net: Network, toys: Toys) -> Iterator[S3]:
    """At the address of the switch, with the data."""
    with serve(net.router) as s3:
        for path in toys.data.rglob("*.*"):
            s3.write(f"set/{path.relative_to(toys.data)}", path.read_bytes())
        yield s3


@pytest.fixture(scope="module")
def launched(net: Network, server: S3) -> Launched:
    return Launched(net, server.environment | QUICK_TO_DECLARE_DEAD, WORKERS)


@pytest.fixture
def cluster(launched: Launched) -> Launched:
    """All of its nodes are there."""
    launched.whole()
    return launched


@pytest.fixture
def s3(server: S3) -> S3:
    """Nothing in it but the data."""
    for key in server.objects("all"):
        server.client.delete_object(Bucket=BUCKET, Key=key)
    return server


def on(cluster: Launched, make: MakeSandbox, s3: S3) -> Sandbox:
    """A sandbox on the head."""
    sandbox = make()
    move(sandbox, cluster, s3)
    return sandbox


def move(sandbox: Sandbox, cluster: Launched, s3: S3) -> None:
    """Have its drivers run on the head; workers see nothing of its results."""
    sandbox.start = OnRay("auto", s3.environment, cluster.head.enter())
    for host in cluster.workers:
        if host.is_on:
            host.run(f"mount -t tmpfs results {sandbox.folder}/results")


def begin(sandbox: Sandbox, *options: str, step_s: float = STEP_S) -> Any:
    return sandbox.begin(step_s=step_s, options=(*DATA, *STORAGE, *options))


def end(sandbox: Sandbox, driver: Any, row: Row, expected: Table) -> None:
    """The sweep has ended well, whatever befell it."""
    answer = sandbox.ended(driver, code=0, timeout_s=1200)
    row.tally = check(sandbox)
    assert table(sandbox) == expected, "I8"
    assert SECRET not in answer.out + answer.err
    finished = sandbox.start(sandbox.folder, sandbox.plan(), ["fsck", NAME], {}).finish(300)
    assert finished.code == 0, finished.out + finished.err


def at_work(sandbox: Sandbox, cluster: Launched) -> tuple[Host, Event]:
    """The worker that is in the middle of its trial's second epoch, and its step."""
    step = sandbox.wait_for("step", timeout_s=900, epoch=2)
    return next(host for host in cluster.workers if host.name == step["host"]), step


def test_hosts_are_apart(net: Network) -> None:
    """What `ray stop` looks for on one host, the processes of this machine are not."""
    apart = net.add("apart", {"GIVEN": "to who logs in"})
    outside = subprocess.Popen(["sleep", "600"])
    try:
        assert apart.run("ps -C sleep -o pid= || true") == ""
        assert f"/{outside.pid}" not in apart.run("echo /proc/[0-9]*")
        assert apart.run("hostname").strip() == "apart"
        assert apart.run("ls -d /tmp/ray ~/.ray 2>/dev/null || true") == ""
        key = ["-i", str(net.key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        words = ["ssh", *key, f"root@{apart.address}", "echo $GIVEN; touch ~/kept; pwd"]
        assert subprocess.check_output(words, text=True, stderr=subprocess.DEVNULL) == "to who logs in\n/run/home\n"
        apart.kill()
        assert outside.poll() is None
        net.switch_on(apart)
        assert apart.run("ls ~").strip() == "kept"
    finally:
        outside.kill()
        outside.wait()
        apart.kill()


def test_a_node_is_killed(
    cluster: Launched, make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, s3: S3
) -> None:
    sandbox, named = on(cluster, make, s3), row(29, "power of a worker node cut", "step", HOSTS)
    driver = begin(sandbox)
    host, _ = at_work(sandbox, cluster)
    host.kill()
    end(sandbox, driver, named, uninterrupted)
    assert named.tally is not None
    assert named.tally.steps <= interrupted_steps(1)


def test_a_node_is_drained(
    cluster: Launched, make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, s3: S3
) -> None:
    """As `cluster/spot_notice.py` does it; after the deadline the node is gone. No step is done twice."""
    sandbox, named = on(cluster, make, s3), row(32, "worker node drained, 60 s to go", "step", HOSTS)
    driver = begin(sandbox, step_s=4.0)  # so that the trial is not over first
    host, step = at_work(sandbox, cluster)
    drain = f"import spot_notice; assert spot_notice.drain('{cluster.head.address}:6379', 60)"
    host.run(f'cd ~/dmlray/cluster && python -c "{drain}"')
    time.sleep(60)
    host.kill()
    end(sandbox, driver, named, uninterrupted)
    assert named.tally is not None
    assert named.tally.steps == 0
    assert "preempted" in json.dumps(sandbox.trials()[step["trial"]].retries)
