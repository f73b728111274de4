"""Between a training and the checkpoint that holds it: what `capture` takes, `restore` gives back."""

from pathlib import Path

from torch import Tensor

from dmlray.train.checkpoint import Best, CheckpointState, restore_checkpoint
from dmlray.train.loop import Training
from dmlray.train.part import Part
from dmlray.train.schedule import EpochLoss


def capture(
    training: Training,
    data: str,
    best: Best | None,
    model: dict[str, Tensor] | None = None,
    part: Part | None = None,
) -> CheckpointState:
    """``training`` between two epochs, or after ``part`` of one, on data of the fingerprint ``data``.

    ``model`` predicts (None: its own does).
    """
    trained = training.model.state_dict()
    own = None if training.average is None else training.average.model.state_dict()
    predicting = model or own
    return CheckpointState(
        config=training.config,
        data=data,
        epoch=training.epoch,
        videos=training.videos,
        best=best,
        model=predicting or trained,
        optimizer=training.optimizer.state_dict(),
        micro_batch=training.micro_batch.size,
        scaler=training.precision.scaler.state_dict(),
        history=tuple((epoch.videos, epoch.loss) for epoch in training.history),
        trained=trained if predicting else None,
        average_steps=training.average.steps if training.average else 0,
        part=part,
    )


def restore(path: Path, state: CheckpointState, training: Training) -> None:
    """Put ``state``, read from ``path``, into a freshly made training. Raises StorageError when it does not fit."""
    restore_checkpoint(path, state, training.model, training.optimizer)
    if training.average is not None:
        restore_checkpoint(path, state, training.average.model, None)
        training.average.restore(state.average_steps)
    training.epoch, training.videos, training.part = state.epoch, state.videos, state.part
    training.history = [EpochLoss(videos, loss) for videos, loss in state.history]
    training.micro_batch.size = state.micro_batch
    if state.scaler:
        training.precision.restore(state.scaler)
