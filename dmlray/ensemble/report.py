"""What is known about an ensemble, as plain data, and how it lies on disk."""

from pathlib import Path

import pyarrow as pa
from pyarrow import parquet
from pydantic import Field

from dmlray.atomic import atomic_path, write_text
from dmlray.config import Config
from dmlray.data.predictions import Predictions, save_predictions
from dmlray.ensemble.candidates import TEST_FILE, VALIDATION_FILE
from dmlray.ensemble.origin import shown
from dmlray.ensemble.precision import Precision

MEMBERS_FILE = "members.json"
CURVE_FILE = "curve.parquet"


class Member(Config):
    """One trial of an ensemble: its own GAP on the selection part, its share, the temperature by which its logits are
    divided, what its picks added to GAP there, and what the ensemble loses on the report part without it.

    The gains of all members add up to the GAP that the selection reached.
    """

    trial: int
    name: str
    gap: float
    weight: float
    temperature: float = 1.0
    picks: int
    gain: float
    leave_one_out: float | None = None


class Pick(Config):
    """One step of the selection: the trial picked, GAP of the mean of all picks so far, and whether it was kept."""

    trial: int
    name: str
    gap: float
    kept: bool


class Affordable(Config):
    """An ensemble on the Pareto front: GAP on the selection part, MB of parameters, CPU milliseconds a video."""

    trials: tuple[int, ...]
    gap: float
    mb: float
    ms_per_video: float


class Figures(Config):
    """GAP@20 of a way to combine ``members`` trials, with 95 % bootstrap intervals over videos; None where there are no
    such videos or predictions.
    """

    members: int
    selection: float
    report: float | None
    report_interval: tuple[float, float] | None = None
    test: float | None
    test_interval: tuple[float, float] | None = None

    @staticmethod
    def half_width(interval: tuple[float, float] | None) -> float | None:
        """Half of an interval, for a ± behind its figure."""
        return None if interval is None else (interval[1] - interval[0]) / 2

    @property
    def optimism(self) -> float | None:
        """How much better it looks on the videos that it was chosen on."""
        return None if self.report is None else self.selection - self.report


class Gain(Config):
    """GAP of the ensemble minus that of the best single trial on the report part, with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float
    resamples: int
    within_noise: bool


class EnsembleReport(Config):
    """The whole account. ``figures``: `ensemble`; `best_single`; `paper` (best ``top`` by own GAP, GAP-proportional);
    `top` (the same alike); `uniform` (its own members alike); `all` candidates alike; `scale_none` or
    `scale_temperature`, the same choice on the other scale. `ensemble` and `paper` are measured on their members' full
    outputs where `from_stores` stands beside them, all else on stores of the 50 best classes a
    video. Every one is chosen on the selection part alone. The ensemble's members are stored in ``precision``; what
    others would reach stands under their names (`float32`, `float16`, `int8`).

    ``sweeps``: other sweeps whose trials were candidates too, numbered as `ensemble.origin` says.
    ``disagreement``: the share of a video's 20 best classes that two members, in their order, do not share.
    """

    top: int
    size: int
    weights: str
    scale: str = "none"
    precision: Precision = "float32"
    bags: int = 0
    report_split: float
    videos: dict[str, int]
    candidates: int
    sweeps: tuple[str, ...] = ()
    members: tuple[Member, ...]
    best_single: int
    curve: tuple[Pick, ...]
    figures: dict[str, Figures]
    disagreement: tuple[tuple[float, ...], ...] = ()
    gain: Gain | None
    budgets: dict[str, float] = Field(default_factory=dict)
    front: tuple[Affordable, ...] = ()
    summary: str
    notes: tuple[str, ...] = ()

    def shown(self, number: int) -> str:
        """A candidate's number as people read it."""
        return shown(number, self.sweeps)


def save_ensemble(directory: Path, report: EnsembleReport, validation: Predictions, test: Predictions | None) -> None:
    """Write an ensemble's folder, replacing an earlier one. ``members.json`` comes last: without it, there is none.

    Raises StorageError when the disk refuses.
    """
    members = directory / MEMBERS_FILE
    for stale in (members, directory / TEST_FILE):
        stale.unlink(missing_ok=True)
    save_predictions(directory / VALIDATION_FILE, validation)
    if test is not None:
        save_predictions(directory / TEST_FILE, test)
    rows = [{"pick": place, **pick.model_dump()} for place, pick in enumerate(report.curve, start=1)]
    with atomic_path(directory / CURVE_FILE) as temporary:
        parquet.write_table(pa.Table.from_pylist(rows), temporary)
    write_text(members, report.model_dump_json(indent=2) + "\n")
