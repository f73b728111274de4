"""Named places where a test can have this process killed, as the power or the kernel would: no handler runs."""

import os
import signal
from collections import Counter

_reached: Counter[str] = Counter()


def reach(name: str) -> None:
    """Do nothing, unless the environment says ``DMLRAY_FAILPOINT=name:hit``: the hit-th time (from 1) is the last."""
    wanted = os.environ.get("DMLRAY_FAILPOINT")
    if wanted is None:
        return
    _reached[name] += 1
    if wanted == f"{name}:{_reached[name]}":
        os.kill(os.getpid(), signal.SIGKILL)
