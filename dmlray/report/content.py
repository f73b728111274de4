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
from dmlray.errors import DmlrayError, StorageError
from dmlray.report.parameters import Parameter, searched_parameters
from dmlray.sweep.records import TrialRecord, TrialState
from dmlray.sweep.settings import SweepConfig, SweepFolder, load_settings, wanted
from dmlray.sweep.space import Space, load_space
from dmlray.sweep.stopping import StoppingConfig
from dmlray.sweep.study import Study
from dmlray.sweep.summary import Summary, summarize

if TYPE_CHECKING:
    from dmlray.report.measures import Measures

State = Literal["finished", "running", "interrupted"]


@dataclass(frozen=True)
class Content:
    """A sweep as it stood at one moment. ``problems`` are what could not be read, for the reader to know."""

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
    """Read a sweep, running or not; ``vocabulary`` names the classes, see `report.measures`.

    Raises MissingInputError where there is none, StorageError where its settings or its study cannot be read, and for a
    vocabulary that cannot be read; what else is missing or damaged (data, space, an ensemble) becomes one of
    ``problems``.
    """
    config, problems = load_settings(folder), list[str]()
    with closing(Study.open(folder.study, read_only=True)) as study:
        trials, importances = study.trials(), study.importances()
        over = summarize(trials, wanted(config, trials)).is_over
        state: State = "finished" if over else "running" if study.is_driven() else "interrupted"
    space = _space(folder.space, problems)
    ensembles = _ensembles(folder.path / "ensemble", problems)
    return Content(
        config=config,
        state=state,
        trials=trials,
        importances=importances,
        parameters=searched_parameters(space.root if space else None, trials),
        stopping=space.stopping if space else None,
        space_text=folder.space.read_text(encoding="utf-8", errors="replace") if folder.space.is_file() else "",
        videos=_videos(config, problems),
        ensembles=ensembles,
        measures=_measures(folder, ensembles, vocabulary, problems),
        problems=problems,
    )


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
