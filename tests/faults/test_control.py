"""The control: ten kills of stock Ray Tune with Optuna, and the same ten of dmlray, seen by the same oracle."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import MakeSandbox
from tests.faults.invariants import Tally, account, check
from tests.faults.plan import Plan
from tests.faults.runs import CLEAN, OnRay
from tests.faults.sandbox import SPACE, Toys
from tests.faults.summary import Row

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]
# Killed once the oracle has seen so many of these; the second number is how many seconds later.
MOMENTS = [("finish", n, 0.0) for n in (1, 2, 3, 4)] + [("finish", n, 0.3) for n in (2, 4)]
MOMENTS += [("step", n, 0.0) for n in (5, 14, 23, 41)]
STEP_S = 0.1
WITHOUT_STOPPING = SPACE.replace("rule: asha", "rule: none")


def wait_for_moment(plan: Plan, is_running: Callable[[], bool], kind: str, count: int, delay_s: float) -> None:
    while is_running() and sum(event["what"] == kind for event in plan.oracle.events()) < count:
        time.sleep(0.01)
    time.sleep(delay_s)


def last_error(said: Path) -> str:
    """The name of the exception that a process died of."""
    names = re.findall(r"^([\w.]+(?:Error|Exception))\b", said.read_text(), flags=re.MULTILINE)
    return names[-1].rpartition(".")[2] if names else "no answer"


def total(tallies: list[Tally]) -> Tally:
    return Tally(*(sum(column) for column in zip(*tallies, strict=True)))


def stock(folder: Path, data: Path, ray: OnRay, moment: tuple[str, int, float]) -> tuple[Tally, str]:
    """What one kill and one restore cost, and the name of the error where the restore did not end the sweep."""
    plan = Plan(folder, (), STEP_S)
    (folder / "plan").write_bytes(pickle.dumps(plan))

    def run(what: str) -> "subprocess.Popen[str]":
        words = [sys.executable, "-m", "tests.faults.stock", folder / "plan", what, folder, data, ray.address]
        with (folder / "err").open("w") as errors:
            return subprocess.Popen(
                [str(word) for word in words],
                env=CLEAN | dict(ray.environment),
                cwd=folder,
                text=True,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )

    with run("begin") as driver:
        wait_for_moment(plan, lambda: driver.poll() is None, *moment)
        assert driver.poll() is None, "killed while it ran"
        driver.kill()
    with run("restore") as driver:
        try:
            out, _ = driver.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            os.killpg(driver.pid, signal.SIGKILL)
            out = ""
    told = json.loads(out.splitlines()[-1]) if driver.returncode == 0 else []
    return account(plan.oracle.events(), set(told)), "" if driver.returncode == 0 else last_error(folder / "err")


def test_stock_ray_tune(row: Callable[..., Row], toys: Toys, on_ray: OnRay, playground: Path) -> None:
    named = row("stock", "driver of Tuner + OptunaSearch killed, Tuner.restore", "10 moments", "Ray")
    tallies, errors = [], []
    for moment in MOMENTS:
        folder = Path(tempfile.mkdtemp(dir=playground))
        tally, error = stock(folder, toys.data, on_ray, moment)
        tallies.append(tally)
        errors += [error] if error else []
    named.tally = total(tallies)
    causes = ", ".join(sorted(set(errors)))
    named.remark = f"{len(errors)} of {len(tallies)} could not be restored{': ' if causes else ''}{causes}"
    assert named.tally.lost + named.tally.repeated > 0, "the oracle can see a loss"


def test_dmlray(make: MakeSandbox, row: Callable[..., Row], on_ray: OnRay) -> None:
    named = row("stock", "driver of dmlray killed, --resume", "the same 10 moments", "Ray")
    tallies = []
    for kind, count, delay_s in MOMENTS:
        sandbox = make(on_ray, space=WITHOUT_STOPPING)
        driver = sandbox.begin(step_s=STEP_S)
        wait_for_moment(Plan(sandbox.folder), driver.is_running, kind, count, delay_s)
        driver.send(signal.SIGKILL)
        sandbox.ended(driver)
        sandbox.finish()
        tallies.append(check(sandbox))
    named.tally, named.remark = total(tallies), "all resumed"
    assert (named.tally.lost, named.tally.repeated) == (0, 0)
