"""An ensemble as MLflow shows it: a child run of its sweep."""

import hashlib
from pathlib import Path

from dmlray.ensemble.origin import origin
from dmlray.ensemble.report import CURVE_FILE, MEMBERS_FILE, EnsembleReport
from dmlray.sweep.lineage import dataset_records
from dmlray.sweep.runs import sweep_key, trial_key
from dmlray.sweep.settings import SweepConfig
from dmlray.tracking import RunRecord


def ensemble_run(config: SweepConfig, name: str, report: EnsembleReport, directory: Path) -> RunRecord:
    """Members and settings as parameters, GAP after each kept pick as a curve, every figure as a metric; the data that
    they were measured on and the models of the members as what the run reads.
    """
    sweep = config.name
    digest = hashlib.sha256(report.model_dump_json().encode()).hexdigest()[:12]
    figures = {
        f"{way}_{part}_gap": value
        for way, found in report.figures.items()
        for part, value in (("selection", found.selection), ("report", found.report), ("test", found.test))
        if value is not None
    }
    kept = [pick for pick in report.curve if pick.kept]
    curve = [(step, {"selection_gap": pick.gap}) for step, pick in enumerate(kept, start=1)]
    return RunRecord(
        key=f"{sweep}/ensemble/{name}/{digest}",  # chosen again with another result, it is another run
        name=f"ensemble {name}",
        parent_key=sweep_key(sweep),
        status="finished",
        tags={"dmlray.sweep": sweep, "dmlray.ensemble": name, "dmlray.summary": report.summary},
        params={
            "top": str(report.top),
            "size": str(report.size),
            "weights": report.weights,
            "report_split": f"{report.report_split:g}",
            "members": ", ".join(f"{report.shown(member.trial)}: {member.weight:.4f}" for member in report.members),
        },
        metrics=[*curve, (len(kept), figures)],
        artifacts=[directory / MEMBERS_FILE, directory / CURVE_FILE],
        datasets=[dataset for dataset in dataset_records(config) if dataset.context != "train"],
        members=[
            trial_key(*origin(member.trial, sweep, report.sweeps)) for member in report.members if member.trial >= 0
        ],
    )
