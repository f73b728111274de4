"""Rows 1 to 7: the driver dies between any two things it does."""

import random
import time
from collections.abc import Callable

import pytest

from tests.faults.conftest import MakeSandbox
from tests.faults.invariants import Table, check, interrupted_steps, table
from tests.faults.plan import Fault
from tests.faults.runs import OnRay
from tests.faults.sandbox import Sandbox
from tests.faults.summary import Row

PLACES = {
    "before-ask": 1,
    "after-ask": 1,
    "after-start": 2,
    "before-report": 3,
    "after-report": 3,
    "before-tell": 3,
    "after-tell": 4,
}
RANDOM_KILLS = 20
pytestmark = pytest.mark.timeout(900)


def kill_and_finish(sandbox: Sandbox, row: Row, uninterrupted: Table, place: str, trial: int) -> None:
    where = {} if place == "before-ask" else {"trial": trial}
    sandbox.kill_at(Fault(place, "kill", where))
    sandbox.finish()
    row.tally = check(sandbox)
    assert table(sandbox) == uninterrupted, "I8"
    assert row.tally.steps <= interrupted_steps(1)


@pytest.mark.ray
@pytest.mark.parametrize("place", ["after-ask", "after-report", "after-tell"])
def test_quick(make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, place: str) -> None:
    kill_and_finish(make(), row(PLACES[place], "driver killed", f"{place}, trial 5"), uninterrupted, place, 5)


@pytest.mark.faults
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("trial", [0, 2])
def test_at_a_place(make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, place: str, trial: int) -> None:
    """Trial 0 is trained to its end, trial 2 is stopped early."""
    named = row(PLACES[place], "driver killed", f"{place}, trial {trial}")
    kill_and_finish(make(), named, uninterrupted, place, trial)


@pytest.mark.faults
@pytest.mark.parametrize(
    "place", ["before-ask", "after-ask", "after-start", "after-report", "before-tell", "after-tell"]
)
def test_at_a_place_on_ray(
    make: MakeSandbox, row: Callable[..., Row], on_ray: OnRay, uninterrupted: Table, place: str
) -> None:
    named = row(PLACES[place], "driver killed", f"{place}, trial 0", "Ray")
    kill_and_finish(make(on_ray), named, uninterrupted, place, 0)


@pytest.mark.faults
@pytest.mark.parametrize("place", ["after-start", "before-report", "before-tell"])
def test_again_during_the_recovery(
    make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, place: str
) -> None:
    named, sandbox = row(7, "driver killed, and twice more when resuming", place), make()
    sandbox.kill_at(Fault("after-report", "kill", {"trial": 0, "epoch": 1}))
    for _ in range(2):
        sandbox.ended(sandbox.resume(Fault(place, "kill", {"trial": 0})))
    sandbox.finish()
    named.tally = check(sandbox)
    assert table(sandbox) == uninterrupted, "I8"
    again = sandbox.finish()
    assert "6" in again.err
    assert table(sandbox) == uninterrupted, "a resume of a finished sweep changes nothing"


def kill_at_random(sandbox: Sandbox, seed: int, kills: int, span_s: float, step_s: float) -> int:
    """Kill each driver a random time after its first sign of life; counts those that were still running."""
    draw = random.Random(seed)
    driver, killed = sandbox.begin(step_s=step_s), 0
    while killed < kills:
        seen = len(sandbox.events())
        while len(sandbox.events()) == seen and driver.is_running():
            time.sleep(0.005)
        time.sleep(draw.uniform(0, span_s))
        if not driver.is_running():
            break
        driver.send(9)
        sandbox.ended(driver)
        killed += 1
        driver = sandbox.resume(step_s=step_s)
    sandbox.ended(driver, code=0)
    return killed


@pytest.mark.faults
@pytest.mark.parametrize("seed", [1, 2])
def test_at_random_moments(make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, seed: int) -> None:
    sandbox, named = make(), row(6, "driver killed again and again", f"random moments, seed {seed}")
    kills = kill_at_random(sandbox, seed, RANDOM_KILLS, span_s=1.0, step_s=0.05)
    named.tally, named.remark = check(sandbox), f"{kills} kills"
    sandbox.agree()
    assert kills >= 8
    assert table(sandbox) == uninterrupted, "I8"
    assert named.tally.steps <= interrupted_steps(kills)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_at_random_moments_on_ray(
    make: MakeSandbox, row: Callable[..., Row], on_ray: OnRay, uninterrupted: Table
) -> None:
    sandbox, named = make(on_ray), row(6, "driver killed again and again", "random moments", "Ray")
    kills = kill_at_random(sandbox, 3, RANDOM_KILLS, span_s=1.5, step_s=0.2)
    named.tally, named.remark = check(sandbox), f"{kills} kills"
    assert kills >= 10
    assert table(sandbox) == uninterrupted, "I8"
    assert named.tally.steps <= interrupted_steps(kills)
