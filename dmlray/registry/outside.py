"""Members from elsewhere: predictions of the validation videos that no trial of the sweep made."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dmlray.data.dataset import Dataset
from dmlray.ensemble.candidates import Candidate
from dmlray.errors import DataError
from dmlray.registry.labelled import Labelled, read_predictions


def load_outside(paths: Sequence[Path], validation: Dataset) -> list[Candidate]:
    """Candidates numbered -1, -2, … for predictions of all ``validation`` videos, in files as `dmlray evaluate` reads.

    They have no test predictions. Raises as the readers do, DataError where videos or classes are others.
    """
    labelled = Labelled(np.array(validation.ids, dtype=object), validation.truth, validation.schema.classes)
    return [_load(path, -1 - place, labelled) for place, path in enumerate(paths)]


def _load(path: Path, number: int, labelled: Labelled) -> Candidate:
    found = read_predictions(path, labelled)
    if found.classes != labelled.classes:
        raise DataError(path, f"has labels up to {found.classes - 1}, the data has {labelled.classes} classes")
    return Candidate(number, path.name, path, found)
