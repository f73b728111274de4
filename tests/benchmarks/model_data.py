"""Videos in the shape of YouTube-8M's, as a dataset of ours and as the tensors that a plain PyTorch loop keeps."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dmlray.data.dataset import Dataset
from dmlray.data.reader import VideoBlock
from dmlray.data.schema import PRESETS, Schema
from dmlray.model.frames import dequantize
from tests.data.videos import write_dataset

LABELS = 3
_ROWS = 4096  # dequantised at once: fits the processor's cache


@dataclass(frozen=True)
class Videos:
    """The same videos twice; ``features`` (T, 1152) float32 and ``labels`` of each, in the host's memory."""

    dataset: Dataset
    features: list[Tensor]
    labels: list[Tensor]

    @property
    def mean_frames(self) -> float:
        """Frames of a video on average."""
        return float(np.mean([len(frames) for frames in self.features]))


def make_videos(folder: Path, level: str, count: int, max_frames: int, classes: int) -> Videos:
    """``count`` videos; three tenths have ``max_frames``, as in YouTube-8M, the others 0.4 to 1 times as many."""
    random = np.random.default_rng(0)
    schema = PRESETS[f"yt8m-{level}"].model_copy(update={"classes": classes, "max_frames": max_frames})
    lengths = np.ones(count, np.int64)
    if level == "frame":
        lengths = np.where(random.random(count) < 0.3, max_frames, random.uniform(0.4, 1.0, count) * max_frames)
    offsets = np.concatenate([[0], np.cumsum(lengths.astype(np.int64))])
    values = np.concatenate([random.choice(classes, LABELS, replace=False) for _ in range(count)])
    block = VideoBlock(
        ids=[f"{number:08d}" for number in range(count)],
        label_offsets=np.arange(0, LABELS * count + 1, LABELS),
        label_values=values.astype(np.int64),
        features={modality.name: _draw(random, int(offsets[-1]), modality) for modality in schema.modalities},
        frame_offsets=offsets if level == "frame" else None,
    )
    joined = _joined(block, schema)
    features = [joined[first:last] for first, last in pairwise(offsets)]
    labels = list(torch.from_numpy(block.label_values).split(LABELS))
    return Videos(write_dataset(folder, schema, [[block]]), features, labels)


def _draw(random: np.random.Generator, rows: int, modality: object) -> np.ndarray:
    shape = (rows, modality.width)  # type: ignore[attr-defined]
    if modality.dtype == "uint8":  # type: ignore[attr-defined]
        return random.integers(0, 256, shape, np.uint8)
    return random.standard_normal(shape, np.float32)


def _joined(block: VideoBlock, schema: Schema) -> Tensor:
    rows = len(block.features[schema.modalities[0].name])
    joined, first = torch.empty(rows, sum(modality.width for modality in schema.modalities)), 0
    for modality in schema.modalities:
        columns = joined[:, first : first + modality.width]
        first += modality.width
        values = torch.from_numpy(block.features[modality.name])
        for some, out in zip(values.split(_ROWS), columns.split(_ROWS), strict=True):
            is_bytes = values.dtype == torch.uint8
            out.copy_(dequantize(some, modality.minimum, modality.maximum) if is_bytes else some)
    return joined
