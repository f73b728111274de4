"""The models behind an ensemble's members: a finished trial's best epoch, as it made the trial's predictions."""

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
from dmlray.errors import StorageError
from dmlray.model.build import build_model
from dmlray.model.classifier import Classifier
from dmlray.seeding import derive_seed
from dmlray.train.checkpoint import Best, checkpoint_digest, load_checkpoint


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


def load_trial_model(directory: Path) -> TrialModel:
    """The model in a trial's folder that made its ``predictions.arrow``.

    Raises StorageError when the configuration, the predictions or the checkpoint that they name is missing or damaged.
    """
    config = _config(directory / "config.json")
    wanted = load_predictions(directory / VALIDATION_FILE).meta.get("checkpoint", "")
    bring(directory, wanted)  # of a trial that was fetched without its checkpoints
    folder = directory / "checkpoints"
    for path in sorted(folder.glob("*.safetensors"), reverse=True):
        if checkpoint_digest(path) == wanted:
            state = load_checkpoint(path, wanted, config)
            return TrialModel(config, state.epoch, state.model, wanted, _is_average(state.best, config))
    raise StorageError(folder, f"no checkpoint has the SHA-256 {wanted[:12]}… that the trial's predictions name")


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


def _is_average(best: Best | None, config: TrialConfig) -> bool:
    if best is None:
        return False
    last, averaged = (best.metrics.get(f"val_gap_{one}") for one in ("last", "averaged"))
    return last is not None and averaged is not None and (averaged > last or config.keep == "last")


def _config(path: Path) -> TrialConfig:
    try:
        return TrialConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StorageError(path, f"the trial's configuration cannot be read: {error.strerror}") from error
    except ValidationError as error:
        found = first_problem(error)
        raise StorageError(path, f"is damaged or of another version ({found.field}: {found.said})") from error
