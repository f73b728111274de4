"""A lost head, a failing storage, several trials at once and several sizes of cluster, on `tests.faults.on_hosts`."""

import time
from collections.abc import Callable

import pytest

from tests.faults.conftest import MakeSandbox
from tests.faults.hosts import Network
from tests.faults.invariants import Table, interrupted_steps, table
from tests.faults.launched import Launched
from tests.faults.on_hosts import (
    MARKS,
    QUICK_TO_DECLARE_DEAD,
    STORAGE,
    at_work,
    begin,
    end,
    lose_results,
    on,
)
from tests.faults.sandbox import SPACE
from tests.faults.summary import HOSTS, Row
from tests.s3 import S3, Trouble

pytestmark = MARKS
OUTAGE_S = 20.0
_MANY = 10**6
EVEN_SPACE = SPACE.replace("stopping:", "# stopping:")  # for trials at once: nobody is judged by who came first
EVENLY = ("--sampler", "random")


def test_the_head_is_lost(
    cluster: Launched, make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, hosts_s3: S3
) -> None:
    """`ray up` again and `search --resume` on a head that knows nothing but the address of the storage path."""
    sandbox = on(make(), cluster, hosts_s3)
    named = row(30, "power of the head cut; new head, new cluster, from S3 alone", "step", HOSTS)
    driver = begin(sandbox, step_s=1.0)  # so that the end of the trial before is copied by then
    sandbox.wait_for("step", timeout_s=600, trial=2, step=2)
    cluster.head.kill()
    sandbox.ended(driver)
    lose_results(sandbox)
    cluster.replace_head()
    again = on(sandbox, cluster, hosts_s3).resume(options=STORAGE)
    end(sandbox, again, named, uninterrupted)
    assert named.tally is not None
    assert named.tally.steps <= interrupted_steps(1)


@pytest.mark.parametrize("what", ["503", "reset"])
def test_the_storage_fails_for_a_while(
    cluster: Launched, make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, hosts_s3: S3, what: str
) -> None:
    """Whatever is asked of it, by worker and head: they wait."""
    sandbox, named = on(make(), cluster, hosts_s3), row(17, f"S3 answers {what} for {OUTAGE_S:g} s", "step", HOSTS)
    driver = begin(sandbox)
    at_work(sandbox, cluster)
    answers = fail(hosts_s3, what)
    time.sleep(OUTAGE_S)
    assert answers() > 2
    hosts_s3.troubles.clear()
    end(sandbox, driver, named, uninterrupted)
    assert named.tally is not None
    assert named.tally.steps == 0


def test_the_storage_refuses_access(
    cluster: Launched, make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, hosts_s3: S3
) -> None:
    """Keys have expired, say: the sweep stops before trial after trial fails, and goes on when there are new ones."""
    sandbox, named = on(make(), cluster, hosts_s3), row(17, "S3 answers 403, until a resume", "step", HOSTS)
    driver = begin(sandbox)
    at_work(sandbox, cluster)
    fail(hosts_s3, "403")
    answer = sandbox.ended(driver, code=69)
    assert "refuses access: check the credentials" in answer.cause
    hosts_s3.troubles.clear()
    end(sandbox, sandbox.resume(), named, uninterrupted)
    assert named.tally is not None
    assert named.tally.steps <= interrupted_steps(4)  # the trial was tried again three times


def fail(s3: S3, what: str) -> Callable[[], int]:
    """Have ``s3`` give nothing but this answer; gives how often it did."""
    s3.troubles += [Trouble(method, "", what, _MANY) for method in ("GET", "PUT", "HEAD", "POST", "DELETE")]
    return lambda: sum(_MANY - trouble.times for trouble in s3.troubles)


def test_several_trials_at_once(
    cluster: Launched, make: MakeSandbox, row: Callable[..., Row], net: Network, hosts_s3: S3
) -> None:
    """One of two workers goes: its trial waits until the other, or itself when it is back, has a place for it."""
    calm = make(space=EVEN_SPACE)
    calm.ended(calm.begin(options=EVENLY), code=0)
    sandbox = on(make(space=EVEN_SPACE), cluster, hosts_s3)
    named = row(29, "two trials at once, power of a worker node cut", "steps", HOSTS)
    driver = begin(sandbox, *EVENLY, "--concurrency", "2")
    for host in cluster.workers:
        sandbox.wait_for("step", timeout_s=600, host=host.name)
    cluster.workers[0].kill()
    cluster.wait_for([cluster.head, cluster.workers[1]])
    net.switch_on(cluster.workers[0])
    end(sandbox, driver, named, table(calm))
    assert named.tally is not None
    assert named.tally.steps <= interrupted_steps(1)


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_any_number_of_nodes(
    cluster: Launched,
    make: MakeSandbox,
    row: Callable[..., Row],
    uninterrupted: Table,
    net: Network,
    hosts_s3: S3,
    nodes: int,
) -> None:
    """A head that trains itself; a head and a worker; a head and two: the same study."""
    named = row("-", "nothing, one trial at a time", f"{nodes} {'nodes' if nodes > 1 else 'node'}", HOSTS)
    used = Launched(net, hosts_s3.environment | QUICK_TO_DECLARE_DEAD, workers=0) if nodes == 1 else cluster
    if nodes == 2:
        cluster.workers[1].kill()
    used.wait_for(used.nodes[:nodes])
    sandbox = on(make(), used, hosts_s3)
    end(sandbox, begin(sandbox, step_s=0.0), named, uninterrupted)
    assert {event["host"] for event in sandbox.events("step")} <= {host.name for host in used.nodes[:nodes]}
    if used is not cluster:
        used.switch_off()
