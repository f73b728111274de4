"""One driver per sweep on this machine and on every node that shares its folder."""

from contextlib import AbstractContextManager

from dmlray import exclusive
from dmlray.sweep.settings import SweepFolder


def hold(folder: SweepFolder) -> AbstractContextManager[None]:
    """Be the sweep's only driver for the block. Raises BusyError naming the process that is."""
    return exclusive.exclusive(folder.lock, f"{folder.path} is being run")


def is_held(folder: SweepFolder) -> bool:
    """Whether some process drives the sweep now."""
    return exclusive.is_held(folder.lock)
