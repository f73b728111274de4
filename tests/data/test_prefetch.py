"""Prefetching changes nothing but the time: same items, same errors, and no thread left behind."""

import threading
import time
import weakref
from collections.abc import Generator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmlray.data.prefetch import Prefetched, prefetch


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


class Counted:
    """Numbers up to ``stop``, then an error if there is one; what was made and whether it was closed."""

    def __init__(self, stop: int, error: BaseException | None = None) -> None:
        self.stop, self.error, self.made, self.closed = stop, error, 0, False

    def epoch(self, epoch: int) -> Generator[int, None, None]:
        try:
            for number in range(self.stop):
                self.made += 1
                yield 100 * epoch + number
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True


@settings(deadline=None)
@given(items=st.integers(0, 8), depth=st.integers(1, 4), taken=st.integers(0, 9))
def test_gives_the_same_items_however_many_are_taken(items: int, depth: int, taken: int) -> None:
    source = Counted(items)
    epoch = Prefetched(source, depth).epoch(2)
    got = [item for item, _ in zip(epoch, range(taken), strict=False)]
    assert got == [200 + number for number in range(min(items, taken))]
    epoch.close()
    assert not threads()
    assert source.closed == (source.made > 0 or items == 0) or taken == 0


def test_an_error_arrives_after_the_items_before_it() -> None:
    epoch = prefetch(Counted(3, OSError("disk")).epoch(0), 2)
    assert [next(epoch), next(epoch), next(epoch)] == [0, 1, 2]
    with pytest.raises(OSError, match="disk"):
        next(epoch)
    assert not threads()


def test_makes_no_more_than_it_may() -> None:
    source = Counted(100)
    epoch = prefetch(source.epoch(0), 3)
    assert next(epoch) == 0
    time.sleep(0.05)
    assert source.made == 4  # one taken, three ready
    epoch.close()
    assert source.closed
    assert source.made <= 5


def test_an_epoch_that_nobody_asks_starts_no_thread() -> None:
    source = Counted(3)
    Prefetched(source).epoch(0).close()
    assert source.made == 0
    assert not threads()


def test_holds_no_item_that_was_taken() -> None:
    def arrays() -> Generator[np.ndarray, None, None]:
        for _ in range(3):
            yield np.empty(5)

    epoch = prefetch(arrays(), 1)
    kept = weakref.ref(next(epoch))
    next(epoch)
    assert kept() is None
    epoch.close()
