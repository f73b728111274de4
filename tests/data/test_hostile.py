"""Records made to cost: millions of fields below the limit of a record's size take bounded time and memory."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmlray.data.example import MalformedError, decode_record, varint, varints
from dmlray.data.tfrecord import masked_crc
from dmlray.errors import DataError
from tests.data.encoder import bytes_feature, entry, example, field
from tests.data.encoder import varint as encoded

HALF = 15 << 20  # of the two bytes that an empty field takes: just below the limit of a video
EMPTY, ENTRY = b"\x0a\x00", b"\x12\x00"
HOSTILE = {
    "unknown fields": b"\x1a\x00" * HALF,
    "groups": b"\x1b" * 90 + b"\x08\x00" * HALF,
    "features without entries": EMPTY * HALF,
    "entries": field(1, EMPTY * HALF),
    "pieces of a value": field(1, field(1, field(1, b"id") + ENTRY * HALF)),
    "strings": field(1, entry("id", field(1, EMPTY * HALF))),
    "lists that merge": field(1, entry("id", EMPTY * HALF)),
    "empty frames": field(2, entry("rgb", EMPTY * HALF)),
    "labels": field(1, entry("labels", field(3, field(1, b"\x01" * 2 * HALF)))) + field(2, entry("rgb", b"")),
    "floats one by one": field(1, entry("mean_rgb", field(2, (b"\x0d" + bytes(4)) * (2 * HALF // 5)))),
}
READ = """
import sys, time
from pathlib import Path
from dmlray.data.reader import read_videos
from dmlray.data.schema import PRESETS
from dmlray.errors import DataError
def peak(): return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
for preset in ("yt8m-frame", "yt8m-video"):
    before, start = peak(), time.process_time()
    try:
        list(read_videos(sys.argv[1], PRESETS[preset]))
    except DataError as error:
        print(peak() - before, time.process_time() - start, str(error).partition(": ")[2], sep="\\t")
"""


@pytest.mark.thorough
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_record_costs_bounded_time_and_memory(tmp_path: Path, kind: str) -> None:
    path, data = tmp_path / "hostile.tfrecord", HOSTILE[kind]
    length = struct.pack("<Q", len(data))
    checksums = [masked_crc(part).to_bytes(4, "little") for part in (length, data)]
    path.write_bytes(length + checksums[0] + data + checksums[1])
    done = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, check=True, timeout=600)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(lines) == 2
    for kib, seconds, problem in lines:
        assert int(kib) < 300 << 10  # of which the record itself and its chunk are 64
        assert float(seconds) < 15
        assert "has more than 1048576 fields or bytes of labels" in problem or "is missing" in problem


def test_a_record_below_the_limit_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    record = example({"a": bytes_feature([b"x"])})
    monkeypatch.setattr("dmlray.data.example._MAX_FIELDS", 5)  # features, entry, key, value, list and string are six
    with pytest.raises(DataError, match="has more than 5 fields"):
        decode_record(record)
    monkeypatch.setattr("dmlray.data.example._MAX_FIELDS", 6)
    assert decode_record(record).features == {"a": [b"x"]}


@given(numbers=st.lists(st.integers(0, 2**64 - 1), max_size=30), together=st.integers(10, 40), longer=st.integers(0, 3))
@settings(deadline=None)
def test_varints_together_are_those_one_by_one(numbers: list[int], together: int, longer: int) -> None:
    data = b"".join(encoded(number, longer) for number in numbers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dmlray.data.example._VARINTS_TOGETHER", together)
        assert varints(data).tolist() == numbers


@given(data=st.binary(max_size=24).map(lambda data: data + b"\x01"))
@settings(deadline=None)
def test_varints_refuse_what_one_would(data: bytes) -> None:
    found, position = [], 0
    try:
        while position < len(data):
            number, position = varint(memoryview(data), position)
            found.append(number)
    except MalformedError:
        with pytest.raises(MalformedError):
            varints(data)
    else:
        assert varints(data).tolist() == found
