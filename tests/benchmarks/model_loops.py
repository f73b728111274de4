"""Two ways to train one architecture for an epoch: ours, and a plain PyTorch loop as a user would write it."""

import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from dmlray.config import TrialConfig
from dmlray.data.batch import Batches
from dmlray.data.prefetch import Prefetched
from dmlray.data.schema import Schema
from dmlray.model.build import build_model
from dmlray.model.encoder import RecurrentStack
from dmlray.train.compiled import compile_forward
from dmlray.train.loop import Training, train_epochs
from dmlray.train.optim import build_optimizer
from tests.benchmarks.model_data import Videos

Epoch = Callable[[], float]  # gives the share of its time in which it waited for batches
_COUNTED = (8, 12, 16)  # lengths in frames
_WORKERS = 8  # that load for a plain loop on a GPU; on a CPU they would only be in its way


def own_loop(config: TrialConfig, videos: Videos, device: torch.device) -> Epoch:
    """`train.loop` on the mapped shards: bytes, packed and bucketed sequences, fused Adam, bfloat16 on a GPU."""
    torch.manual_seed(0)
    model = build_model(config, videos.dataset.schema).to(device)
    if config.compile:
        compile_forward(model)
    training = Training(model, build_optimizer(model, config.optimizer), config, 0, device)
    batches: Any = Batches(
        videos.dataset,
        config.batch_size,
        frames=config.frames,
        modalities=None,
        seed=0,
        shuffle=True,
        bucketing=config.bucketing,
        pinned=device.type == "cuda",
    )
    epochs = train_epochs(training, Prefetched(batches) if device.type == "cuda" else batches)

    def epoch() -> float:
        stats = next(epochs)
        return stats.wait_s / stats.epoch_s

    return epoch


def plain_loop(config: TrialConfig, videos: Videos, device: torch.device) -> Epoch:
    """float32 features from the host's memory, padded to the longest of the batch; dense labels; PyTorch's defaults.

    A GPU's batches come from processes beside it, by way of pinned memory.
    """
    torch.manual_seed(0)
    schema = videos.dataset.schema
    model = _without_packing(build_model(config, schema)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.optimizer.learning_rate)
    widths = [modality.width for modality in schema.modalities]

    def collate(rows: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        frames = pad_sequence([videos.features[row] for row in rows], batch_first=True)  # (B, T, D)
        lengths = torch.tensor([len(videos.features[row]) for row in rows])
        labels = torch.zeros(len(rows), schema.classes)
        for number, row in enumerate(rows):
            labels[number, videos.labels[row]] = 1.0
        return frames, torch.arange(frames.shape[1]) < lengths[:, None], labels

    rows: Any = range(len(videos.features))
    on_gpu = device.type == "cuda"
    workers = _workers(4 * config.batch_size * schema.max_frames * sum(widths)) if on_gpu else 0
    loader = DataLoader(
        rows,
        config.batch_size,
        shuffle=True,
        collate_fn=collate,
        pin_memory=on_gpu,
        num_workers=workers,
        persistent_workers=workers > 0,
    )

    def epoch() -> float:
        model.train()
        began, waited = time.perf_counter(), 0.0
        batches = iter(loader)
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            waited += time.perf_counter() - asked
            if batch is None:
                return waited / (time.perf_counter() - began)
            frames, mask, labels = (tensor.to(device) for tensor in batch)
            features = dict(zip([m.name for m in schema.modalities], frames.split(widths, dim=2), strict=True))
            output = model(features, mask)
            loss = F.binary_cross_entropy_with_logits(output.logits, labels, reduction="sum") / len(labels)
            optimizer.zero_grad()
            (loss + output.penalty).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    return epoch


def _workers(batch_bytes: int) -> int:
    """As many as the shared memory holds the batches of: each has two ready, one in the making and one on its way."""
    free = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else 0
    return min(_WORKERS, os.cpu_count() or 1, free // (4 * batch_bytes))


def training_flops(config: TrialConfig, videos: Videos) -> float:
    """Floating-point operations of forward and backward for one video of the mean length, without any padding.

    Counted for a few short lengths: no layer here does more than grow with the square of the length.
    """
    schema, steps = videos.dataset.schema, round(videos.mean_frames)
    model = build_model(config, schema)
    if steps <= _COUNTED[-1]:
        return _counted_flops(model, schema, steps)
    total = 0.0
    for length in _COUNTED:  # the parabola through them (Lagrange)
        others = [other for other in _COUNTED if other != length]
        total += _counted_flops(model, schema, length) * prod((steps - other) / (length - other) for other in others)
    return total


def _counted_flops(model: nn.Module, schema: Schema, steps: int) -> float:
    batch = 2
    features = {m.name: torch.randn(batch, steps, m.width) for m in schema.modalities}
    counter = FlopCounterMode(display=False)
    with counter, torch.backends.mkldnn.flags(enabled=False):  # type: ignore[no-untyped-call]  # it hides products
        model(features, torch.ones(batch, steps, dtype=torch.bool)).logits.sum().backward()
    return float(counter.get_total_flops()) / batch


def _without_packing(model: nn.Module) -> nn.Module:
    """Recurrent layers run over the padding too, as they do when they are called on a padded batch."""
    for module in model.modules():
        if isinstance(module, RecurrentStack):
            module.forward = partial(_padded, module)  # type: ignore[method-assign]
    return model


def _padded(stack: RecurrentStack, frames: Tensor, mask: Tensor) -> Tensor:
    states: Tensor = stack.cells(frames)[0]
    return states
