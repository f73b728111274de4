"""One student in the place of an ensemble: how much of the gain it keeps.

Distillation: Hinton, Vinyals and Dean (2015), arXiv:1503.02531.
"""

import hashlib
from collections.abc import Mapping

import numpy as np

from dmlray.config import Config
from dmlray.data.dataset import Dataset
from dmlray.ensemble.candidates import Candidate
from dmlray.ensemble.parts import gap_on, split_videos
from dmlray.ensemble.report import EnsembleReport
from dmlray.errors import UsageError
from dmlray.registry.package import Package


class Kept(Config):
    """GAP@20 of the best single trial, the ensemble and its student on ``videos`` videos; ``share`` is that of the
    ensemble's gain which the student keeps, None where the ensemble gains nothing."""

    videos: int
    best_single: float
    ensemble: float
    student: float
    share: float | None


class DistillationReport(Config):
    """``student`` is the trial of ``sweep`` that is best on the selection part; ``kept`` on the report part and test,
    which neither it nor the ensemble were chosen on; sizes in numbers of parameters."""

    ensemble: str
    package: str
    sweep: str
    student: int
    name: str
    kept: dict[str, Kept]
    ensemble_parameters: int
    student_parameters: int


def soft_labels_name(package: Package, train: Dataset) -> str:
    """Name of the folder of what ``package`` predicts for ``train``; of anything else it is another."""
    return f"train-{hashlib.sha256(f'{package.digest} {train.fingerprint}'.encode()).hexdigest()[:12]}"


def report_distillation(
    ensemble: EnsembleReport, package: Package, sweep: str, students: list[Candidate], parameters: Mapping[int, int]
) -> DistillationReport:
    """Compare the best of ``students`` (finished trials) with the ensemble; ``parameters`` by trial.

    Raises UsageError where no student is finished.
    """
    if not students:
        raise UsageError(f"sweep {sweep} has no finished student to compare")
    chosen, reported = split_videos(students[0].validation.ids, ensemble.report_split)
    best = max(students, key=lambda student: (gap_on(student.validation, chosen), -student.trial))
    kept = {}
    if reported.size:
        kept["report"] = _kept(ensemble, "report", gap_on(best.validation, reported), len(reported))
    if best.test is not None and ensemble.figures["ensemble"].test is not None:
        kept["test"] = _kept(ensemble, "test", gap_on(best.test, np.arange(len(best.test))), len(best.test))
    return DistillationReport(
        ensemble=package.contents.name,
        package=package.digest,
        sweep=sweep,
        student=best.trial,
        name=best.name,
        kept=kept,
        ensemble_parameters=package.parameters,
        student_parameters=parameters[best.trial],
    )


def _kept(ensemble: EnsembleReport, part: str, student: float, videos: int) -> Kept:
    single, whole = (float(getattr(ensemble.figures[way], part)) for way in ("best_single", "ensemble"))
    share = (student - single) / (whole - single) if whole > single else None
    return Kept(videos=videos, best_single=single, ensemble=whole, student=student, share=share)
