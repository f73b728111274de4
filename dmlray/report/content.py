"""Everything a report tells of, read once from a sweep's folder: the rest of the stage is a function of it."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from dmlray.data.dataset import SPLITS
from dmlray.data.manifest import read_manifest
from dmlray.ensemble.report import MEMBERS_FILE, EnsembleReport
from dmlray.errors import DmlrayError, MissingInputError, StorageError
from dmlray.report.parameters import Parameter, searched_parameters
from dmlray.sweep.records import TrialRecord, TrialState
from dmlray.sweep.settings import SweepConfig, SweepFolder, check_name, load_settings, wanted
from dmlray.sweep.space import Space, load_space
from dmlray.sweep.stopping import StoppingConfig
from dmlray.sweep.study import Study
from dmlray.sweep.summary import Summary, summarize

if TYPE_CHECKING:
    from dmlray.report.measures import Measures

State = Literal["finished", "running", "interrupted", "damaged"]


@dataclass(frozen=True)
class Content:
    """A sweep as it stood at one moment.

    ``problems`` are what could not be read, for the reader to know. Where settings or study could not, the sweep is
    damaged: ``damage`` says why, ``config`` stands in for the settings, and there are no trials without a study.
    """

    config: SweepConfig
    state: State
    trials: Sequence[TrialRecord]
    importances: Mapping[str, float]
    parameters: Sequence[Parameter]
    stopping: StoppingConfig | None
    space_text: str
    videos: Mapping[str, int]  # by split
    ensembles: Mapping[str, EnsembleReport]
    measures: Mapping[str, "Measures"]  # by ensemble, where its predictions could be read
    problems: Sequence[str] = ()
    damage: Sequence[DmlrayError] = ()
    settings_text: str | None = None  # where they could not be understood
    has_study: bool = True

    @property
    def summary(self) -> Summary:
        """Counts by state, and the best trial."""
        return summarize(self.trials, wanted(self.config, self.trials))

    @property
    def valued(self) -> list[TrialRecord]:
        """Trials that have reported a val_gap, by number."""
        return [trial for trial in self.trials if trial.best_so_far is not None]

    @property
    def complete(self) -> list[TrialRecord]:
        """Trials that trained all their epochs, by number: those whose values compare."""
        return [trial for trial in self.trials if trial.state is TrialState.complete]


def read_content(folder: SweepFolder, vocabulary: Path | None = None) -> Content:
    """Read a sweep, running or not, damaged or not; ``vocabulary`` names the classes, see `report.measures`.

    Raises MissingInputError where there is none, StorageError for a vocabulary that cannot be read.
    """
    problems, damage = list[str](), list[DmlrayError]()
    settings = _settings(folder, damage)
    found = _study(folder, damage)
    trials, importances, is_driven = found or ([], {}, False)
    config = settings or _stand_in(folder, len(trials))
    over = summarize(trials, wanted(config, trials)).is_over
    state: State = "finished" if over else "running" if is_driven else "interrupted"
    space = _space(folder.space, problems)
    ensembles = _ensembles(folder.path / "ensemble", problems)
    return Content(
        config=config,
        state="damaged" if damage else state,
        trials=trials,
        importances=importances,
        parameters=searched_parameters(space.root if space else None, trials),
        stopping=space.stopping if space else None,
        space_text=_text(folder.space),
        videos=_videos(config, problems) if settings else {},
        ensembles=ensembles,
        measures=_measures(folder, ensembles, vocabulary, problems),
        problems=problems,
        damage=damage,
        settings_text=None if settings else _text(folder.settings),
        has_study=found is not None,
    )


def _settings(folder: SweepFolder, damage: list[DmlrayError]) -> SweepConfig | None:
    try:
        return load_settings(folder)
    except StorageError as error:
        damage.append(error)
        return None


def _stand_in(folder: SweepFolder, trials: int) -> SweepConfig:
    """Settings for a sweep whose own cannot be read."""
    name = check_name(folder.path.name, "NAME")
    return SweepConfig(name=name, data=Path("unknown"), fingerprints={}, trials=max(1, trials), tracking_uri="")


def _study(
    folder: SweepFolder, damage: list[DmlrayError]
) -> tuple[Sequence[TrialRecord], Mapping[str, float], bool] | None:
    """Trials, importances, and whether a process drives the sweep; None where the study cannot be read."""
    try:
        with closing(Study.open(folder.study, read_only=True)) as study:
            return study.trials(), study.importances(), study.is_driven()
    except (StorageError, MissingInputError) as error:
        damage.append(error)
        return None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _space(path: Path, problems: list[str]) -> Space | None:
    try:
        return load_space(path)
    except DmlrayError as error:
        problems.append(f"The search space could not be read ({error}).")
        return None


def _videos(config: SweepConfig, problems: list[str]) -> dict[str, int]:
    try:
        splits = [
            split for split in SPLITS if split in config.fingerprints and (config.stream is None or split != "train")
        ]
        return {split: read_manifest(config.data / split)[0].videos for split in splits}
    except DmlrayError as error:
        problems.append(f"The data could not be looked at ({error}).")
        return {}


def _ensembles(folder: Path, problems: list[str]) -> dict[str, EnsembleReport]:
    found = {}
    for path in sorted(folder.glob(f"*/{MEMBERS_FILE}")):
        try:
            found[path.parent.name] = EnsembleReport.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            problems.append(f"The ensemble {path.parent.name} is damaged or of another version ({reason}).")
    return found


def _measures(
    folder: SweepFolder, ensembles: Mapping[str, EnsembleReport], vocabulary: Path | None, problems: list[str]
) -> "dict[str, Measures]":
    if not ensembles:
        return {}
    from dmlray.report.measures import measure_ensemble  # PyTorch comes with it

    found = {}
    for name, report in ensembles.items():
        try:
            measures = measure_ensemble(folder, name, report, vocabulary)
        except StorageError as error:
            problems.append(f"The ensemble {name} could not be measured by class and by pick ({error}).")
            continue
        if measures is not None:
            found[name] = measures
    return found
