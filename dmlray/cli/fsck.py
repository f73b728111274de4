"""`dmlray fsck`: does all that a sweep left agree with its study?"""

from typing import TYPE_CHECKING, Annotated

import typer

from dmlray.cli.console import note
from dmlray.cli.options import DEFAULT_RESULTS, Json, Name, Results, answer
from dmlray.errors import BusyError, DataError, UnavailableError

if TYPE_CHECKING:
    from dmlray.sweep.fsck import Finding
    from dmlray.sweep.records import TrialRecord
    from dmlray.sweep.settings import SweepConfig, SweepFolder
    from dmlray.tracking import RunRecord


def register(app: typer.Typer) -> None:
    """Add this module's command to the app."""
    app.command()(fsck)


def fsck(
    name: Name,
    repair: Annotated[
        bool, typer.Option("--repair", help="Rebuild MLflow's runs and the reports from the study.")
    ] = False,
    as_json: Json = False,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Check a sweep's study, checkpoints, predictions and MLflow runs against each other, and name what disagrees.

    Example: dmlray fsck first

    Exit code 0 when all agree, 65 when something does not, 74 when the study itself is damaged. --repair never touches
    the study, checkpoints or predictions.
    """
    from dmlray.sweep.settings import SweepFolder

    folder = SweepFolder(results, name)
    config, trials, findings = _check(folder)
    repaired = _repair(folder, config, trials, findings) if repair else []
    if repair:
        _, _, findings = _check(folder)
    if as_json:
        rows = [{"place": finding.place, "problem": finding.problem} for finding in findings]
        answer({"version": 1, "sweep": name, "trials": len(trials), "repaired": repaired, "findings": rows})
    else:
        for line in [*(f"repaired: {place}" for place in repaired), *(f"{f.place}: {f.problem}" for f in findings)]:
            print(line)
    if findings:
        count = f"{len(findings)} disagreement{'s' if len(findings) > 1 else ''}"
        raise DataError(folder.path, f"{count} with the study" + ("" if repair else "; try --repair"))
    note(f"{name}: {len(trials)} trials agree with all they left")


def _check(folder: "SweepFolder") -> "tuple[SweepConfig, list[TrialRecord], list[Finding]]":
    """Raises StorageError for a damaged study, BusyError while the sweep runs."""
    from contextlib import closing

    from dmlray.sweep.fsck import check_files, check_tables
    from dmlray.sweep.settings import STUDY_FILE, load_settings
    from dmlray.sweep.study import Study
    from dmlray.sweep.study_file import check_file

    config = load_settings(folder)
    if folder.study.name == STUDY_FILE:
        check_file(folder.study, thoroughly=True)
    with closing(Study.open(folder.study, read_only=True)) as study:
        if study.is_driven():
            raise BusyError(f"{folder.path} is being run: fsck looks at sweeps that stand still")
        trials = study.trials()
        findings = list(check_tables(folder.study, trials, study.table_values()))
    findings += check_files(folder, config, trials)
    findings += _check_runs(config, trials)
    return config, trials, findings


def _check_runs(config: "SweepConfig", trials: "list[TrialRecord]") -> "list[Finding]":
    from dmlray.sweep.fsck import Finding
    from dmlray.tracking import Tracker

    try:
        found = Tracker(config.tracking_uri, "dmlray").audit(_runs(config, trials), f"{config.name}/")
    except UnavailableError as error:
        return [Finding(config.tracking_uri, f"cannot be checked: {error}")]
    return [Finding(f"MLflow run {key}", problem) for key, problems in found.items() for problem in problems]


def _runs(config: "SweepConfig", trials: "list[TrialRecord]") -> "list[RunRecord]":
    from dmlray.sweep.lineage import dataset_records
    from dmlray.sweep.runs import sweep_run, trial_run
    from dmlray.sweep.settings import wanted
    from dmlray.sweep.summary import summarize

    if not trials:
        return []
    parent = sweep_run(config, trials, summarize(trials, wanted(config, trials)).is_over)
    datasets = dataset_records(config)
    return [parent, *(trial_run(config, trial, datasets) for trial in trials)]


def _repair(
    folder: "SweepFolder", config: "SweepConfig", trials: "list[TrialRecord]", findings: "list[Finding]"
) -> list[str]:
    """Rebuild what is only a projection of the study; returns what was rebuilt."""
    from dmlray.tracking import Tracker

    prefix = "MLflow run "
    places = [finding.place for finding in findings if finding.place.startswith(prefix)]
    keys = list(dict.fromkeys(place.removeprefix(prefix) for place in places))
    if keys:
        Tracker(config.tracking_uri, "dmlray").rebuild(_runs(config, trials), keys)
    return [f"{prefix}{key}" for key in keys] + _rebuild_reports(folder)


def _rebuild_reports(folder: "SweepFolder") -> list[str]:
    from datetime import datetime

    from dmlray.atomic import write_text
    from dmlray.report.content import read_content
    from dmlray.report.page import build_report

    rebuilt = []
    for kind in ("html", "md"):
        path = folder.path / f"report.{kind}"
        if path.exists():
            write_text(path, build_report(read_content(folder), datetime.now().astimezone(), kind))
            rebuilt.append(str(path))
    return rebuilt
