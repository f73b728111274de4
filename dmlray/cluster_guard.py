"""Ends the processes of a Ray that was started here once its driver is gone, however it went.

Ray's own helpers notice the death of a driver late or never (its agents were seen a minute after a SIGKILL), and
children that a worker has forked belong to nobody. All of them inherit a mark in their environment, a word that no
other process has (`cluster` sees to it that no title overwrites it). A small process of its own session, started before
Ray, waits at a pipe whose other end only the driver holds; when that is closed it ends what still carries the mark. It
runs this file alone, with nothing imported but the standard library.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MARK = "DMLRAY_RAY_OF"
GRACE_S = 3.0  # for processes that end by themselves
_PROC = Path("/proc")
_ROUNDS = 50  # of ending what is there: what is being forked meanwhile is found in the next


@contextmanager
def guarded() -> Iterator[str]:
    """A mark for the environment of processes that are not to outlive the block, nor this process.

    Where there is no /proc, nobody guards.
    """
    mark = os.urandom(16).hex()
    if not _PROC.is_dir():
        yield mark
        return
    command = [sys.executable, "-I", "-S", __file__, mark]
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    assert guard.stdin is not None
    try:
        yield mark
    finally:
        guard.stdin.close()
        guard.wait()


def end(mark: str) -> None:
    """Wait until what carries the mark has ended by itself, then kill the rest."""
    deadline = time.monotonic() + GRACE_S
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    for _ in range(_ROUNDS):
        killed = [pid for pid in marked(mark) if _kill(pid, mark)]
        if not killed:
            return
        time.sleep(0.05)


def marked(mark: str) -> list[int]:
    """Ids of this user's processes that began with the mark in their environment."""
    return [int(folder.name) for folder in _PROC.glob("[0-9]*") if _carries(folder, mark)]


def _carries(folder: Path, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0")
    except OSError:  # another user's, or gone
        return False


def _kill(pid: int, mark: str) -> bool:
    """Kill a process if it is still the one that carries the mark: the descriptor holds it while that is asked."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if is_it := _carries(_PROC / str(pid), mark):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        return is_it
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    while os.read(0, 1):  # nothing is ever written: this ends when the driver has
        pass
    end(sys.argv[1])
