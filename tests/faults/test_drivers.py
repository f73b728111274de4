"""Rows 8 to 10: signals, and two drivers that want one sweep."""

import signal
import time
from collections.abc import Callable

import pytest

from tests.faults.conftest import MakeSandbox
from tests.faults.invariants import Table, check, interrupted_steps, table
from tests.faults.orphans import processes_of
from tests.faults.plan import Fault
from tests.faults.runs import Nursery, OnRay
from tests.faults.sandbox import Sandbox
from tests.faults.summary import Row

GRACE_S = 60.0  # on a busy machine: for slots that are told to stop, for the agents of a Ray that died
pytestmark = pytest.mark.timeout(600)


def stop_and_finish(sandbox: Sandbox, row: Row, uninterrupted: Table, *signals: int) -> None:
    driver = sandbox.begin(step_s=0.1)
    sandbox.wait_for("step", trial=0, epoch=2)
    for number in signals:
        driver.send(number)
        time.sleep(0.3)
    started = time.monotonic()
    answer = sandbox.ended(driver, code=75)
    row.remark = f"exit 75 after {time.monotonic() - started:.0f} s"
    assert time.monotonic() - started < GRACE_S
    if len(signals) == 1:
        assert "dmlray search --resume toy" in answer.cause
    sandbox.finish()
    row.tally = check(sandbox)
    assert table(sandbox) == uninterrupted, "I8"
    assert row.tally.steps <= interrupted_steps(1)


@pytest.mark.ray
def test_quick(make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table) -> None:
    stop_and_finish(make(), row(8, "SIGTERM to the driver", "amid an epoch"), uninterrupted, signal.SIGTERM)


SIGNALS = {
    "SIGTERM": (signal.SIGTERM,),
    "SIGINT": (signal.SIGINT,),
    "SIGINT twice": (signal.SIGINT, signal.SIGINT),
    "SIGTERM, then SIGINT": (signal.SIGTERM, signal.SIGINT),
}


@pytest.mark.faults
@pytest.mark.parametrize("name", SIGNALS)
def test_signals(make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, name: str) -> None:
    stop_and_finish(make(), row(8, f"{name} to the driver", "amid an epoch"), uninterrupted, *SIGNALS[name])


@pytest.mark.faults
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGINT twice"])
def test_signals_on_ray(
    make: MakeSandbox, row: Callable[..., Row], on_ray: OnRay, uninterrupted: Table, name: str
) -> None:
    sandbox, named = make(on_ray), row(8, f"{name} to the driver", "amid an epoch", "Ray")
    stop_and_finish(sandbox, named, uninterrupted, *SIGNALS[name])
    assert processes_of(sandbox.folder) == [], "I9"


@pytest.mark.faults
@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT twice", "SIGTERM"])
def test_nothing_is_left_of_a_ray_of_its_own(
    make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, name: str
) -> None:
    """The user's usual case: the driver started Ray, and everything of it must go with the driver."""
    sandbox, named = make(OnRay(None, {})), row(8, f"{name} to the driver", "amid an epoch", "its own Ray")
    driver = sandbox.begin(step_s=0.1)
    sandbox.wait_for("step", trial=0, epoch=2)
    agents = [process for process in processes_of(sandbox.folder) if "Agent" in process]
    assert len(agents) == 2, "their environment is there to be seen, also by the guard"
    for number in SIGNALS.get(name, (signal.SIGKILL,)):
        driver.send(number)
        time.sleep(0.3)
    sandbox.ended(driver, code=None if name == "SIGKILL" else 75)
    deadline = time.monotonic() + GRACE_S
    while (left := processes_of(sandbox.folder)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert left == [], "I9"
    sandbox.finish()
    named.tally = check(sandbox)
    assert table(sandbox) == uninterrupted, "I8"
    assert processes_of(sandbox.folder) == [], "I9"


@pytest.mark.ray
def test_two_resumes_at_once(make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table) -> None:
    sandbox, named = make(), row(9, "two resumes at once", "start")
    sandbox.kill_at(Fault("after-report", "kill", {"trial": 0, "epoch": 1}))
    drivers = [sandbox.resume(step_s=0.05), sandbox.resume(step_s=0.05)]
    answers = {driver.pid: driver.finish() for driver in drivers}
    (refused,) = [answer for answer in answers.values() if answer.code == 73]
    (winner,) = [pid for pid, answer in answers.items() if answer.code == 0]
    assert f"process {winner}" in refused.cause
    sandbox.look()
    named.tally = check(sandbox)
    assert table(sandbox) == uninterrupted, "I8"


@pytest.mark.faults
@pytest.mark.parametrize("place", ["before-report", "before-tell", "before-ask"])
def test_a_suspended_driver_is_fenced(
    make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, place: str
) -> None:
    """It stops without a word to its lease, another takes over and finishes; then it wakes up, about to write."""
    sandbox, named = make(), row(10, "SIGSTOP past the lease, SIGCONT after a resume", place)
    where = {} if place == "before-ask" else {"trial": 0}
    suspended = sandbox.begin(Fault(place, "stop", where))
    sandbox.wait_for("fault")
    sandbox.finish()
    expected = table(sandbox)
    suspended.send(signal.SIGCONT)
    answer = suspended.finish()
    assert answer.code == 73, answer.err
    assert "taken over" in answer.cause
    assert table(sandbox) == expected == uninterrupted, "not one row of the old driver"
    named.tally = check(sandbox)


@pytest.mark.faults
@pytest.mark.parametrize("direction", ["forward", "back"])
def test_the_wall_clock_jumps(
    make: MakeSandbox, row: Callable[..., Row], nursery: Nursery, uninterrupted: Table, direction: str
) -> None:
    sandbox, named = make(), row(28, f"clock moved {direction} by an hour", "after-report")
    if not nursery.has_clock:
        pytest.skip("there is no C compiler for the clock that can be moved")
    driver = sandbox.begin(Fault("after-report", f"clock-{direction}", {"trial": 0, "epoch": 1}))
    sandbox.ended(driver, code=0)
    named.tally = check(sandbox)
    assert table(sandbox) == uninterrupted, "I8"
    trial = sandbox.trials()[0]
    assert trial.started is not None
    assert trial.finished is not None
    moved_s = (trial.finished - trial.started).total_seconds()
    assert abs(abs(moved_s) - 3600) < 600, "the clock did jump"
