"""One driver per sweep: a file lock that dies with its process, so a killed driver never leaves it behind."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from dmlray.errors import SweepExistsError
from dmlray.sweep.settings import SweepFolder


@contextmanager
def hold(folder: SweepFolder) -> Iterator[None]:
    """Be the sweep's only driver on this machine. Raises SweepExistsError naming the process that is."""
    with folder.lock.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise SweepExistsError(f"{folder.path} is being run by process {lock.read().strip()}") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def is_held(folder: SweepFolder) -> bool:
    """Whether some process drives the sweep now."""
    if not folder.lock.exists():
        return False
    with folder.lock.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
