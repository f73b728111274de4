"""Trials of several sweeps told apart by one number: in an ensemble's account, its own sweep's trials keep theirs."""

from collections.abc import Sequence

OTHER = 100_000  # trial 3 of the first of the other sweeps is 100003


def number_of(place: int, trial: int) -> int:
    """The number of ``trial`` of the other sweep at ``place``."""
    return OTHER * (place + 1) + trial


def origin(number: int, own: str, others: Sequence[str]) -> tuple[str, int]:
    """The sweep and the trial's number there; ``own`` is the sweep of the ensemble."""
    place, trial = divmod(number, OTHER)
    return (own if place <= 0 else others[place - 1]), (number if place <= 0 else trial)


def shown(number: int, others: Sequence[str]) -> str:
    """As people read it: 3, or other/3. Predictions from elsewhere have negative numbers."""
    if number < OTHER:
        return str(number)
    sweep, trial = origin(number, "", others)
    return f"{sweep}/{trial}"
