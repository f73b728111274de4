"""What a sweep was asked for: `results/<sweep>/sweep.yaml`, enough to resume it with nothing but its name."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    Field,
    NonNegativeFloat,
    PlainSerializer,
    PlainValidator,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    ValidationError,
)

from dmlray.atomic import write_text
from dmlray.config import Config
from dmlray.config.problem import first_problem
from dmlray.errors import ConfigError, MissingInputError, StorageError
from dmlray.remote import Place, as_place
from dmlray.sweep.budgets import Budget, asked, ending
from dmlray.sweep.names import SamplerName
from dmlray.sweep.records import TrialRecord
from dmlray.sweep.retries import RetryConfig

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


class Resources(Config):
    """What each trial gets, and how many run at once (None: as many as fit).

    Several workers share a trial's CPUs (by default one each) and GPUs evenly. ``trial_seconds`` limits a trial on its
    worker, anew when it is resumed; ``stall_seconds`` the time from one batch to the next; None: no limit.
    """

    workers_per_trial: PositiveInt = 1
    cpus_per_trial: PositiveFloat = Field(default_factory=lambda given: float(given["workers_per_trial"]))
    gpus_per_trial: NonNegativeFloat = 0.0
    concurrency: PositiveInt | None = None
    trial_seconds: PositiveFloat | None = None
    stall_seconds: PositiveFloat | None = 1800.0


class WarmStart(Config):
    """What was taken from ``sweep``: trials by number, those left out with the reason, parameters that went unused."""

    sweep: str
    trials: tuple[int, ...]
    left_out: dict[int, str]
    unused: tuple[str, ...]


class SweepConfig(Config):
    """A resolved sweep. ``data`` is absolute; ``fingerprints`` pins the content of each split against later changes.

    ``refit`` names the ensemble whose members are trained anew, on validation videos too, so that these choose nothing.
    ``storage_path`` is where trials and the study are copied to: absolute, or an address, never with keys in it.

    ``stream`` is where the TFRecords are that trials train on instead of a converted train split: absolute, or a URI.
    """

    version: Literal[1] = 1
    name: Annotated[str, StringConstraints(pattern=f"^{_NAME}$")]
    data: Annotated[Place, PlainValidator(as_place), PlainSerializer(str)]
    storage_path: str | None = None
    refit: str | None = None
    stream: str | None = None
    fingerprints: dict[str, str]
    trials: PositiveInt
    seed: int = 0
    sampler: SamplerName = "tpe"
    budget: Budget = Budget()
    warm_start: WarmStart | None = None
    exhausted: bool = False  # every configuration of the space was tried
    resources: Resources = Resources()
    retries: RetryConfig = RetryConfig()
    tracking_uri: str


_SHOWN = 5  # sweeps that are named where another was asked for
DEFAULT_RESULTS = Path("results")
STUDY_FILE, STUDY_POINTER = "study.db", "study.url"  # the study itself, or the name of the database that holds it


class SweepFolder:
    """Where everything of one sweep lies: ``results/<name>``."""

    def __init__(self, results: Path, name: str) -> None:
        self.path = results / name
        self.as_typed = name if results == DEFAULT_RESULTS else f"{name} --results {results}"  # in a command to repeat
        self.settings = self.path / "sweep.yaml"
        self.space = self.path / "space.yaml"

    @property
    def study(self) -> Path:
        """The study's own file, or the one that names its database."""
        pointer = self.path / STUDY_POINTER
        return pointer if pointer.exists() else self.path / STUDY_FILE

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
        there = sorted(path.parent.name for path in folder.path.parent.glob(f"*/{folder.settings.name}"))
        others = f"{folder.path.parent} has {', '.join(there[-_SHOWN:])}" if there else "no sweep.yaml"
        raise MissingInputError(folder.path, f"sweep ({others})")
    try:
        return SweepConfig.model_validate(yaml.safe_load(folder.settings.read_text(encoding="utf-8")))
    except ValidationError as error:
        found = first_problem(error)
        problem = f"is damaged or of another version ({found.field or 'the whole'}: {found.said})"
        raise StorageError(folder.settings, problem) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StorageError(folder.settings, f"is damaged: {str(error).splitlines()[0]}") from error


def resumed(
    config: SweepConfig,
    trials: int | None,
    resources: Mapping[str, float | None],
    tracking_uri: str | None,
    budget: Mapping[str, float | None] | None = None,
) -> SweepConfig:
    """The settings a sweep goes on with: more trials, other resources, budgets or another store where they are given.

    Raises ConfigError for fewer trials than the sweep has been asked for already.
    """
    if trials is not None and trials < config.trials:
        raise ConfigError("--trials", trials, f"at least the {config.trials} that sweep {config.name} began with")
    changed = given(resources)
    kept = config.resources.model_dump(exclude={"cpus_per_trial"} if "workers_per_trial" in changed else None)
    update = {
        "trials": trials or config.trials,
        "resources": Resources.model_validate(kept | changed),
        "budget": config.budget.model_copy(update=given(budget or {})),
        "tracking_uri": tracking_uri or config.tracking_uri,
    }
    going_on = config.model_copy(update=update)
    check_budget(going_on)
    return going_on


def check_budget(config: SweepConfig) -> None:
    """Raise ConfigError for a budget of GPU-hours that nothing would ever spend."""
    if config.budget.gpu_hours is not None and not config.resources.gpus_per_trial:
        raise ConfigError("--gpu-hours", config.budget.gpu_hours, "given with --gpus-per-trial above 0")


def given(options: Mapping[str, float | None]) -> dict[str, float]:
    """Those of the command line's options that were set."""
    return {name: value for name, value in options.items() if value is not None}


def wanted(config: SweepConfig, trials: Sequence[TrialRecord]) -> int:
    """How many trials the sweep wants in all: those it was asked for, or where it is at its end those that it has."""
    return config.trials if end_of(config, trials) is None else asked(trials)


def end_of(config: SweepConfig, trials: Sequence[TrialRecord]) -> str | None:
    """What keeps the sweep from asking for another trial, for people to read; None while nothing does."""
    if config.exhausted:
        return f"its space: every configuration was tried ({asked(trials)} trials)"
    return ending(config.trials, config.budget, trials)


def check_name(name: str, option: str = "--name") -> str:
    """A sweep's or an ensemble's name is a folder's and a run's; raises ConfigError for one that cannot be."""
    if not re.fullmatch(_NAME, name):
        raise ConfigError(option, name, "1 to 64 letters, digits, '.', '_' or '-', starting with a letter or digit")
    return name
