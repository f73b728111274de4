"""The wire decoder agrees with the encoder's intent, and with protobuf itself on what anyone could write."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmlray.data.example import Example, Values, decode_record
from dmlray.errors import DataError
from tests.data.encoder import bytes_feature, entry, example, feature_list, field, float_feature, int_feature, varint

FLOATS = st.lists(st.floats(width=32, allow_nan=False), max_size=5)
INTS = st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=5)
STRINGS = st.lists(st.binary(max_size=5), max_size=5)
UNKNOWN = b"".join([b"\x28\x96\x01", b"\x31" + bytes(8), b"\x3d" + bytes(4), field(9, b"new"), b"\x53\x08\x01\x54"])


def plain(values: Values) -> object:
    """Comparable, with the type."""
    if isinstance(values, np.ndarray):
        return str(values.dtype), values.tolist()
    return values


def equal(one: Example, other: Example) -> bool:
    def shown(decoded: Example) -> object:
        return (
            {key: plain(value) for key, value in decoded.features.items()},
            {key: [plain(value) for value in values] for key, values in decoded.feature_lists.items()},
        )

    return shown(one) == shown(other)


def encoded(values: tuple[str, list[bytes] | list[float] | list[int]], packed: bool, longer: int) -> bytes:
    kind, content = values
    if kind == "bytes":
        return bytes_feature(content)
    return float_feature(content, packed) if kind == "float" else int_feature(content, packed, longer)


def expected(values: tuple[str, list[bytes] | list[float] | list[int]]) -> Values:
    kind, content = values
    if kind == "bytes":
        return list(content)
    return np.array(content, np.float32 if kind == "float" else np.int64)


FEATURE = st.one_of(
    st.tuples(st.just("bytes"), STRINGS), st.tuples(st.just("float"), FLOATS), st.tuples(st.just("int"), INTS)
)


@given(
    features=st.dictionaries(st.text(max_size=6), FEATURE, max_size=4),
    lists=st.dictionaries(st.text(max_size=6), st.lists(FEATURE, max_size=4), max_size=3),
    liberties=st.tuples(st.booleans(), st.booleans(), st.integers(0, 2), st.booleans()),
)
@settings(deadline=None, max_examples=150)
def test_decodes_what_was_encoded(
    features: dict[str, tuple[str, list[int]]],
    lists: dict[str, list[tuple[str, list[int]]]],
    liberties: tuple[bool, bool, int, bool],
) -> None:
    packed, value_first, longer, unknown = liberties
    extra = UNKNOWN if unknown else b""
    context = [entry(key, extra + encoded(value, packed, longer), value_first) for key, value in features.items()]
    rows = [
        entry(key, extra + feature_list(extra + encoded(value, packed, longer) for value in values), value_first)
        for key, values in lists.items()
    ]
    parts = [field(1, extra + b"".join(context) + extra), extra, field(2, b"".join(rows))]
    decoded = decode_record(b"".join(reversed(parts) if value_first else parts))
    wanted = Example(
        {key: expected(value) for key, value in features.items()},
        {key: [expected(value) for value in values] for key, values in lists.items()},
    )
    assert equal(decoded, wanted)


def test_merging_is_protobufs() -> None:
    """Each of these is what the encoding guide says of repeated and doubled fields."""
    one, two = int_feature([1]), int_feature([2])
    assert decode_record(field(1, entry("a", one)) + field(1, entry("b", two))).features.keys() == {"a", "b"}
    assert plain(decode_record(field(1, entry("a", one) + entry("a", two))).features["a"]) == ("int64", [2])
    doubled_value = field(1, field(1, b"a") + field(2, one) + field(2, two))
    assert plain(decode_record(field(1, doubled_value)).features["a"]) == ("int64", [1, 2])
    assert plain(decode_record(field(1, entry("a", one + bytes_feature([b"x"]) + two))).features["a"]) == ("int64", [2])
    assert decode_record(field(1, field(1, field(2, b"")))).features == {"": None}


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x0a\x7f", "longer than what holds it"),
        (b"\x0a", "varint is cut short"),
        (b"\x0a" + b"\xff" * 10, "varint is cut short or longer than 64 bits"),
        (b"\x0a" + b"\xff" * 9 + b"\x02", "longer than 64 bits"),
        (b"\x02\x00", "field number 0"),
        (b"\x0f\x00", "wire type 7"),
        (b"\x0c", "wire type 4"),
        (b"\x53\x08\x01", "group 10 has no end"),
        (b"\x53" * 5000, "wire type 3"),
        (b"\x31\x00", "longer than what holds it"),
        (field(1, field(1, field(1, b"\xff\xfe") + field(2, b""))), "not UTF-8"),
        (field(1, field(1, field(1, b"\xff") + field(1, b"good") + field(2, b""))), "not UTF-8"),
        (field(1, entry("x", field(2, field(1, b"\0\0\0")))), "'x': 3 bytes are no whole number of floats"),
        (field(1, entry("x", field(3, field(1, b"\x80")))), "'x': a varint is cut short"),
        (field(2, entry("x", field(1, b"\x0a\x05"))), "'x': field 1 is longer"),
    ],
)
def test_what_is_no_message_is_named(data: bytes, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        decode_record(data)


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_agrees_with_protobuf_on_damaged_messages(data: st.DataObject) -> None:
    """Whatever we accept, protobuf accepts and reads alike."""
    from google.protobuf.message import DecodeError
    from tfrecord import example_pb2

    lists = {"rgb": feature_list([bytes_feature([b"abc"]), bytes_feature([b"def"])])}
    message = bytearray(
        example({"id": bytes_feature([b"x"]), "n": int_feature([300, -1]), "f": float_feature([1.0, 2.0])}, lists)
    )
    for _ in range(data.draw(st.integers(0, 3))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        ours = decode_record(bytes(message))
    except DataError:
        return
    try:
        theirs = example_pb2.SequenceExample.FromString(bytes(message))
    except DecodeError:
        raise AssertionError("protobuf refuses it") from None

    def value(feature: object) -> Values:
        kind = feature.WhichOneof("kind")  # type: ignore[attr-defined]
        if kind is None:
            return None
        content = getattr(feature, kind).value
        return list(content) if kind == "bytes_list" else np.array(content, "f4" if kind == "float_list" else "i8")

    wanted = Example(
        {key: value(feature) for key, feature in theirs.context.feature.items()},
        {key: [value(one) for one in row.feature] for key, row in theirs.feature_lists.feature_list.items()},
    )
    for mine, part in zip(ours, wanted, strict=True):  # upb drops entries with unknown fields, which C++ keeps
        assert part.keys() <= mine.keys()
    common = Example(*({key: mine[key] for key in part} for mine, part in zip(ours, wanted, strict=True)))
    assert str(common) == str(wanted)  # as text, where NaN equals NaN


def test_varint_of_the_encoder_is_protobufs() -> None:
    assert varint(300) == b"\xac\x02"  # the encoding guide's example
