"""Framing: nothing that was changed, cut or forged is read, and what is wrong is named with its place."""

import gzip
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from dmlray.data.records import KEPT_BYTES
from dmlray.data.tfrecord import BadRecord, masked_crc, read_chunks, read_records
from dmlray.errors import DataError, MissingInputError
from tests.data.encoder import crc32c, framed, header, write

SMALL = [b"first", b"", b"the third record"]
BOUNDARIES = [0, 21, 37, 69]


def contents(path: str | Path) -> list[bytes]:
    return [bytes(record.data) for record in read_records(path)]


def read_until_error(path: Path) -> tuple[list[bytes], DataError | None]:
    found = []
    try:
        for record in read_records(path):
            found.append(bytes(record.data))
    except DataError as error:
        return found, error
    return found, None


def peak_bytes(path: Path, **options: int) -> int:
    """The most memory that reading the file took at once; it must be refused."""
    tracemalloc.start()
    with pytest.raises(DataError):
        list(read_records(path, **options))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_checksum_is_castagnoli_masked() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of the CRC catalogue
    assert masked_crc(b"123456789") == int.from_bytes(framed(b"123456789")[-4:], "little")


@given(records=st.lists(st.binary(max_size=300), max_size=12), room=st.integers(0, 200), many=st.integers(1, 5))
@settings(deadline=None, max_examples=60)
def test_same_records_however_they_are_chunked(
    records: list[bytes], room: int, many: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write(tmp_path_factory.mktemp("shard") / "a.tfrecord", records)
    read = list(read_records(path))
    assert [bytes(record.data) for record in read] == records  # also after reading on: the views stay valid
    assert [record.index for record in read] == list(range(len(records)))
    whole = Path(path).read_bytes()
    for record in read:
        assert whole[record.offset :].startswith(header(len(record.data)) + record.data)
    for reuse in (True, False):
        chunks = read_chunks(path, chunk_bytes=room, chunk_records=many, reuse_buffer=reuse)
        assert [bytes(chunk.data(i)) for chunk in chunks for i in range(len(chunk.starts))] == records


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a.tfrecord", SMALL))
    good = path.read_bytes()
    for bit in range(8 * len(good)):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        found, error = read_until_error(path)
        record = sum(bit // 8 >= end for end in BOUNDARIES[1:])
        assert error is not None, f"bit {bit}"
        assert found == SMALL[:record]
        assert (error.path, error.record, error.offset) == (str(path), record, BOUNDARIES[record])


def test_every_cut_is_noticed_but_between_records(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a.tfrecord", SMALL))
    good = path.read_bytes()
    assert len(good) == BOUNDARIES[-1]
    for size in range(len(good)):
        path.write_bytes(good[:size])
        found, error = read_until_error(path)
        record = sum(size >= end for end in BOUNDARIES[1:])
        assert found == SMALL[:record]
        if size in BOUNDARIES:
            assert error is None
        else:
            assert error is not None
            assert (error.record, error.offset) == (record, BOUNDARIES[record])
            assert "cut short" in error.problem


@pytest.mark.parametrize("members", [1, 3])
def test_gzip_is_read_as_it_is(tmp_path: Path, members: int) -> None:
    path = tmp_path / "no_such_suffix"
    whole = b"".join(map(framed, SMALL))
    parts = [whole] if members == 1 else [whole[:10], whole[10:40], whole[40:]]
    path.write_bytes(b"".join(map(gzip.compress, parts)) + bytes(7))
    assert contents(path) == SMALL


def test_damaged_gzip_never_gives_another_record(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord.gz"
    good = gzip.compress(b"".join(map(framed, SMALL[:2])), mtime=0)
    for size in range(1, len(good)):
        path.write_bytes(good[:size])
        found, error = read_until_error(path)
        assert error is not None, f"cut at {size}"
        assert found == SMALL[: len(found)]
    for bit in range(8 * len(good)):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        found, error = read_until_error(path)
        assert found == SMALL[:2] or (
            error is not None and found == SMALL[: len(found)]
        )  # some header bits mean nothing


def test_record_that_begins_like_gzip_is_none(tmp_path: Path) -> None:
    data = bytes(0x088B1F)  # this length is stored as 1f 8b 08, gzip's magic number
    path = tmp_path / "a.tfrecord"
    path.write_bytes(header(len(data)) + data + masked_crc(data).to_bytes(4, "little"))
    assert path.read_bytes().startswith(b"\x1f\x8b\x08")
    assert contents(path) == [data]


@pytest.mark.parametrize("length", [3 << 30, 1 << 40, 1 << 60, 1 << 63, (1 << 64) - 16, (1 << 64) - 1])
@pytest.mark.parametrize("compressed", [False, True])
def test_forged_length_costs_no_memory(tmp_path: Path, length: int, compressed: bool) -> None:
    path = tmp_path / "bomb"
    forged = header(length) + bytes(564)
    path.write_bytes(gzip.compress(forged) if compressed else forged)
    assert peak_bytes(path) < 20 << 20
    with pytest.raises(DataError, match=str(length)) if compressed else pytest.raises(DataError, match="are left"):
        contents(path)


def test_decompression_bomb_is_not_inflated(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(header(200 << 20) + bytes(64 << 20), 1))
    assert peak_bytes(path, max_record_bytes=1 << 20) < 24 << 20
    with pytest.raises(DataError, match=r"209715200 bytes long, more than the allowed 1048576"):
        list(read_records(path, max_record_bytes=1 << 20))


def test_record_longer_than_the_chunk_is_read(tmp_path: Path) -> None:
    records = [b"a", bytes(range(256)) * 8, b"b"]
    plain = Path(write(tmp_path / "plain", records))
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, packed):
        chunks = read_chunks(path, chunk_bytes=64)
        assert [bytes(chunk.data(i)) for chunk in chunks for i in range(len(chunk.starts))] == records


def test_bad_records_are_handed_over_and_the_others_read(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a.tfrecord", SMALL))
    damaged = bytearray(path.read_bytes())
    damaged[13] ^= 1
    path.write_bytes(damaged)
    bad: list[BadRecord] = []
    good = list(read_records(path, on_bad=bad.append))
    assert [(record.index, bytes(record.data)) for record in good] == [(1, b""), (2, SMALL[2])]
    assert [(one.path, one.record, one.offset, one.data, one.damaged) for one in bad] == [
        (str(path), 0, 0, bytes([ord("f"), ord("i") ^ 1]) + b"rst", True)
    ]


def flipped(data: bytes, *places: int) -> bytes:
    damaged = bytearray(data)
    for place in places:
        damaged[place] ^= 1
    return bytes(damaged)


def framing_law(path: Path, records: list[bytes], **options: int) -> list[BadRecord]:
    """Every byte of the file is in a good record, in a bad one or counted as lost; good records are those written."""
    bad: list[BadRecord] = []
    chunks = read_chunks(path, on_bad=bad.append, **options)
    good = {chunk.offsets[i]: bytes(chunk.data(i)) for chunk in chunks for i in range(len(chunk.starts))}
    spans = [(offset, len(data) + 16) for offset, data in good.items()]
    spans += [(one.offset, one.lost_bytes or len(one.data) + 16) for one in bad]
    end = 0
    for start, size in sorted(spans):
        assert start == end
        end += size
    assert end == path.stat().st_size
    written = dict(zip(offsets_of(records), records, strict=False))
    assert all(written[offset] == data for offset, data in good.items())
    return bad


def offsets_of(records: list[bytes]) -> list[int]:
    ends = [0]
    for data in records:
        ends.append(ends[-1] + len(data) + 16)
    return ends


@pytest.mark.parametrize("compressed", [False, True])
def test_lost_framing_is_found_again_at_the_next_header(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.tfrecord"
    whole = b"".join(map(framed, SMALL))
    damaged = flipped(whole, 21)  # the second length
    path.write_bytes(gzip.compress(damaged) if compressed else damaged)
    bad: list[BadRecord] = []
    read = list(read_records(path, on_bad=bad.append))
    assert [(record.index, record.offset, bytes(record.data)) for record in read] == [
        (0, 0, SMALL[0]),
        (2, 37, SMALL[2]),
    ]
    assert [(one.record, one.offset, one.data, one.lost_bytes, one.damaged) for one in bad] == [
        (1, 21, damaged[21:37], 16, True)
    ]
    assert bad[0].problem.endswith("length is wrong; the 16 bytes up to the next record are unreadable")


def test_lost_framing_without_another_header_takes_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    path.write_bytes(damaged := flipped(b"".join(map(framed, SMALL)), 21, 40))
    bad: list[BadRecord] = []
    assert [bytes(record.data) for record in read_records(path, on_bad=bad.append)] == SMALL[:1]
    assert [(one.record, one.offset, one.data, one.lost_bytes) for one in bad] == [(1, 21, damaged[21:], 48)]
    assert "the 48 bytes to the end of the file are unreadable" in bad[0].problem


@given(
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=12),
    flips=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=5, unique=True),
    cut=st.integers(0, 400),
    room=st.integers(0, 200),
    many=st.integers(1, 5),
)
@settings(deadline=None, max_examples=150)
@pytest.mark.thorough
def test_every_byte_of_a_damaged_file_is_accounted_for(
    sizes: list[int],
    flips: list[float],
    cut: int,
    room: int,
    many: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    records = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    whole = b"".join(map(framed, records))
    path = tmp_path_factory.getbasetemp() / "damaged.tfrecord"
    path.write_bytes(flipped(whole, *(int(place * len(whole)) for place in flips))[: max(1, len(whole) - cut)])
    framing_law(path, records, chunk_bytes=room, chunk_records=many)


@pytest.mark.thorough
def test_a_long_gap_costs_bounded_memory_and_what_follows_is_read(tmp_path: Path) -> None:
    path, gap = tmp_path / "a.tfrecord", 50 << 20
    with path.open("wb") as file:
        file.write(framed(b"before") + b"\xff" * 8 + bytes(gap))  # zeros: each position could begin a length
        file.write(framed(b"after"))
    bad: list[BadRecord] = []
    tracemalloc.start()
    found = [bytes(record.data) for record in read_records(path, on_bad=bad.append)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [b"before", b"after"]
    assert [(one.offset, one.lost_bytes, len(one.data)) for one in bad] == [(22, gap + 8, KEPT_BYTES)]
    assert peak < 90 << 20


def test_a_header_inside_what_is_lost_must_be_of_a_record_that_fits(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    path.write_bytes(b"junk" + header(1 << 40) + header(1000) + header(900) + bytes(40) + framed(b"x" * 70))
    bad: list[BadRecord] = []
    found = list(read_records(path, on_bad=bad.append, max_record_bytes=950))
    assert [bytes(record.data) for record in found] == [b"x" * 70]
    assert [one.lost_bytes for one in bad] == [80]


def test_other_filesystem(tmp_path: Path) -> None:
    write(tmp_path / "a.tfrecord", SMALL)
    filesystem = SubTreeFileSystem(str(tmp_path), LocalFileSystem())
    assert [bytes(record.data) for record in read_records("a.tfrecord", filesystem=filesystem)] == SMALL
    with pytest.raises(MissingInputError, match=r"b\.tfrecord: no TFRecord file here"):
        list(read_records("b.tfrecord", filesystem=filesystem))


@pytest.mark.parametrize("content", [b"hello", b"id,labels\nabcd,3\n", b"PAR1" + bytes(100), bytes(16)])
def test_other_file_is_called_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"other .record 0, byte 0.: (not a TFRecord file|the file is cut short)"):
        contents(path)


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert contents(tmp_path / "empty") == []
    for path in (tmp_path, tmp_path / "missing", tmp_path / "empty" / "below"):
        with pytest.raises(MissingInputError):
            contents(path)


@pytest.mark.parametrize("many", [1, 2, 3, 5])
def test_bad_records_do_not_shift_chunks(many: int, tmp_path: Path) -> None:
    records = [bytes([number]) * 9 for number in range(12)]
    path = Path(write(tmp_path / "a.tfrecord", records))
    damaged = bytearray(path.read_bytes())
    wrong = {0, 4, 5, 11}
    for number in wrong:
        damaged[number * 25 + 14] ^= 1
    path.write_bytes(damaged)
    bad: list[BadRecord] = []
    chunks = read_chunks(path, chunk_records=many, on_bad=bad.append)
    found = [bytes(chunk.data(i)) for chunk in chunks for i in range(len(chunk.starts))]
    assert found == [data for number, data in enumerate(records) if number not in wrong]
    assert [one.record for one in bad] == sorted(wrong)
