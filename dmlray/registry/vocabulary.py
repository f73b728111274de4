"""The names of classes, from a vocabulary file as YouTube-8M gives them away."""

import csv
from pathlib import Path

from dmlray.errors import DataError, MissingInputError


def read_vocabulary(path: Path, classes: int) -> list[str]:
    """Names (C,) by class from a CSV with the columns ``Index`` and ``Name``, in any order; "" where there is none.

    Raises MissingInputError for no such file, DataError for another table, or an index that is no class or comes twice.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise MissingInputError(path, "vocabulary file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, f"is not a CSV file in UTF-8 ({error})") from error
    if not rows or not {"Index", "Name"} <= rows[0].keys():
        raise DataError(path, "must be a CSV file with the columns Index and Name")
    names: dict[int, str] = {}
    for number, row in enumerate(rows):
        index = int(row["Index"]) if (row["Index"] or "").isdecimal() else -1
        if not 0 <= index < classes or index in names:
            problem = f"Index must be each class from 0 to {classes - 1} at most once, found {row['Index']!r}"
            raise DataError(path, problem, record=number)
        names[index] = row["Name"] or ""
    return [names.get(index, "") for index in range(classes)]
