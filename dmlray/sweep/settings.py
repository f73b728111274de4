"""What a sweep was asked for: `results/<sweep>/sweep.yaml`, enough to resume it with nothing but its name."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, StringConstraints, ValidationError

from dmlray.atomic import write_text
from dmlray.config import Config
from dmlray.errors import ConfigError, MissingInputError, StorageError

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


class Resources(Config):
    """What each trial gets, and how many run at once (None: as many as fit)."""

    cpus_per_trial: PositiveFloat = 1.0
    gpus_per_trial: NonNegativeFloat = 0.0
    concurrency: PositiveInt | None = None


class SweepConfig(Config):
    """A resolved sweep. ``data`` is absolute; ``fingerprints`` pins the content of each split against later changes.

    ``stream`` is where the TFRecords are that trials train on instead of a converted train split: absolute, or a URI.
    """

    version: Literal[1] = 1
    name: Annotated[str, StringConstraints(pattern=f"^{_NAME}$")]
    data: Path
    stream: str | None = None
    fingerprints: dict[str, str]
    trials: PositiveInt
    seed: int = 0
    sampler: Literal["tpe", "random"] = "tpe"
    resources: Resources = Resources()
    tracking_uri: str


DEFAULT_RESULTS = Path("results")


class SweepFolder:
    """Where everything of one sweep lies: ``results/<name>``."""

    def __init__(self, results: Path, name: str) -> None:
        self.path = results / name
        self.as_typed = name if results == DEFAULT_RESULTS else f"{name} --results {results}"  # in a command to repeat
        self.settings = self.path / "sweep.yaml"
        self.space = self.path / "space.yaml"
        self.study = self.path / "study.db"
        self.lock = self.path / "driver.lock"

    def trial(self, number: int) -> Path:
        """The folder of one trial: config, checkpoints, predictions, log."""
        return self.path / "trials" / f"{number:04d}"

    def ensemble(self, name: str) -> Path:
        """The folder of one ensemble of this sweep."""
        return self.path / "ensemble" / name


def save_settings(folder: SweepFolder, config: SweepConfig) -> None:
    """Write ``sweep.yaml`` whole or not at all."""
    write_text(folder.settings, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def load_settings(folder: SweepFolder) -> SweepConfig:
    """Read ``sweep.yaml``. Raises MissingInputError where there is no sweep, StorageError where it is damaged."""
    if not folder.settings.is_file():
        raise MissingInputError(folder.path, "sweep (no sweep.yaml)")
    try:
        return SweepConfig.model_validate(yaml.safe_load(folder.settings.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
        raise StorageError(folder.settings, f"is damaged: {str(error).splitlines()[0]}") from error


def resumed(
    config: SweepConfig, trials: int | None, resources: Mapping[str, float | None], tracking_uri: str | None
) -> SweepConfig:
    """The settings a sweep goes on with: more trials, other resources or another store where they are given.

    Raises ConfigError for fewer trials than the sweep has been asked for already.
    """
    if trials is not None and trials < config.trials:
        raise ConfigError("--trials", trials, f"at least the {config.trials} that sweep {config.name} began with")
    changed = {name: value for name, value in resources.items() if value is not None}
    update = {
        "trials": trials or config.trials,
        "resources": config.resources.model_copy(update=changed),
        "tracking_uri": tracking_uri or config.tracking_uri,
    }
    return config.model_copy(update=update)


def check_name(name: str, option: str = "--name") -> str:
    """A sweep's or an ensemble's name is a folder's and a run's; raises ConfigError for one that cannot be."""
    if not re.fullmatch(_NAME, name):
        raise ConfigError(option, name, "1 to 64 letters, digits, '.', '_' or '-', starting with a letter or digit")
    return name
