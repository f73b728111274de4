"""Batches made ready in a thread while the model trains on the one before."""

from collections.abc import Generator
from contextlib import closing
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import Generic, Protocol, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made", covariant=True)


class Source(Protocol[Made]):
    """Anything with epochs, such as `data.batch.Batches`."""

    def epoch(self, epoch: int) -> Generator[Made, None, None]:
        """The items of one epoch."""


class Prefetched(Generic[Item]):
    """The same epochs, up to ``depth`` items ahead of who asks."""

    def __init__(self, source: Source[Item], depth: int = 2) -> None:
        self._source, self._depth = source, depth

    def epoch(self, epoch: int) -> Generator[Item, None, None]:
        """The items of one epoch, in order. What the source raises is raised here, after the items before it."""
        return prefetch(self._source.epoch(epoch), self._depth)


def prefetch(items: Generator[Item, None, None], depth: int) -> Generator[Item, None, None]:
    """``items``, of which a thread of its own keeps up to ``depth`` ready.

    Closing it, at any time, closes ``items`` and ends the thread before it returns.
    """
    assert depth > 0
    maker = _Maker(items, depth)
    maker.start()
    try:
        while (made := maker.made.get()) is not None:
            if isinstance(made, _Failure):
                raise made.error
            maker.free.release()
            yield made.item
            del made  # or its memory could not be used for the next
    finally:
        maker.stop()


class _Ready(Generic[Item]):
    def __init__(self, item: Item) -> None:
        self.item = item


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Maker(Thread, Generic[Item]):
    """Fills ``made``, None at the end, one item for each place that is ``free``."""

    def __init__(self, items: Generator[Item, None, None], depth: int) -> None:
        super().__init__(name="prefetch", daemon=True)
        self.made: SimpleQueue[_Ready[Item] | _Failure | None] = SimpleQueue()
        self.free = Semaphore(depth)
        self._items, self._stopped = items, False

    def run(self) -> None:
        try:
            with closing(self._items):
                while self.free.acquire() and not self._stopped:
                    self.made.put(_Ready(next(self._items)))
        except StopIteration:
            self.made.put(None)
        except BaseException as error:
            self.made.put(_Failure(error))

    def stop(self) -> None:
        """End the thread: at once, or as soon as the item under way is made."""
        self._stopped = True
        self.free.release()
        self.join()
