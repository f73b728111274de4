"""The loss with all that a configuration adds, against PyTorch's own from dense targets."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from dmlray.config import DistillationConfig, TrialConfig
from dmlray.data.batch import Batch
from dmlray.data.predictions import Predictions, load_predictions, save_predictions
from dmlray.data.ragged import Ragged
from dmlray.errors import ConfigError, DataError, StorageError
from dmlray.model.classifier import ModelOutput
from dmlray.model.disturb import Mixing
from dmlray.train.loss import label_targets, target_cross_entropy
from dmlray.train.objective import Objective
from dmlray.train.teacher import Teacher

LABELS = torch.tensor([[0, 3, 3], [2, -1, -1], [-1, -1, -1]])
DENSE = torch.tensor([[1.0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]])
MIXING = Mixing(torch.tensor([1, 2, 0]), torch.tensor([0.25, 0.5, 1.0]))
IDS = ["b", "a", "ü"]
TAUGHT = torch.tensor([[0.9, 0.0, 0.0, 0.2], [0.0, 0.3, 0.8, 0.0], [0.0, 0.5, 0.0, 0.1]])  # two classes each are stored


def logits_of(seed: int, *shape: int) -> Tensor:
    return 3 * torch.randn(*shape, 3, 4, generator=torch.Generator().manual_seed(seed))


def dense_loss(logits: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1).mean()


def loss(config: dict[str, Any], output: ModelOutput, mixing: Mixing | None = None, teacher: Any = None) -> Tensor:
    batch = Batch({}, torch.ones(3, 1, dtype=torch.bool), LABELS, IDS, np.arange(3))
    return Objective(TrialConfig.model_validate(config), teacher).loss(output, batch, mixing)


def plain(logits: Tensor) -> ModelOutput:
    return ModelOutput(logits, torch.zeros(()))


@settings(max_examples=15)
@given(seed=st.integers(0, 99), smoothing=st.floats(0, 0.9), weight=st.sampled_from([0.5, 1.0, 7.0]))
def test_smooth_and_weighted_labels_equal_their_dense_form(seed: int, smoothing: float, weight: float) -> None:
    logits = logits_of(seed).requires_grad_()
    targets = DENSE * (1 - smoothing) + smoothing / 2
    pos_weight = torch.tensor(weight)
    dense = F.binary_cross_entropy_with_logits(logits, targets, reduction="none", pos_weight=pos_weight)
    expected = dense.sum(dim=1).mean()
    found = target_cross_entropy(logits, label_targets(LABELS), smoothing, weight)
    assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert_close(*(torch.autograd.grad(one, logits)[0] for one in (found, expected)), rtol=1e-5, atol=1e-6)


def test_mixed_videos_have_mixed_labels() -> None:
    share = MIXING.share[:, None]
    expected = dense_loss(logits_of(1), share * DENSE + (1 - share) * DENSE[MIXING.partner])
    assert_close(loss({}, plain(logits_of(1)), MIXING), expected)


def test_a_chain_is_trained_at_every_link() -> None:
    logits, others = logits_of(1), logits_of(2, 2)
    output = ModelOutput(logits, torch.tensor(0.5), others)
    links = (dense_loss(others[0], DENSE) + dense_loss(others[1], DENSE)) / 2
    assert_close(
        loss({"head": {"kind": "chained", "support": 0.3}}, output), 0.7 * dense_loss(logits, DENSE) + 0.3 * links + 0.5
    )


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    scores, labels = TAUGHT[[1, 2, 0]].topk(2)  # in another order than the batch
    path = tmp_path / "teacher.arrow"
    ids = np.array(["a", "ü", "b"], dtype=object)
    truth = Ragged(np.zeros(4, dtype=np.int64), np.zeros(0, dtype=np.int64))
    save_predictions(path, Predictions(ids, labels.numpy().astype(np.int32), scores.numpy(), truth, classes=4))
    return path


@pytest.mark.parametrize("mixing", [None, MIXING], ids=["alone", "mixed"])
@pytest.mark.parametrize("heat", [1.0, 3.0])
def test_a_teacher_counts_by_its_weight(stored: Path, heat: float, mixing: Mixing | None) -> None:
    wanted = {"predictions": str(stored), "weight": 0.6, "temperature": heat}
    teacher = Teacher(DistillationConfig.model_validate(wanted), classes=4)
    taught = torch.where(TAUGHT > 0, (TAUGHT.logit() / heat).sigmoid(), 0.0)
    labels, logits = DENSE, logits_of(4)
    if mixing is not None:
        taught, labels = mixing.mix(taught), mixing.mix(labels)
    expected = 0.4 * dense_loss(logits, labels) + 0.6 * heat**2 * dense_loss(logits / heat, taught)
    assert_close(loss({"loss": {"distillation": wanted}}, plain(logits), mixing, teacher), expected)


def test_a_teacher_may_stand_in_several_files(stored: Path, tmp_path: Path) -> None:
    whole = load_predictions(stored)
    folder = tmp_path / "parts"
    for number, rows in enumerate((slice(0, 1), slice(1, 1), slice(1, 3))):
        truth = Ragged(np.zeros(rows.stop - rows.start + 1, dtype=np.int64), np.zeros(0, dtype=np.int64))
        part = Predictions(whole.ids[rows], whole.labels[rows], whole.scores[rows], truth, classes=4)
        save_predictions(folder / f"part-{number:05d}.arrow", part)
    one, several = (Teacher(DistillationConfig(predictions=str(path)), classes=4) for path in (stored, folder))
    for ids in (IDS, ["a"], ["ü", "a"]):
        found, expected = (teacher.targets(ids, torch.device("cpu")) for teacher in (several, one))
        assert torch.equal(found.classes, expected.classes)
        assert torch.equal(found.values, expected.values)


def test_a_video_without_a_prediction_is_named(stored: Path) -> None:
    teacher = Teacher(DistillationConfig(predictions=str(stored)), classes=4)
    with pytest.raises(DataError, match=r"teacher\.arrow: holds no prediction of the training video 'c'; dist"):
        teacher.targets(["a", "c", "b"], torch.device("cpu"))


def test_a_teacher_of_other_classes_is_refused(stored: Path) -> None:
    with pytest.raises(ConfigError, match=r"loss\.distillation\.predictions must be predictions of the data's 5 class"):
        Teacher(DistillationConfig(predictions=str(stored)), classes=5)


def test_a_damaged_teacher_is_refused(stored: Path) -> None:
    stored.write_bytes(stored.read_bytes()[:-20])
    with pytest.raises(StorageError, match=r"teacher\.arrow"):
        Teacher(DistillationConfig(predictions=str(stored)), classes=4)
