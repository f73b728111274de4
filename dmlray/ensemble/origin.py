"""Models of several sweeps told apart by one number: in an ensemble's account, its own sweep's trials keep theirs."""

from collections.abc import Sequence
from typing import NamedTuple

OTHER = 100_000  # trial 3 of the first of the other sweeps is 100003
SNAPSHOT = 1_000_000_000  # trial 3 after 4 epochs is 8000000003, its model without its average 9000000003


class Snapshot(NamedTuple):
    """Another model of a trial than the one that it is known by: that of ``epoch``; ``is_raw`` where the parameters are
    those that were trained, beside which an average of parameters is kept.
    """

    epoch: int
    is_raw: bool


def number_of(place: int, number: int) -> int:
    """The number of what has ``number`` in the other sweep at ``place``."""
    return OTHER * (place + 1) + number


def snapshot_number(trial: int, snapshot: Snapshot) -> int:
    """The number of a trial's ``snapshot``."""
    return SNAPSHOT * (2 * snapshot.epoch + snapshot.is_raw) + trial


def snapshot_of(number: int) -> Snapshot | None:
    """None for the model that a trial is known by, and for predictions from elsewhere."""
    if number < SNAPSHOT:
        return None
    epoch, raw = divmod(number // SNAPSHOT, 2)
    return Snapshot(epoch, bool(raw))


def snapshot_file(snapshot: Snapshot, split: str) -> str:
    """Where a snapshot's predictions lie in its trial's folder."""
    suffix = ("-raw" if snapshot.is_raw else "") + ("-test" if split == "test" else "")
    return f"snapshots/epoch-{snapshot.epoch:04d}{suffix}.arrow"


def origin(number: int, own: str, others: Sequence[str]) -> tuple[str, int]:
    """The sweep and the trial's number there; ``own`` is the sweep of the ensemble."""
    if number < 0:
        return own, number
    place, trial = divmod(number % SNAPSHOT, OTHER)
    return own if place == 0 else others[place - 1], trial


def is_own(number: int) -> bool:
    """Whether it is of the ensemble's own sweep, and no predictions from elsewhere."""
    return number >= 0 and number % SNAPSHOT < OTHER


def shown(number: int, others: Sequence[str]) -> str:
    """As people read it: 3, other/3, 3@4 after 4 epochs, 3@4-raw. Predictions from elsewhere have negative numbers."""
    sweep, trial = origin(number, "", others)
    snapshot = snapshot_of(number)
    suffix = "" if snapshot is None else f"@{snapshot.epoch}" + ("-raw" if snapshot.is_raw else "")
    return (f"{sweep}/{trial}" if sweep else f"{trial}") + suffix
