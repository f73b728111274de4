"""Records recognised by their layout are read as if each had been taken apart, and what only looks alike is not."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmlray.data.columns import Columns
from dmlray.data.layout import Layouts
from dmlray.data.reader import read_videos
from dmlray.data.tfrecord import read_chunks
from dmlray.data.wire import Regions
from tests.data.encoder import bytes_feature, entry, field, float_feature, int_feature, write
from tests.data.wire_law import VIDEO, paths_agree

NAMES = ["id", "labels", "mean_rgb", "mean_audio"]


def record(number: int, labels: list[int], order: list[str] = NAMES, extra: bytes = b"") -> bytes:
    parts = {
        "id": bytes_feature([b"%04d" % number]),
        "labels": int_feature(labels),
        "mean_rgb": float_feature([number, 1, 2]),
        "mean_audio": float_feature([number, 3]),
    }
    return field(1, b"".join(entry(name, parts[name]) for name in order) + extra)


class Counted:
    """A Columns' own parser that tells how many records it was asked about."""

    def __init__(self, path: str) -> None:
        (self.chunk,) = read_chunks(path)
        self.columns, self.asked = Columns(self.chunk, VIDEO), 0

    def parse(self, records: Regions) -> list[Regions]:
        self.asked += len(records.start)
        return self.columns._find(records)


def test_few_of_many_alike_records_are_taken_apart(tmp_path: Path) -> None:
    orders = [NAMES, NAMES[::-1], [*NAMES[2:], *NAMES[:2]]]
    records = [record(n, [n % 250] * (n % 2) + [255], orders[n % 3]) for n in range(300)]
    counted, layouts = Counted(write(tmp_path / "a", records)), Layouts()
    ends = counted.chunk.starts + counted.chunk.lengths
    regions = Regions(counted.chunk.starts, ends, np.ones(len(ends), bool))
    first = layouts.find(counted.columns._window, regions, counted.parse, 4)
    assert counted.asked <= 3 * 3 * 2
    counted.asked = 0
    again = layouts.find(counted.columns._window, regions, counted.parse, 4)
    assert counted.asked == 0
    for found in (first, again):
        for one, wanted in zip(found, counted.columns._find(regions), strict=True):
            assert all((a == b).all() for a, b in zip(one, wanted, strict=True))


@given(
    records=st.lists(
        st.tuples(
            st.lists(st.integers(0, 320), max_size=3),
            st.permutations(NAMES),
            st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=1),
        ),
        min_size=1,
        max_size=12,
    )
)
@settings(deadline=None, max_examples=150)
@pytest.mark.thorough
def test_damage_among_records_of_one_length_is_seen(
    records: list[tuple[list[int], list[str], list[tuple[float, int]]]],
) -> None:
    made = []
    for number, (labels, order, edits) in enumerate(records):
        data = bytearray(record(number, labels, order))
        for place, value in edits:
            data[int(place * len(data))] = value
        made.append(bytes(data))
    paths_agree(made, VIDEO)


def test_each_changed_byte_outside_the_values_is_seen() -> None:
    """One record among copies of itself, each of its bytes changed in turn."""
    good = record(7, [3, 200])
    for place in range(len(good)):
        changed = bytearray(good)
        changed[place] ^= 1 << place % 8
        paths_agree([good, good, bytes(changed), good], VIDEO)


@pytest.mark.thorough
def test_endless_variety_is_read_all_the_same(tmp_path: Path) -> None:
    """More lengths and orders than layouts are kept of."""
    records = [record(n, [1], extra=entry("x" * (n % 1200), int_feature([n]))) for n in range(2500)]
    ids = [video for block in read_videos(write(tmp_path / "a", records), VIDEO) for video in block.ids]
    assert ids == [f"{number:04d}" for number in range(2500)]


def test_vectors_of_a_chunk_smaller_than_one(tmp_path: Path) -> None:
    wide = VIDEO.model_copy(update={"modalities": (VIDEO.modalities[0].model_copy(update={"width": 1 << 16}),)})
    bad: list[object] = []
    assert not list(read_videos(write(tmp_path / "a", [record(1, [2])]), wide, on_bad=bad.append))
    assert len(bad) == 1
