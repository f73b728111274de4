"""Nothing leaks from trial to trial of one worker: the tenth is, bit for bit, the same trial alone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dmlray.config import TrialConfig
from dmlray.seeding import derive_seed
from dmlray.train.resume import prune_checkpoints
from dmlray.train.task import TrialTask
from dmlray.train.trial import run_trial
from tests.faults.conftest import MakeSandbox
from tests.faults.invariants import check
from tests.faults.runs import OnRay, Start
from tests.faults.sandbox import SPACE
from tests.faults.summary import Row

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
TRIALS = 10
VARIED = """\
  fusion: {choice: {concat: {}, shared: {dim: {int: [8, 32]}}, gated: {}}}
  head: {kind: logistic, dropout: {float: [0.1, 0.6]}}
"""


def kept(trial: Path) -> dict[str, object]:
    """All that a trial leaves but timings."""
    found: dict[str, object] = {
        path.relative_to(trial).as_posix(): path.read_bytes()
        for path in trial.rglob("*")
        if path.is_file() and path.name != "log.jsonl"
    }
    lines = map(json.loads, (trial / "log.jsonl").read_text().splitlines())
    return found | {"digests": [line["digest"] for line in lines]}


@pytest.mark.parametrize("on", ["a pipe", "Ray"])
def test_the_tenth_trial(
    make: MakeSandbox, row: Callable[..., Row], nursery: Start, request: pytest.FixtureRequest, on: str
) -> None:
    named = row("warm", "nothing: ten trials in one worker", "the tenth alone is the same bytes", on)
    start: OnRay | Start = request.getfixturevalue("on_ray") if on == "Ray" else nursery
    space = SPACE.replace("rule: asha", "rule: none").replace("trials: 6", f"trials: {TRIALS}")
    (head,) = [line + "\n" for line in space.splitlines() if line.startswith("  head:")]
    sandbox = make(start, space=space.replace(head, VARIED))
    sandbox.ended(sandbox.begin(), code=0, timeout_s=300)
    named.tally = check(sandbox, TRIALS)
    assert len({event["pid"] for event in sandbox.events("start")}) == 1, "one process trained all ten"

    last, alone = sandbox.trials()[-1], sandbox.folder / "alone"
    task = TrialTask(
        "toy", last.number, TrialConfig.model_validate(last.config), sandbox.toys.data, alone,
        seed=derive_seed(0, "trial", last.number),
    )  # fmt: skip
    run_trial(task, lambda report: True, torch.device("cpu"))
    assert last.best_epoch is not None
    prune_checkpoints(alone / "checkpoints", {last.best_epoch})  # as a sweep does once a trial has ended
    assert kept(alone) == kept(sandbox.sweep / f"trials/{last.number:04d}")
    shutil.rmtree(alone)
