"""Ids of videos that are read when somebody looks at them: training never does."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import overload


class Ids(Sequence[str]):
    """A list of ids, or a part of one; ``read`` gives the whole list and is called once, by the first who looks."""

    def __init__(self, read: Callable[[], list[str]], count: int) -> None:
        self._read = cache(read)
        self._places = range(count)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> "Ids": ...
    def __getitem__(self, place: int | slice) -> "str | Ids":
        if isinstance(place, int):
            return self._read()[self._places[place]]
        part = Ids.__new__(Ids)
        part._read, part._places = self._read, self._places[place]
        return part

    def __iter__(self) -> Iterator[str]:
        texts = self._read()
        return (texts[place] for place in self._places)
