"""Memory that runs out makes parts smaller and changes nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dmlray.errors import TrainingError
from dmlray.train.evaluate import evaluate
from dmlray.train.loop import Training, train_epochs
from dmlray.train.microbatch import MicroBatch
from tests.train.conftest import CLASSES
from tests.train.trials import CPU, GRU, Ran, log_lines, make_task, run

pytestmark = pytest.mark.thorough

Start = Callable[[], Training]
NO_DROPOUT = {**GRU, "batch_size": 12, "encoder": {"kind": "gru", "hidden": 5}, "head": {"kind": "logistic"}}
PROJECTION = {**NO_DROPOUT, "fusion": {"kind": "projection", "dim": 4, "penalty": 5.0}}


class SmallMemory:
    """A forward hook that fails as CUDA does when more than ``videos`` go through at once in training."""

    def __init__(self, videos: int) -> None:
        self.videos, self.failures = videos, 0

    def __call__(self, model: nn.Module, inputs: tuple[dict[str, Tensor], Tensor]) -> None:
        if len(inputs[1]) > self.videos:
            self.failures += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB")


def without_dropout(training: Training) -> Training:
    training.model.get_submodule("layers.2").p = 0.0  # type: ignore[assignment]
    return training


@pytest.mark.parametrize(("memory", "size", "failures"), [(8, None, 0), (5, 4, 1), (3, 2, 2), (1, 1, 3)])
def test_smaller_parts_train_the_same(start: Start, batches: Any, memory: int, size: int | None, failures: int) -> None:
    whole, parts = without_dropout(start()), without_dropout(start())
    hook = SmallMemory(memory)
    parts.model.register_forward_pre_hook(hook)
    expected = [stats.loss for stats in train_epochs(whole, batches)]
    found = list(train_epochs(parts, batches))
    assert [stats.loss for stats in found] == pytest.approx(expected, rel=1e-5)
    for wanted, parameter in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(parameter, wanted, rtol=1e-4, atol=1e-6)
    assert parts.videos == whole.videos
    assert parts.micro_batch.size == size
    assert hook.failures == failures, "it stays with the size that fits"
    assert found[0].metrics().get("micro_batch") == size


def test_memory_that_ends_in_the_backward_pass_leaves_no_gradient_twice(start: Start, batches: Any) -> None:
    whole, parts = without_dropout(start()), without_dropout(start())
    failures: list[int] = []

    def fail_late(gradient: Tensor) -> None:
        if len(failures) < 2:
            failures.append(1)
            raise torch.OutOfMemoryError("CUDA out of memory.")

    parts.model.get_parameter("layers.0.weight").register_hook(fail_late)  # others have their gradients by then
    expected, found = next(train_epochs(whole, batches)), next(train_epochs(parts, batches))
    assert len(failures) == 2
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)


def test_a_batch_begun_again_draws_the_same_dropout(start: Start, batches: Any) -> None:
    asked, forced = start(), start()
    asked.micro_batch.size = 4
    memory = SmallMemory(4)
    forced.model.register_forward_hook(lambda model, inputs, output: memory(model, inputs))  # once masks are drawn
    expected, found = next(train_epochs(asked, batches)), next(train_epochs(forced, batches))
    assert memory.failures == 1
    assert found.loss == expected.loss


@pytest.mark.parametrize("problem", ["CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`", "size mismatch"])
def test_libraries_that_find_no_memory(start: Start, batches: Any, problem: str) -> None:
    training, calls = start(), []

    def fail_once(*_: object) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError(f"CUDA error: {problem}")

    training.model.register_forward_pre_hook(fail_once)
    if "ALLOC" in problem:
        next(train_epochs(training, batches))
        assert training.micro_batch.size == 4
    else:
        with pytest.raises(RuntimeError, match="size mismatch"):
            next(train_epochs(training, batches))


def test_evaluation_goes_on_in_parts(start: Start, batches: Any) -> None:
    model, memory = start().model, MicroBatch()
    expected = evaluate(model, batches, CLASSES, CPU)
    model.register_forward_pre_hook(SmallMemory(3))
    found = evaluate(model, batches, CLASSES, CPU, micro_batch=memory)
    assert memory.size == 2
    assert found.metrics == pytest.approx(expected.metrics, rel=1e-5)
    assert list(found.predictions.ids) == list(expected.predictions.ids)  # type: ignore[union-attr]


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from dmlray.train import trial

    build = trial.build_model

    def build_with_hook(*arguments: Any) -> nn.Module:
        model = build(*arguments)
        model.register_forward_pre_hook(SmallMemory(5))
        return model

    monkeypatch.setattr(trial, "build_model", build_with_hook)


@pytest.mark.parametrize("config", [NO_DROPOUT, PROJECTION], ids=["concat", "penalty"])
def test_a_trial_records_it_and_resumes_with_it(
    frame_data: Path, tmp_path: Path, config: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    whole = run(make_task(frame_data, tmp_path / "whole", config))
    request.getfixturevalue("small_memory")
    first = run(make_task(frame_data, tmp_path / "parts", config), stop_after=2)
    second = run(first.resumed())
    curve = first.curve() + second.curve()
    for epoch, wanted in zip(curve, whole.curve(), strict=True):
        assert epoch["train_loss"] == pytest.approx(wanted["train_loss"], rel=1e-4)
        assert epoch["val_loss"] == pytest.approx(wanted["val_loss"], rel=1e-4)
    assert [report.metrics.get("micro_batch") for report in first.reports + second.reports] == [3, 3, 3]
    (warning,) = [line["warning"] for line in log_lines(first.task) if "warning" in line]
    assert warning == "memory ran out in epoch 1: the model sees 3 videos at a time, in batches of 12 as before"


def test_a_micro_batch_that_was_asked_for_is_no_warning(frame_data: Path, tmp_path: Path) -> None:
    asked: Ran = run(make_task(frame_data, tmp_path / "asked", {**NO_DROPOUT, "micro_batch": 5}))
    assert asked.reports[0].metrics["micro_batch"] == 5
    assert not [line for line in log_lines(asked.task) if "warning" in line]


def test_not_even_one_video(start: Start, batches: Any) -> None:
    training = start()
    training.model.register_forward_pre_hook(SmallMemory(0))
    with pytest.raises(TrainingError, match=r"pooling\.kind=mean") as caught:
        next(train_epochs(training, batches))
    assert caught.value.reason == "out_of_memory"
    assert training.micro_batch.size == 1
