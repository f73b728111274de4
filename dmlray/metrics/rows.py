"""Columns that grow batch by batch and come out in the order of the videos."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Rows:
    """A few numbers per video, kept by column; the order of arrival, of batches and of workers leaves no trace.

    It holds NumPy arrays only, so it can be pickled from worker to worker.
    """

    def __init__(self) -> None:
        self._parts: list[dict[str, NDArray[Any]]] = []

    def __len__(self) -> int:
        return sum(len(part["index"]) for part in self._parts)

    def append(self, **columns: NDArray[Any]) -> None:
        """Add rows. Columns are (B, ...); ``index`` (B,) is each video's place in the dataset."""
        assert len({len(column) for column in columns.values()}) == 1, "columns differ in length"
        self._parts.append(columns)

    def extend(self, other: "Rows") -> None:
        """Add another's rows."""
        self._parts.extend(other._parts)

    def columns(self) -> dict[str, NDArray[Any]]:
        """All rows, ordered by ``index``. Raises ValueError if there are none or a video was added twice."""
        if not len(self):
            raise ValueError("no video was added")
        whole = {name: np.concatenate([part[name] for part in self._parts]) for name in self._parts[0]}
        order = np.argsort(whole["index"], kind="stable")
        index = whole["index"][order]
        twice = index[1:][index[1:] == index[:-1]]
        if twice.size:
            raise ValueError(f"video {twice[0]} was added twice")
        return {name: column[order] for name, column in whole.items()}
