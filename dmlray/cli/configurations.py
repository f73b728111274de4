"""The named configurations of a sweep beside the figures that others published for them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dmlray.sweep.records import TrialRecord
    from dmlray.sweep.settings import SweepFolder


def print_configurations(folder: "SweepFolder", trials: "list[TrialRecord]") -> None:
    """A table of a sweep's named configurations and fixed ensembles; nothing where its space has none."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from dmlray.sweep.space import load_space

    space = load_space(folder.space)
    if not space.configurations:
        return
    named = {trial.name: trial for trial in trials if trial.name is not None}
    table = Table("configuration", "state", "epoch", "val GAP", "test GAP", "published", box=box.SIMPLE_HEAD)
    for column in table.columns[2:]:
        column.justify = "right"
    rows = [_trial_row(configuration.name, named.get(configuration.name)) for configuration in space.configurations]
    rows += [_ensemble_row(folder, name, members, named) for name, members in space.ensembles.items()]
    for name, state, epoch, *gaps in rows:
        table.add_row(name, state, epoch, *map(_figure, (*gaps, space.published.get(name))))
    Console(highlight=False).print(table)


Row = tuple[str, str, str, float | None, float | None]


def _trial_row(name: str, trial: "TrialRecord | None") -> Row:
    if trial is None:
        return name, "not yet asked", "", None, None
    test = trial.metrics.get("test_gap")
    return name, trial.reason or trial.state.value, str(trial.best_epoch or ""), trial.best_so_far, test


def _ensemble_row(folder: "SweepFolder", name: str, members: tuple[str, ...], named: "dict[str, TrialRecord]") -> Row:
    from dmlray.ensemble.candidates import load_candidates
    from dmlray.ensemble.fixed import fixed_ensemble_gaps
    from dmlray.sweep.records import TrialState

    trials = [named[member] for member in members if member in named]
    finished = [trial for trial in trials if trial.state is TrialState.complete]
    if len(finished) < len(members):
        return name, f"{len(finished)} of {len(members)} members", "", None, None
    candidates = load_candidates((trial.number, name, folder.trial(trial.number)) for trial in finished)
    return name, "complete", "", *fixed_ensemble_gaps(candidates)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
