"""What only a GPU can show: that it trains, resumes and evaluates as a CPU does, in half the digits too."""

import gc
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dmlray.config import FramesConfig, TrialConfig
from dmlray.data.batch import Batch, Batches
from dmlray.data.dataset import Dataset
from dmlray.data.prefetch import Prefetched
from dmlray.data.schema import Schema
from dmlray.errors import TrainingError
from dmlray.model.build import build_model
from dmlray.model.classifier import ModelOutput
from dmlray.model.encoder import RecurrentStack
from dmlray.train.averaging import MovingAverage
from dmlray.train.evaluate import evaluate
from dmlray.train.loop import Training, train_epochs
from dmlray.train.loss import cross_entropy
from dmlray.train.objective import Objective
from dmlray.train.optim import build_optimizer
from dmlray.train.precision import Precision
from dmlray.train.task import EpochReport
from dmlray.train.threads import generator_mark, seeded
from tests.data.videos import FRAME, VIDEO
from tests.model import cases
from tests.model.test_classifier import CASES, NAMES
from tests.train.conftest import CLASSES, MemoryBatches
from tests.train.test_leaving import leave
from tests.train.trials import CPU, GRU, LOGISTIC, make_task, run

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that PyTorch can use"),
    pytest.mark.filterwarnings("default", "error:RNN module weights"),  # PyTorch's own hints come and go
]
GPU = torch.device("cuda")
PLAIN: Mapping[str, Any] = {**LOGISTIC, "epochs": 8, "precision": "float32", "head": {"kind": "logistic"}}
RECURRENT: Mapping[str, Any] = {
    **GRU,
    "epochs": 8,
    "precision": "float32",
    "optimizer": {"kind": "adam", "learning_rate": 0.02},
    "encoder": {"kind": "gru", "hidden": 8, "bidirectional": True},
    "head": {"kind": "logistic"},
    "frames": {"select": "all"},
}
DROPPING = {"head": {"kind": "logistic", "dropout": 0.3}}


@pytest.fixture
def level(request: pytest.FixtureRequest) -> tuple[Path, Mapping[str, Any]]:
    """Data and a configuration for it, by the fixture's parameter."""
    is_frames = request.param == "recurrent"
    return request.getfixturevalue("frame_data" if is_frames else "data"), RECURRENT if is_frames else PLAIN


LEVELS = pytest.mark.parametrize("level", ["logistic", "recurrent"], indirect=True)


@LEVELS
def test_float32_is_nearly_a_cpu(level: tuple[Path, Mapping[str, Any]], tmp_path: Path) -> None:
    data, config = level
    expected = run(make_task(data, tmp_path / "cpu", config)).curve()
    found = run(make_task(data, tmp_path / "gpu", config), device=GPU).curve()
    for epoch, wanted in zip(found, expected, strict=True):
        assert epoch["train_loss"] == pytest.approx(wanted["train_loss"], rel=0.02)  # cuDNN rounds to TF32
        assert epoch["val_gap"] == pytest.approx(wanted["val_gap"], abs=0.05)


@LEVELS
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_the_digits_train_about_as_well(
    level: tuple[Path, Mapping[str, Any]], tmp_path: Path, precision: str
) -> None:
    data, config = level
    expected = run(make_task(data, tmp_path / "float32", config), device=GPU).curve()[-1]
    half = {**config, "precision": precision, "epochs": config["epochs"] + 2}  # float16 leaves its first steps out
    found = run(make_task(data, tmp_path / "half", half), device=GPU).curve()
    assert found[-1]["train_loss"] < 0.7 * found[0]["train_loss"]
    assert found[-1]["train_loss"] < 1.2 * expected["train_loss"]
    assert found[-1]["val_gap"] > expected["val_gap"] - 0.1


@LEVELS
@pytest.mark.parametrize(("precision", "stop_after"), [("float32", 1), ("bfloat16", 5), ("float16", 3)])
def test_resumes_after_an_epoch(
    level: tuple[Path, Mapping[str, Any]], tmp_path: Path, precision: str, stop_after: int
) -> None:
    data, config = level
    config = {**config, **DROPPING, "precision": precision}
    whole = run(make_task(data, tmp_path / "whole", config), device=GPU)
    first = run(make_task(data, tmp_path / "parts", config), stop_after, GPU)
    second = run(first.resumed(), device=GPU)
    goes_on_alike(first.curve() + second.curve(), whole.curve())
    assert not second.outcome.warnings


@LEVELS
@pytest.mark.parametrize("steps", [(2,), (7, 2)])
def test_resumes_from_amid_an_epoch(
    level: tuple[Path, Mapping[str, Any]], tmp_path: Path, steps: tuple[int, ...]
) -> None:
    data, config = level
    task = make_task(data, tmp_path / "parts", {**config, **DROPPING, "precision": "bfloat16"})
    whole = run(replace(task, directory=tmp_path / "whole"), device=GPU)
    reports: list[EpochReport] = []
    for step in steps:
        left = leave(task, step, GPU)
        task, reports = left.task, reports + left.reports
    last = run(task, device=GPU)
    assert last.outcome.resumed_from is not None
    assert "step" in last.outcome.resumed_from
    goes_on_alike(replace(last, reports=reports + last.reports).curve(), whole.curve())


def goes_on_alike(curve: list[dict[str, float]], whole: list[dict[str, float]]) -> None:
    for epoch, wanted in zip(curve, whole, strict=True):
        for name in ("train_loss", "val_loss"):
            assert epoch[name] == pytest.approx(wanted[name], rel=0.01), name


WISHES: dict[str, dict[str, Any]] = {
    "schedule-free": {"optimizer": {"kind": "schedule_free", "learning_rate": 0.02}},
    "averages": {"optimizer": {"kind": "adamw", "learning_rate": 0.02, "ema_decay": 0.9}, "average_last": 2},
    "disturbed": {"mixup": 0.4, "modality_dropout": 0.3, "loss": {"label_smoothing": 0.01, "positive_weight": 2.0}},
    "in parts": {"micro_batch": 5, "encoder": {"kind": "lstm", "hidden": 8, "layers": 2, "residual": True}},
}


@pytest.mark.parametrize("wish", WISHES)
def test_what_else_a_configuration_may_ask_for(frame_data: Path, tmp_path: Path, wish: str) -> None:
    config = {**RECURRENT, "precision": "bfloat16", **WISHES[wish]}
    whole = run(make_task(frame_data, tmp_path / "whole", config), device=GPU)
    first = run(make_task(frame_data, tmp_path / "parts", config), 3, GPU)
    goes_on_alike(first.curve() + run(first.resumed(), device=GPU).curve(), whole.curve())
    assert whole.curve()[-1]["val_loss"] < whole.curve()[0]["val_loss"]


def test_an_average_does_not_wait() -> None:
    model = nn.GRU(4, 8, batch_first=True).to(GPU)
    average = MovingAverage(model, 0.5)
    average.model(torch.ones(2, 3, 4, device=GPU))  # PyTorch would warn of weights that are not in one piece
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            average.update(model)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for mean, parameter in zip(average.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mean, parameter)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", [nn.GRU, nn.LSTM])
def test_recurrent_layers_are_those_of_a_cpu(cell: type[nn.GRU] | type[nn.LSTM], bidirectional: bool) -> None:
    stack = cases.seeded(RecurrentStack, cell, 6, 16, 2, bidirectional, 0.0)
    frames, mask = cases.random_frames([9, 1, 5, 7], 6, seed=2)
    results = []
    for device in (CPU, GPU):
        moved = stack.to(device)
        moved.zero_grad()
        states = moved(frames.to(device), mask.to(device))
        states.square().sum().backward()
        results.append([states.detach().cpu(), *(p.grad.detach().cpu().clone() for p in moved.parameters())])
    for wanted, found in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.02)
    assert not results[1][0][~mask].any()


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_every_part_in_bfloat16(case: tuple[TrialConfig, Schema]) -> None:
    config, schema = case
    lengths = [5, 2, 4] if schema.level == "frame" else [1, 1, 1]
    features, mask = cases.random_features(schema, lengths, seed=1)
    labels = torch.tensor([[0, 2], [1, -1], [3, 4]])
    batch = Batch(features, mask, labels, ["a", "b", "c"], np.arange(3)).to(GPU)
    model = cases.seeded(build_model, config, schema).to(GPU)
    precision = Precision.named("bfloat16", GPU, model)
    precision.scaler = torch.amp.GradScaler("cuda", init_scale=256.0, enabled=precision.scaler.is_enabled())
    with precision.autocast():
        output = model.train()(batch.features, batch.mask)
    loss = Objective(config, None).loss(output, batch, None)
    precision.backward(loss)
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    model.eval()
    with torch.inference_mode(), precision.autocast():
        together = model(batch.features, batch.mask).logits.float()
        other = {name: torch.where(batch.mask[..., None], values, 99) for name, values in batch.features.items()}
        torch.testing.assert_close(model(other, batch.mask).logits.float(), together, rtol=0.01, atol=0.01)
        for video, length in enumerate(lengths):
            part = {name: values[video : video + 1, :length] for name, values in batch.features.items()}
            alone = model(part, batch.mask[video : video + 1, :length]).logits.float()
            torch.testing.assert_close(alone, together[video : video + 1], rtol=0.05, atol=0.1)


def test_gradients_of_recurrent_layers_do_not_vanish() -> None:
    config = TrialConfig.model_validate(
        {"encoder": {"kind": "gru", "hidden": 64, "bidirectional": True}, "pooling": {"kind": "mean"}}
    )
    model = cases.seeded(build_model, config, cases.FRAME_SCHEMA).to(GPU)
    features, mask = cases.random_features(cases.FRAME_SCHEMA, [200, 150] * 64, seed=3)
    features, mask = {name: values.to(GPU) for name, values in features.items()}, mask.to(GPU)
    labels = (torch.arange(128, device=GPU) % 5)[:, None]

    def gradients(precision: Precision) -> Tensor:
        model.zero_grad()
        with precision.autocast():
            output = model(features, mask)
        precision.backward(cross_entropy(output.logits, labels))
        scale = precision.scaler.get_scale()
        return torch.cat([p.grad.flatten() / scale for p in model.towers.parameters() if p.grad is not None])

    exact = gradients(Precision(None, GPU))
    found = gradients(Precision.named("bfloat16", GPU, model))
    assert (found - exact).norm() < 0.1 * exact.norm()


class Hungry(nn.Module):
    """Needs 16 MB a video to train, and 200 MB besides."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(4, 1 << 20), nn.Linear(1 << 20, CLASSES)

    def forward(self, features: dict[str, Tensor], mask: Tensor, mixing: object = None) -> ModelOutput:
        logits = self.narrow(self.wide(features["visual"].mean(dim=1)).relu())
        return ModelOutput(logits, logits.new_zeros(()))


def train_hungry() -> tuple[list[float], Training]:
    config = TrialConfig.model_validate(
        {"epochs": 2, "precision": "float32", "optimizer": {"kind": "adam", "learning_rate": 1e-7}}
    )
    model = cases.seeded(Hungry).to(GPU)
    training = Training(model, build_optimizer(model, config.optimizer), config, seed=3, device=GPU)
    return [stats.loss for stats in train_epochs(training, MemoryBatches(128, 64))], training


@pytest.fixture
def bounded_memory() -> Iterator[None]:
    """700 MiB more than PyTorch holds already."""
    forget()
    allowed = torch.cuda.memory_reserved() + 700 * 2**20
    torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.get_device_properties(0).total_memory)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    forget()


def forget() -> None:
    """What `train.worker` does between two trials."""
    gc.collect()
    torch.cuda.empty_cache()


def test_memory_that_ends_makes_smaller_parts(request: pytest.FixtureRequest) -> None:
    expected, whole = train_hungry()
    assert whole.micro_batch.size is None
    del whole
    request.getfixturevalue("bounded_memory")
    losses, training = train_hungry()
    assert training.micro_batch.size in (4, 8, 16, 32)
    assert training.videos == 2 * 128
    assert losses == pytest.approx(expected, rel=1e-3)


def test_a_batch_begun_again_draws_the_same() -> None:
    with seeded(5, GPU):
        again = generator_mark(GPU)
        first = torch.rand(4, device=GPU)
        again()
        assert torch.equal(torch.rand(4, device=GPU), first)


@pytest.mark.parametrize("learning_rate", [0.01, 1e38], ids=["trained", "failed"])
def test_memory_is_given_back(frame_data: Path, tmp_path: Path, learning_rate: float) -> None:
    config = {**RECURRENT, "encoder": {"kind": "lstm", "hidden": 256}, "optimizer": {"kind": "adam"}, "epochs": 1}
    tried = {**config, "optimizer": {"kind": "adam", "learning_rate": learning_rate}}
    run(make_task(frame_data, tmp_path / "first", config), device=GPU)  # libraries keep their workspaces
    forget()
    before = torch.cuda.memory_allocated()
    with suppress(TrainingError):
        run(make_task(frame_data, tmp_path / "second", tried), device=GPU)
    forget()
    assert torch.cuda.memory_allocated() <= before + 2**20


@LEVELS
def test_evaluates_as_a_cpu(level: tuple[Path, Mapping[str, Any]]) -> None:
    data, document = level
    config = TrialConfig.model_validate(document)
    dataset = Dataset.open(data / "validation")
    model = cases.seeded(build_model, config, dataset.schema)
    expected = evaluate(model, batches_of(dataset, pinned=False), dataset.schema.classes, CPU)
    pinned: Any = Prefetched(batches_of(dataset, pinned=True))
    found = evaluate(model.to(GPU), pinned, dataset.schema.classes, GPU)
    assert found.metrics == pytest.approx(expected.metrics, rel=0.02, abs=0.01)
    assert found.predictions is not None
    assert expected.predictions is not None
    assert list(found.predictions.ids) == list(expected.predictions.ids)
    np.testing.assert_allclose(found.predictions.scores, expected.predictions.scores, atol=0.01)


def batches_of(dataset: Dataset, *, pinned: bool, bucketing: bool = False, shuffle: bool = False) -> Batches:
    return Batches(
        dataset,
        4,
        frames=FramesConfig(),
        modalities=None,
        seed=1,
        shuffle=shuffle,
        bucketing=bucketing,
        pinned=pinned,
    )


@pytest.mark.parametrize("schema", [FRAME, VIDEO], ids=["frame", "video"])
@pytest.mark.parametrize("bucketing", [False, True])
def test_pinned_memory_is_not_written_while_it_is_copied(
    data: Path, frame_data: Path, schema: Schema, bucketing: bool
) -> None:
    dataset = Dataset.open((frame_data if schema is FRAME else data) / "train")
    plain = batches_of(dataset, pinned=False, bucketing=bucketing, shuffle=True)
    pinned: Any = Prefetched(batches_of(dataset, pinned=True, bucketing=bucketing, shuffle=True))
    stream = torch.cuda.Stream()
    for epoch in range(3):
        copies = []
        with torch.cuda.stream(stream):
            for batch in pinned.epoch(epoch):
                assert all(
                    one.is_pinned() for one in (*batch.features.values(), batch.mask, batch.labels) if one.numel()
                )
                torch.cuda._sleep(20_000_000)  # about 10 ms, in which the next batches are made
                torch.cuda.set_sync_debug_mode("error")
                try:
                    copies.append(batch.to(GPU))
                finally:
                    torch.cuda.set_sync_debug_mode("default")
        stream.synchronize()
        for copy, wanted in zip(copies, plain.epoch(epoch), strict=True):
            assert list(copy.ids) == list(wanted.ids)
            assert torch.equal(copy.mask.cpu(), wanted.mask)
            assert torch.equal(copy.labels.cpu(), wanted.labels)
            for name, values in wanted.features.items():
                assert torch.equal(copy.features[name].cpu(), values), (epoch, name)


def test_steps_do_not_wait(frame_data: Path) -> None:
    dataset = Dataset.open(frame_data / "train")
    config = TrialConfig.model_validate(
        {**RECURRENT, "encoder": {"kind": "gru", "hidden": 8}, "precision": "bfloat16", "epochs": 1}
    )
    model = cases.seeded(build_model, config, dataset.schema).to(GPU)
    training = Training(model, build_optimizer(model, config.optimizer), config, 3, GPU)
    pinned: Any = Prefetched(batches_of(dataset, pinned=True))
    looks = []

    def forbid(*_: object) -> None:
        looks.append(1)
        torch.cuda.set_sync_debug_mode("error" if len(looks) > 1 else "default")  # cuDNN's first call may wait

    model.register_forward_pre_hook(forbid)
    training.optimizer.register_step_post_hook(lambda *_: torch.cuda.set_sync_debug_mode("default"))
    try:
        next(train_epochs(training, pinned))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(looks) == len(batches_of(dataset, pinned=False))


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="compiling for a GPU needs a C compiler")
def test_compiled(frame_data: Path, tmp_path: Path) -> None:
    config = {**RECURRENT, "encoder": {"kind": "none"}, "pooling": {"kind": "attention"}, "epochs": 3}
    plain = run(make_task(frame_data, tmp_path / "plain", config), device=GPU)
    compiled = run(make_task(frame_data, tmp_path / "compiled", {**config, "compile": True}), device=GPU)
    goes_on_alike(compiled.curve(), plain.curve())
