"""An epoch that was left in the middle, as it must be known to be gone on with exactly."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Part:
    """An epoch's first ``steps`` steps: ``videos`` videos, whose losses add up to ``loss``.

    ``generators`` are the states of each worker's random generators after them, by rank.
    """

    steps: int
    videos: int
    loss: float
    generators: tuple[dict[str, Tensor], ...]


class LeavingError(Exception):
    """Training ends between two steps, as it was asked to; ``part`` of an epoch is done, or (None) nothing of it."""

    def __init__(self, part: Part | None) -> None:
        super().__init__(part)
        self.part = part
