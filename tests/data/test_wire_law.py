"""Any bytes at all: what the fuzzer found worth keeping, and genuine records with damage."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmlray.data.schema import PRESETS
from dmlray.data.tfrecord import read_records
from tests.data.wire_law import check, framing_is_exact, paths_agree

SEEDS = sorted((Path(__file__).parent / "seeds").iterdir())
GENUINE = [
    ("yt8m-video", "yt8m_video/validate0000.tfrecord"),
    ("yt8m-frame", "yt8m_frame/SjJ3.tfrecord"),
    ("audioset", "audioset/eval/--.tfrecord"),
]


@pytest.mark.parametrize("seed", SEEDS, ids=lambda path: path.name)
def test_seeds(seed: Path) -> None:
    check(seed.read_bytes())


def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """A few edits, most of them near the places where lengths and tags stand."""
    edited = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        low = draw(st.sampled_from([0, 0, max(0, len(edited) - 200), len(edited) // 2]))
        place = draw(st.integers(low, max(low, min(len(edited), low + 200))))
        edit = draw(st.sampled_from(["flip", "set", "drop", "insert", "double"]))
        if edit == "flip" and place < len(edited):
            edited[place] ^= 1 << draw(st.integers(0, 7))
        elif edit == "set" and place < len(edited):
            edited[place] = draw(st.sampled_from([0, 1, 0x0A, 0x12, 0x1A, 0x7F, 0x80, 0xFF]))
        elif edit == "drop":
            del edited[place : place + draw(st.integers(1, 8))]
        elif edit == "insert":
            edited[place:place] = draw(st.binary(min_size=1, max_size=8))
        elif edit == "double":
            edited[place:place] = edited[place : place + draw(st.integers(1, 64))]
    return bytes(edited)


@pytest.mark.real_data
@pytest.mark.parametrize(("preset", "name"), GENUINE)
@given(data=st.data())
@settings(deadline=None, max_examples=60)
@pytest.mark.thorough
def test_damaged_genuine_records(real_data: Path, preset: str, name: str, data: st.DataObject) -> None:
    genuine = [bytes(record.data) for record, _ in zip(read_records(real_data / name), range(4), strict=False)]
    records = [mutated(data.draw, record) for record in genuine]
    paths_agree([genuine[0], *records], PRESETS[preset])


@pytest.mark.real_data
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_damaged_genuine_file(real_data: Path, data: st.DataObject) -> None:
    framing_is_exact(mutated(data.draw, (real_data / "audioset/eval/--.tfrecord").read_bytes()))
