"""Records that gave no video, kept with the reason: one Arrow file beside each shard that has any."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from dmlray.atomic import atomic_path
from dmlray.data.reader import BadRecord
from dmlray.errors import StorageError

_COLUMNS = pa.schema(
    [
        ("source", pa.string()),  # file name, relative to the source folder
        ("record", pa.int64()),
        ("offset", pa.int64()),  # bytes from the start of the uncompressed file
        ("problem", pa.string()),
        ("data", pa.large_binary()),
    ]
)


def write_quarantine(path: Path, bad: Sequence[tuple[str, BadRecord]]) -> None:
    """Write (source, record) pairs whole or not at all."""
    rows = [(source, one.record, one.offset, one.problem, one.data) for source, one in bad]
    columns = [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), _COLUMNS, strict=True)]
    with (
        atomic_path(path) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_file(file, _COLUMNS) as writer,
    ):
        writer.write_batch(pa.record_batch(columns, schema=_COLUMNS))


def count_quarantined(path: Path) -> int:
    """Records in a file that ``write_quarantine`` wrote. Raises StorageError when it is damaged or gone."""
    try:
        with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
            return sum(len(reader.get_batch(number)) for number in range(reader.num_record_batches))
    except (pa.ArrowException, OSError) as error:
        raise StorageError(path, f"is not a whole Arrow file ({str(error).partition(chr(10))[0]})") from error
