"""What MLflow calls: requests with raw features get the package's own scores, and wrong ones a sentence."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from dmlray.data.dataset import Dataset
from dmlray.errors import DataError
from dmlray.registry import load_package
from dmlray.registry.served import _load_pyfunc, block_of
from dmlray.sweep.settings import SweepFolder, load_settings
from tests.data.videos import FRAME, VIDEO, random_block
from tests.registry.conftest import package_of


def cells(dataset: Dataset, rows: int) -> dict[str, list[Any]]:
    """The first videos as a request holds them."""
    block = dataset.block(0)
    columns: dict[str, list[Any]] = {name: [] for name in block.features}
    for row in range(rows):
        for name, frames in block.features.items():
            values = frames[block.frames(row)].tolist()
            columns[name].append(values if block.frame_offsets is not None else values[0])
    return columns


@pytest.mark.parametrize("level", ["video", "frame"])
def test_answers_with_the_packages_scores(level: str, request: pytest.FixtureRequest) -> None:
    sweep: SweepFolder = request.getfixturevalue(f"{level}_sweep")
    dataset = Dataset.open(load_settings(sweep).data / "test")
    expected = load_package(package_of(sweep)).predict(dataset)[:5]
    answer = _load_pyfunc(str(package_of(sweep))).predict(pd.DataFrame(cells(dataset, 5)), {"top": 4})
    labels = np.array(answer["labels"].tolist())
    assert labels.shape == (5, 4)
    np.testing.assert_allclose(answer["scores"].tolist(), -np.sort(-expected, axis=1)[:, :4], rtol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(expected, labels, axis=1), answer["scores"].tolist(), rtol=1e-6)


def test_every_frame_reaches_the_model() -> None:
    block = random_block(FRAME, 4)
    features = {
        name: [frames[block.frame_offsets[row] : block.frame_offsets[row + 1]].tolist() for row in range(4)]
        for name, frames in block.features.items()
    }
    found = block_of(features, FRAME)
    assert found.frame_offsets.tolist() == block.frame_offsets.tolist()
    for name, frames in block.features.items():
        np.testing.assert_array_equal(found.features[name], frames)
        assert found.features[name].dtype == np.uint8


VECTORS = {"visual": [[1.0] * 6, [2.0] * 6], "audio": [[0.0] * 3, [0.5] * 3]}
FRAMES = {"visual": [[[1] * 6, [2] * 6]], "audio": [[[0] * 3, [5] * 3]]}


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"visual": VECTORS["visual"]}, "column 'audio' is missing, found visual"),
        ({**VECTORS, "audio": [[0.0] * 3, [0.5] * 2]}, r"record 1\): column 'audio' must hold 3 numbers"),
        ({**VECTORS, "visual": [[1.0] * 6, ["x"] * 6]}, "'visual' must hold 6 numbers"),
        ({**VECTORS, "visual": [[1.0] * 6, [float("nan")] * 6]}, "'visual' must hold 6 numbers"),
        ({**VECTORS, "visual": [[1.0] * 6, None]}, "'visual' must hold 6 numbers"),
    ],
)
def test_a_wrong_vector_is_named(columns: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        block_of(columns, VIDEO)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({**FRAMES, "audio": [[[0] * 3]]}, "'audio' has 1 frames, not 2"),
        ({**FRAMES, "audio": [[[0] * 3, [256] * 3]]}, "whole numbers from 0 to 255"),
        ({**FRAMES, "audio": [[[0] * 3, [0.5] * 3]]}, "whole numbers from 0 to 255"),
        ({**FRAMES, "audio": [[[0] * 3, [1] * 2]]}, "a list of frames of 3"),
        ({**FRAMES, "audio": [[]]}, "a list of frames of 3"),
        ({**FRAMES, "audio": [[1, 2, 3]]}, "a list of frames of 3"),
    ],
)
def test_wrong_frames_are_named(columns: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        block_of(columns, FRAME)
