"""Two processes that train one trial together, without Ray, against one that trains it alone."""

import multiprocessing
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from dmlray.data.predictions import load_predictions
from dmlray.errors import TrainingError
from dmlray.train.distributed import ALONE, Peers
from dmlray.train.task import EpochReport, TrialTask
from dmlray.train.trial import run_trial
from tests.train.trials import CPU, GRU, files, make_task, run

CONFIG: Mapping[str, Any] = {
    **GRU,
    "batch_size": 47,  # of 48 videos: in the last batch the second worker has none
    "encoder": {"kind": "gru", "hidden": 5},
    "head": {"kind": "logistic"},
    "fusion": {"kind": "projection", "dim": 4, "penalty": 5.0},
}
NAN = {**CONFIG, "optimizer": {"kind": "adam", "learning_rate": 1e38, "clip_norm": None}}
STOP_AFTER = 1


def work(rank: int, meeting: Path, first: TrialTask, failing: TrialTask, said: Any) -> None:
    """One worker: a trial that fails, one that is stopped, and the same one resumed to its end."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    peers, reports = Peers(rank, 2), []

    def report(epoch: EpochReport) -> bool:
        reports.append(epoch)
        return epoch.epoch != STOP_AFTER

    try:
        run_trial(failing, report, CPU, peers=peers)
    except TrainingError as error:
        said.put((rank, error.reason))
    run_trial(first, report, CPU, peers=peers)
    last = peers.agree(reports[-1] if reports else None)
    assert last is not None
    resumed = replace(first, checkpoint=last.checkpoint, checkpoint_digest=last.digest)
    outcome = run_trial(resumed, report, CPU, peers=peers)
    said.put((rank, outcome.metrics))
    said.put((rank, [each.metrics["train_loss"] for each in reports]))
    dist.destroy_process_group()


@pytest.mark.thorough
def test_two_workers_train_what_one_trains(frame_data: Path, tmp_path: Path) -> None:
    alone = run(make_task(frame_data, tmp_path / "alone", CONFIG))
    first = make_task(frame_data, tmp_path / "together", CONFIG)
    failing = make_task(frame_data, tmp_path / "nan", NAN)
    spawn = multiprocessing.get_context("spawn")
    queue = spawn.Queue()
    workers = [spawn.Process(target=work, args=(n, tmp_path / "meet", first, failing, queue)) for n in range(2)]
    for worker in workers:
        worker.start()
    said: dict[int, list[Any]] = {0: [], 1: []}
    for _ in range(6):
        rank, word = queue.get(timeout=200)
        said[rank].append(word)
    for worker in workers:
        worker.join(60)
    assert said[0][0] == said[1][0] == "nan", "all meet it at the same step"
    assert said[0][1] == said[1][1], "and agree on what was measured"
    assert said[0][1] == pytest.approx(alone.outcome.metrics, rel=1e-4)
    assert said[0][2] == pytest.approx([each.metrics["train_loss"] for each in alone.reports], rel=1e-4)
    assert said[1][2] == [], "the first one alone reports"
    assert files(first).keys() == files(alone.task).keys()
    for name in ("predictions.arrow", "test_predictions.arrow"):
        ours, theirs = (load_predictions(task.directory / name) for task in (first, alone.task))
        assert list(ours.ids) == list(theirs.ids)
        np.testing.assert_allclose(np.sort(ours.scores), np.sort(theirs.scores), rtol=1e-3)


def test_a_worker_without_peers_agrees_with_itself() -> None:
    loss = torch.tensor(2.0)
    assert ALONE.average([], loss, 1.0) is loss
    assert ALONE.totals(5, 0) == [5, 0]
    assert ALONE.agree("word") == "word"
    assert ALONE.gather("word") == ["word"]
