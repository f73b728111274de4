"""The schema of a conversion for which none was named: described beside the files, or guessed from some of them."""

from collections.abc import Sequence
from pathlib import Path

from dmlray.data.guess import guess_structure, with_classes
from dmlray.data.inspection import sample_records
from dmlray.data.location import Location
from dmlray.data.manifest import SourceFile
from dmlray.data.reader import read_videos
from dmlray.data.schema import PRESETS, Schema, load_schema
from dmlray.errors import DataError

_FEW_FILES = 8  # as many give the structure
_FILES, _BYTES = 500, 256 << 20  # about as much is read for the largest class where no preset says it


def find_schema(location: Location, files: Sequence[SourceFile]) -> Schema:
    """``schema.yaml`` of the folder, else a preset that a few records fit, else a guess from an even sample.

    The guess may miss the largest class, and bad records do not hinder it: the conversion checks every record anyhow.
    Raises DataError, saying what is lacking, when nothing can be guessed.
    """
    described = Path(location.root) / "schema.yaml"
    if location.filesystem is None and described.is_file():
        return load_schema(described)
    paths = [location.path(file.name) for file in files]
    few = paths[:: -(-len(paths) // _FEW_FILES)]
    try:
        structure = guess_structure(location.root, sample_records(few, location.filesystem))
    except DataError as error:
        raise DataError(location.root, f"{error.problem}; give --schema") from error
    if (preset := with_classes(structure, _largest_label(few[:1], structure, location))) in PRESETS.values():
        return preset
    step = 1 + max(len(files) // _FILES, sum(file.size for file in files) // _BYTES)
    return with_classes(structure, _largest_label(paths[::step], structure, location))


def _largest_label(paths: Sequence[str], schema: Schema, location: Location) -> int:
    largest = 0
    for path in paths:
        for block in read_videos(path, schema, filesystem=location.filesystem, on_bad=lambda bad: None):
            largest = max(largest, int(block.label_values.max(initial=0)))
    return largest
