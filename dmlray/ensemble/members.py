"""The models behind an ensemble's members: a finished trial's best epoch, or another one that made predictions."""

from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from dmlray.config import TrialConfig
from dmlray.config.problem import first_problem
from dmlray.copies import bring
from dmlray.data.predictions import load_predictions
from dmlray.data.schema import Schema
from dmlray.ensemble.candidates import VALIDATION_FILE
from dmlray.ensemble.origin import Snapshot, snapshot_file
from dmlray.errors import StorageError
from dmlray.model.build import build_model
from dmlray.model.classifier import Classifier
from dmlray.seeding import derive_seed
from dmlray.train.checkpoint import CheckpointState, checkpoint_digest, load_checkpoint
from dmlray.train.log import TrialLog


@dataclass(frozen=True)
class TrialModel:
    """A trial's model at ``epoch``: ``parameters`` are its state dict, ``checkpoint`` is the SHA-256 of their file.

    ``is_average`` where the mean of the last epochs' models stood for the last one's.
    """

    config: TrialConfig
    epoch: int
    parameters: dict[str, Tensor]
    checkpoint: str
    is_average: bool = False


def load_trial_model(directory: Path, snapshot: Snapshot | None = None) -> TrialModel:
    """The model in a trial's folder that made its ``predictions.arrow``, or those of a ``snapshot``.

    Raises StorageError when the configuration, the predictions or the checkpoint that they name is missing or damaged.
    """
    config = load_trial_config(directory)
    file = VALIDATION_FILE if snapshot is None else snapshot_file(snapshot, "validation")
    wanted = load_predictions(directory / file).meta.get("checkpoint", "")
    bring(directory, wanted)  # of a trial that was fetched without its checkpoints
    folder = directory / "checkpoints"
    for path in sorted(folder.glob("*.safetensors"), reverse=True):
        if checkpoint_digest(path) == wanted:
            return trial_model(path, wanted, config, is_raw=snapshot is not None and snapshot.is_raw)
    raise StorageError(folder, f"no checkpoint has the SHA-256 {wanted[:12]}… that the trial's predictions name")


def trial_model(path: Path, digest: str, config: TrialConfig, *, is_raw: bool = False) -> TrialModel:
    """The model of the checkpoint at ``path``; ``is_raw`` where that is an average, and what was averaged is wanted.

    Raises StorageError where the checkpoint is damaged or has no such model.
    """
    state = load_checkpoint(path, digest, config)
    if not is_raw:
        return TrialModel(config, state.epoch, state.model, digest, _is_average(state, path.parent.parent))
    if state.trained is None:
        raise StorageError(path, "holds no model beside an average")
    return TrialModel(config, state.epoch, state.trained, digest)


def load_trial_config(directory: Path) -> TrialConfig:
    """The configuration in a trial's folder. Raises StorageError when it is missing or damaged."""
    path = directory / "config.json"
    try:
        return TrialConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StorageError(path, f"the trial's configuration cannot be read: {error.strerror}") from error
    except ValidationError as error:
        found = first_problem(error)
        raise StorageError(path, f"is damaged or of another version ({found.field}: {found.said})") from error


def evaluation_seed(sweep_seed: int, trial: int) -> int:
    """What drew the frames of a trial's own evaluation, where its configuration asks for random ones."""
    return derive_seed(derive_seed(sweep_seed, "trial", trial), "evaluation frames")


def build_member(config: TrialConfig, schema: Schema, parameters: dict[str, Tensor], origin: Path) -> Classifier:
    """The model with its ``parameters``, to predict. Raises StorageError naming ``origin`` where they do not fit."""
    with torch.random.fork_rng(devices=[]):
        model = build_model(config, schema)
    try:
        model.load_state_dict(parameters)
    except (RuntimeError, ValueError, KeyError) as error:
        raise StorageError(origin, f"does not fit the model: {str(error).splitlines()[0]}") from error
    return model.eval()


def _is_average(state: CheckpointState, directory: Path) -> bool:
    """Of an epoch that was not the best, the log of the trial in ``directory`` tells."""
    metrics = state.best.metrics if state.best is not None and state.best.epoch == state.epoch else None
    for line in TrialLog(directory / "log.jsonl").lines if metrics is None else ():
        if line.get("epoch") == state.epoch:
            metrics = line["metrics"]
    last, averaged = ((metrics or {}).get(f"val_gap_{one}") for one in ("last", "averaged"))
    return last is not None and averaged is not None and (averaged > last or state.config.keep == "last")
