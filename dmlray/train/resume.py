"""Where a trial goes on from: its newest good checkpoint, whose best epoch is still there too."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dmlray.config import TrialConfig
from dmlray.errors import StorageError
from dmlray.train.checkpoint import CheckpointState, load_checkpoint


@dataclass(frozen=True)
class ResumePoint:
    """The checkpoint to go on from (None: from the start), and a sentence for each one that had to be passed over."""

    name: str | None = None
    state: CheckpointState | None = None
    warnings: list[str] = field(default_factory=list)


def checkpoint_name(epoch: int) -> str:
    """File name of the checkpoint after ``epoch`` finished epochs."""
    return f"epoch-{epoch:04d}.safetensors"


def part_name(epoch: int, steps: int) -> str:
    """File name of the checkpoint after ``epoch`` finished epochs and ``steps`` steps of the next: it goes when that
    epoch's own checkpoint has come."""
    return f"epoch-{epoch:04d}-step-{steps:08d}.safetensors"


def furthest(newest: str | None, known: Iterable[str]) -> str | None:
    """``newest``, an epoch's checkpoint or None, or what is ``known`` of the epoch after it that was left."""
    begun = checkpoint_name(0) if newest is None else newest
    prefix = begun.removesuffix(".safetensors") + "-step-"
    return max((name for name in known if name.startswith(prefix)), default=newest)


def find_resume_point(
    folder: Path, newest: str, digests: Mapping[str, str | None], config: TrialConfig, data: str, workers: int = 1
) -> ResumePoint:
    """Try ``newest``, then the older checkpoints that ``digests`` knows, and take the first that is whole.

    A checkpoint whose best epoch's own checkpoint is lost is passed over as well: the trial could not end from there.
    So is one amid an epoch that another number of ``workers`` left.
    """
    warnings: list[str] = []
    for name in [newest, *sorted((name for name in digests if _age(name) < _age(newest)), key=_age, reverse=True)]:
        if name != newest and not (folder / name).exists():
            continue  # pruned, as most are
        try:
            state = load_checkpoint(folder / name, digests.get(name), config, data)
            if state.part is not None and len(state.part.generators) != workers:
                problem = f"was left by {len(state.part.generators)} workers, {workers} are to go on"
                raise StorageError(folder / name, problem)
            if state.best is not None and (state.best.epoch != state.epoch or state.part is not None):
                best = checkpoint_name(state.best.epoch)
                load_checkpoint(folder / best, digests.get(best), config, data)
            return ResumePoint(name, state, warnings)
        except StorageError as error:
            warnings.append(f"passed over {name}: {error}")
    warnings.append("no checkpoint is good: training starts again from the first epoch")
    return ResumePoint(None, None, warnings)


def _age(name: str) -> tuple[str, str]:
    """What orders the names of checkpoints as they came."""
    epoch, _, step = name.removesuffix(".safetensors").partition("-step-")
    return epoch, step


def best_epochs(history: Iterable[tuple[int, float]], count: int, keep: str = "best") -> set[int]:
    """The ``count`` epochs of ``history`` (epoch, val_gap) with the highest val_gap, of like ones the first; or, to
    ``keep`` the last, the last ones.
    """
    if keep == "last":
        return set(sorted((epoch for epoch, _ in history), reverse=True)[:count])
    finite = [(-gap, epoch) for epoch, gap in history if math.isfinite(gap)]
    return {epoch for _, epoch in sorted(finite)[:count]}


def prune_checkpoints(folder: Path, keep_epochs: set[int]) -> None:
    """Remove every checkpoint but those of ``keep_epochs``."""
    keep = {checkpoint_name(epoch) for epoch in keep_epochs}
    for path in folder.glob("epoch-*.safetensors"):
        if path.name not in keep:
            path.unlink()
