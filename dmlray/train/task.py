"""What goes to a worker and what comes back, as plain values: no torch, so the driver need not import it."""

from dataclasses import dataclass, field
from pathlib import Path

from dmlray.config import TrialConfig
from dmlray.remote import Place


@dataclass(frozen=True)
class Limits:
    """Seconds for a trial on its worker, and from one batch to the next; None: any number.

    Who passes one has ``grace_s`` to say so before the worker is ended.
    """

    trial_s: float | None = None
    stall_s: float | None = None
    grace_s: float = 10.0


@dataclass(frozen=True)
class TrialTask:
    """One trial to train, or to continue from ``checkpoint`` (a file name in ``directory``/checkpoints)."""

    sweep: str
    number: int
    config: TrialConfig
    data: Place  # folder of train/, validation/ and perhaps test/
    directory: Path  # results/<sweep>/trials/<number>
    seed: int
    checkpoint: str | None = None
    checkpoint_digest: str | None = None
    threads: int = 1
    limits: Limits = Limits()


@dataclass(frozen=True)
class EpochReport:
    """What a trial reports after each epoch, ``epoch`` counting finished ones from 1.

    Of its seconds ``epoch_s`` went to training, ``evaluation_s`` to the validation split, ``checkpoint_s`` to what is
    kept of it, and before the first epoch of an attempt ``startup_s`` to opening, building and restoring.
    """

    epoch: int
    metrics: dict[str, float]  # val_gap, val_map, val_hit1, val_perr, train_loss, val_loss, videos_per_s, ...
    checkpoint: str
    digest: str


@dataclass(frozen=True)
class TrialOutcome:
    """How a trial's training ended: ``status`` is "complete" or "stopped"; ``value`` the best val_gap.

    ``test_s`` seconds went to the test split.
    """

    status: str
    best_epoch: int
    value: float
    metrics: dict[str, float]  # of the best epoch, with test_gap where the data has a test split
    resumed_from: str | None = None
    warnings: list[str] = field(default_factory=list)
    test_s: float = field(default=0.0, compare=False)
