"""Rows 29 to 33 on machines of their own: `ray up cluster/onprem.yaml` on hosts that share nothing but an S3.

`make test-cluster`. Hosts are namespaces, see `tests.faults.hosts` and `tests.faults.on_hosts`. Training, its data and
the invariants are those of all rows: whatever happens, the study must be what one process alone comes to.
"""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import MakeSandbox
from tests.faults.hosts import Network
from tests.faults.invariants import Table, interrupted_steps
from tests.faults.launched import Launched
from tests.faults.on_hosts import MARKS, at_work, begin, check_storage, end, on, wait_for_another
from tests.faults.summary import HOSTS, Row
from tests.s3 import S3

pytestmark = MARKS


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
    cluster: Launched, make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, hosts_s3: S3
) -> None:
    sandbox, named = on(make(), cluster, hosts_s3), row(29, "power of a worker node cut", "step", HOSTS)
    driver = begin(sandbox)
    host, _ = at_work(sandbox, cluster)
    host.kill()
    end(sandbox, driver, named, uninterrupted)
    assert named.tally is not None
    assert named.tally.steps <= interrupted_steps(1)


def test_a_node_is_drained(
    cluster: Launched, make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, hosts_s3: S3
) -> None:
    """As `cluster/spot_notice.py` does it; after the deadline the node is gone. No step is done twice."""
    sandbox, named = on(make(), cluster, hosts_s3), row(32, "worker node drained, 60 s to go", "step", HOSTS)
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


def test_a_node_is_out_of_reach_for_a_moment(
    cluster: Launched, make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, hosts_s3: S3
) -> None:
    """Nobody takes notice."""
    sandbox, named = on(make(), cluster, hosts_s3), row(32, "cable of a worker node out for 4 s", "step", HOSTS)
    driver = begin(sandbox)
    host, _ = at_work(sandbox, cluster)
    host.cut()
    time.sleep(4)
    host.mend()
    end(sandbox, driver, named, uninterrupted)
    assert named.tally is not None
    assert named.tally.steps == 0
    assert all((trial.attempts, trial.retries) == (1, {}) for trial in sandbox.trials())


def test_a_node_is_cut_off_and_comes_back(
    cluster: Launched, make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, hosts_s3: S3
) -> None:
    """Ray has given it up and its trial is over elsewhere; what it then still wants to say counts for nothing."""
    sandbox, named = on(make(), cluster, hosts_s3), row(32, "worker node cut off, back after its trial", "step", HOSTS)
    driver = begin(sandbox)
    host, step = at_work(sandbox, cluster)
    host.cut()
    wait_for_another(sandbox, host, step["trial"], "finish")
    host.mend()
    end(sandbox, driver, named, uninterrupted)
    assert named.tally is not None
    assert named.tally.steps <= interrupted_steps(1)
    check_storage(sandbox, uninterrupted)


def test_slow_cables(
    cluster: Launched, make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, hosts_s3: S3
) -> None:
    """To and from the workers, for the rest of the sweep; what waits longer than a second is lost."""
    sandbox, named = on(make(), cluster, hosts_s3), row(32, "cables of both workers at 300 kbit/s", "step", HOSTS)
    driver = begin(sandbox)
    at_work(sandbox, cluster)
    try:
        for host in cluster.workers:
            host.slow("tbf", "rate", "300kbit", "burst", "4kb", "latency", "1s")
        end(sandbox, driver, named, uninterrupted)
    finally:
        for host in cluster.workers:
            host.slow()
    assert named.tally is not None
    assert named.tally.steps == 0


def test_a_bad_cable(
    cluster: Launched, make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, hosts_s3: S3
) -> None:
    """Of the worker that trains; Ray may give it up. In user space, see `tests.faults.wire`."""
    if not Path("/dev/net/tun").exists():
        pytest.skip("no taps here")
    sandbox = on(make(), cluster, hosts_s3)
    named = row(32, "a worker's cable: 250 ms each way, 20 % of frames lost, for 60 s", "step", HOSTS)
    driver = begin(sandbox)
    host, _ = at_work(sandbox, cluster)
    with host.on_bad_cable(delay_s=0.25, loss=0.2):
        time.sleep(60)
    end(sandbox, driver, named, uninterrupted)
    assert named.tally is not None
    assert named.tally.steps <= interrupted_steps(2)
