"""Records that are laid out alike: taken apart once, recognised in all others of the same length.

A writer has few layouts: the orders of a map's keys, times the bytes that labels take. If two records of one length are
equal outside the values of the first, so are their tags and lengths, and their values lie at the same places.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmlray.data.wire import Bytes, Flags, Ints, Regions, Window

Parse = Callable[[Regions], list[Regions]]  # records -> the values of each, as far as they are of the plain shape

_WORD = 8
_ROUNDS = 4  # layouts that are learnt of one length from one chunk
_MOST = 16  # layouts of one length
_LENGTHS = 1024


class Layout(NamedTuple):
    """``starts`` and ``ends`` (V,) of the values, from the record's start; all else is ``template`` in ``words`` (W,).

    ``words`` are positions of eight bytes each, ``mask`` tells which of their bits belong to no value.
    """

    starts: Ints
    ends: Ints
    words: Ints
    mask: NDArray[np.uint64]
    template: NDArray[np.uint64]

    @classmethod
    def of(cls, record: Bytes, starts: Ints, ends: Ints) -> "Layout":
        """The layout of a record whose values lie there."""
        size = -(-len(record) // _WORD) * _WORD
        mask, data = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
        mask[: len(record)], data[: len(record)] = 0xFF, record
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            mask[start:end] = 0
        words = np.flatnonzero(mask.view("<u8"))
        return cls(starts, ends, _WORD * words, mask.view("<u8")[words], (data & mask).view("<u8")[words])

    def fits(self, window: Window, start: Ints) -> Flags:
        """Which of the records at ``start`` (N,), of the layout's length, are laid out like this."""
        words: NDArray[np.uint64] = np.ndarray((len(window.bytes) - 7,), "<u8", window.bytes, strides=(1,))
        found = words[start[:, None] + self.words]
        found &= self.mask
        equal: Flags = (found == self.template).all(axis=1)
        return equal


class Layouts:
    """The layouts that were met so far, for one schema. Memory is bounded, and so is the work on records unlike any."""

    def __init__(self) -> None:
        self._known: dict[int, list[Layout]] = {}

    def find(self, window: Window, record: Regions, parse: Parse, values: int) -> list[Regions]:
        """The ``values`` that ``parse`` finds in each record; if they are alike, it is asked about few of them."""
        none = np.zeros_like(record.start)
        found = [Regions(none.copy(), none.copy(), none > 0) for _ in range(values)]
        groups = {n: self._recognise(window, record, found, n, lanes) for n, lanes in _by_length(record)}
        for attempt in range(_ROUNDS):
            unlike = {n: lanes for n, lanes in groups.items() if len(lanes) > min(1, attempt) and self._learns(n)}
            if not unlike:
                break
            examples = np.array([lanes[attempt % len(lanes)] for lanes in unlike.values()])
            self._learn(window, record, parse, examples)
            groups |= {n: self._recognise(window, record, found, n, lanes) for n, lanes in unlike.items()}
        rest = np.concatenate([np.empty(0, np.int64), *groups.values()])
        if len(rest):
            for value, one in zip(found, parse(_part(record, rest)), strict=True):
                value.start[rest], value.end[rest], value.ok[rest] = one
        return found

    def _recognise(self, window: Window, record: Regions, found: list[Regions], length: int, lanes: Ints) -> Ints:
        """Fill in the values of those records that have a known layout; the others."""
        for layout in self._known.get(length, ()):
            if not len(lanes):
                break
            start = record.start[lanes]
            fits = layout.fits(window, start)
            alike, start = (lanes, start) if fits.all() else (lanes[fits], start[fits])
            for value, first, end in zip(found, layout.starts, layout.ends, strict=True):
                value.start[alike], value.end[alike], value.ok[alike] = start + first, start + end, True
            lanes = lanes[~fits]
        return lanes

    def _learns(self, length: int) -> bool:
        known = self._known.get(length)
        return len(self._known) < _LENGTHS if known is None else len(known) < _MOST

    def _learn(self, window: Window, record: Regions, parse: Parse, lanes: Ints) -> None:
        start, end = record.start[lanes], record.end[lanes]
        parsed = parse(_part(record, lanes))
        starts = np.stack([value.start for value in parsed], axis=1) - start[:, None]
        ends = np.stack([value.end for value in parsed], axis=1) - start[:, None]
        for number in np.flatnonzero(np.logical_and.reduce([value.ok for value in parsed])).tolist():
            data = window.bytes[start[number] : end[number]]
            self._known.setdefault(len(data), []).append(Layout.of(data, starts[number], ends[number]))


def _part(record: Regions, lanes: Ints) -> Regions:
    return Regions(record.start[lanes], record.end[lanes], record.ok[lanes])


def _by_length(record: Regions) -> Iterator[tuple[int, Ints]]:
    """Which records have each length."""
    lengths = record.end - record.start
    order = np.argsort(lengths, kind="stable")
    for lanes in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        if len(lanes):
            yield int(lengths[lanes[0]]), lanes
