"""Named places where a test can watch this process, or have it killed as the power or the kernel would."""

import os
import signal
from collections import Counter
from collections.abc import Callable

Observer = Callable[..., None]  # called with the place's name, and what it tells of itself by keyword

_reached: Counter[str] = Counter()
_observers: list[Observer] = []


def observe(observer: Observer) -> None:
    """Call ``observer`` at every place that this process reaches from now on, instead of whoever was called before."""
    _observers[:] = [observer]


def reach(name: str, **details: object) -> None:
    """Do nothing, unless somebody observes, or the environment says ``DMLRAY_FAILPOINT=name:hit``.

    Then the hit-th time (from 1) that this process comes here is the last: no handler runs.
    """
    for observer in _observers:
        observer(name, **details)
    wanted = os.environ.get("DMLRAY_FAILPOINT")
    if wanted is None:
        return
    _reached[name] += 1
    if wanted == f"{name}:{_reached[name]}":
        os.kill(os.getpid(), signal.SIGKILL)
