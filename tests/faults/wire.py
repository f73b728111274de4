"""A bad cable for kernels without netem: frames cross between two taps late, and some never do.

``python -m tests.faults.wire LEFT RIGHT DELAY_S LOSS`` makes the taps, says so, and carries until it is killed; with it
the taps are gone. Each frame takes DELAY_S in either direction and is lost with probability LOSS. See ``tuntap.rst`` of
Linux for the interface.
"""

import fcntl
import os
import random
import select
import struct
import sys
import time
from collections import deque
from contextlib import suppress

_TUNSETIFF = 0x400454CA
_TAP_WITHOUT_HEADER = 0x0002 | 0x1000  # IFF_TAP | IFF_NO_PI: the kernel cuts and sums what a card would
_FRAME = 65536


def open_tap(name: str) -> int:
    """A descriptor: what the kernel sends to interface ``name`` is read there, and what is written it receives."""
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TAP_WITHOUT_HEADER))
    return tap


def carry(left: int, right: int, delay_s: float, loss: float, luck: random.Random) -> None:
    """For ever."""
    other, under_way = {left: right, right: left}, deque[tuple[float, int, bytes]]()
    while True:
        wait_s = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        readable, _, _ = select.select([left, right], [], [], wait_s)
        for tap in readable:
            frame = os.read(tap, _FRAME)
            if luck.random() >= loss:
                under_way.append((time.monotonic() + delay_s, other[tap], frame))
        while under_way and under_way[0][0] <= time.monotonic():
            _, tap, frame = under_way.popleft()
            with suppress(OSError):  # that end is not plugged in
                os.write(tap, frame)


if __name__ == "__main__":
    taps = [open_tap(name) for name in sys.argv[1:3]]
    print("carries", flush=True)
    carry(*taps, float(sys.argv[3]), float(sys.argv[4]), random.Random(0))
