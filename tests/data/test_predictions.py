"""The prediction store: what was saved comes back, and nothing else does."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmlray.data.predictions import Predictions, load_predictions, save_predictions
from dmlray.data.ragged import Ragged, concatenate
from dmlray.errors import StorageError

META = {"sweep": "s", "trial": "3", "split": "validation", "dataset": "ab", "checkpoint": "cd"}


def drawn(videos: int, labels: int, seed: int = 0, classes: int = 30) -> Predictions:
    random = np.random.default_rng(seed)
    counts = random.integers(0, 4, videos)
    return Predictions(
        ids=np.array([f"ü{number}" for number in range(videos)], object),
        labels=np.array([random.choice(classes, labels, replace=False) for _ in range(videos)], np.int32).reshape(
            -1, labels
        ),
        scores=-np.sort(-random.random((videos, labels), np.float32), axis=1),
        truth=Ragged(np.concatenate([[0], np.cumsum(counts)]), random.integers(0, classes, counts.sum())),
        classes=classes,
        meta=META,
    )


def assert_equal(one: Predictions, two: Predictions) -> None:
    assert one.ids.tolist() == two.ids.tolist()
    for a, b in zip((one.labels, one.scores, *one.truth), (two.labels, two.scores, *two.truth), strict=True):
        assert a.dtype == b.dtype
        assert np.array_equal(a, b)
    assert (one.classes, one.meta) == (two.classes, two.meta)


@given(videos=st.integers(0, 9), labels=st.integers(1, 6), seed=st.integers(0, 99))
def test_comes_back_as_saved(tmp_path_factory: pytest.TempPathFactory, videos: int, labels: int, seed: int) -> None:
    path = tmp_path_factory.mktemp("p") / "predictions.arrow"
    predictions = drawn(videos, labels, seed)
    save_predictions(path, predictions)
    assert_equal(load_predictions(path), predictions)
    first = path.read_bytes()
    save_predictions(path, load_predictions(path))  # over the very file that it maps
    assert path.read_bytes() == first


def test_is_mapped_not_read(tmp_path: Path) -> None:
    save_predictions(tmp_path / "p.arrow", drawn(50, 5))
    predictions = load_predictions(tmp_path / "p.arrow")
    assert not predictions.labels.flags.owndata
    assert not predictions.scores.flags.owndata
    assert not predictions.scores.flags.writeable


def test_refuses_cuts_and_flipped_bits(tmp_path: Path) -> None:
    path = tmp_path / "p.arrow"
    original = drawn(3, 2)
    save_predictions(path, original)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(StorageError, match=r"p.arrow: "):
            load_predictions(path)
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :])
        with suppress(StorageError):
            assert_equal(load_predictions(path), original)  # a bit of padding


def test_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"absent.arrow: is missing"):
        load_predictions(tmp_path / "absent.arrow")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"scores": np.array([[0.5, np.nan]], np.float32)}, "not in 0 to 1"),
        ({"scores": np.array([[1.5, 0.5]], np.float32)}, "not in 0 to 1"),
        ({"scores": np.array([[0.1, 0.5]], np.float32)}, "do not descend"),
        ({"scores": np.array([[0.5]], np.float32)}, "do not fit"),
        ({"labels": np.array([[0, 30]], np.int32)}, "labels outside 0 to 29"),
        ({"labels": np.array([[-1, 3]], np.int32)}, "labels outside 0 to 29"),
        ({"ids": np.array(["a", "b"], object)}, "do not fit"),
        ({"truth": Ragged(np.array([0, 1]), np.array([30]))}, "truth that has values outside 0 to 29"),
        ({"truth": Ragged(np.array([0, 2]), np.array([3]))}, "truth that has offsets that do not fit"),
        ({"truth": Ragged(np.array([0, 1, 1]), np.array([3]))}, "truth that holds 2 lists, needs 1"),
    ],
)
def test_refuses_to_save_what_contradicts_itself(tmp_path: Path, change: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        save_predictions(tmp_path / "p.arrow", replace(drawn(1, 2), **change))
    assert not list(tmp_path.iterdir())


def test_refuses_another_arrow_file(tmp_path: Path) -> None:
    import pyarrow as pa

    path = tmp_path / "p.arrow"
    table = pa.table({"id": ["a"]})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(StorageError, match="format is None, not dmlray-predictions-1"):
        load_predictions(path)


def test_ragged_lists_are_joined() -> None:
    one = Ragged(np.array([0, 2, 2]), np.array([5, 6]))
    two = Ragged(np.array([0, 1]), np.array([7]))
    joined = concatenate([one, two, one])
    assert [joined.list_of(index).tolist() for index in range(5)] == [[5, 6], [], [7], [5, 6], []]
