"""Where TFRecords lie: a local folder or file, or a URI of a filesystem that pyarrow knows (``s3://``, ``gs://``)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

from dmlray.data.manifest import SourceFile
from dmlray.data.plan import is_shard_name
from dmlray.errors import DmlrayError, MissingInputError, UnavailableError, UsageError


@dataclass(frozen=True)
class Location:
    """A folder: ``uri`` opens it again elsewhere, ``root`` is its path on ``filesystem`` (None: local).

    ``only`` is the one file meant, if the user named a file.
    """

    uri: str
    root: str
    filesystem: FileSystem | None
    only: str | None = None

    def path(self, name: str) -> str:
        """Path of the file ``name`` in the folder."""
        return f"{self.root}/{name}"


def locate(source: str | Path) -> Location:
    """The folder or file that ``source`` names.

    Raises UsageError for a URI that pyarrow cannot open, UnavailableError when nothing answers there.
    """
    if "://" not in str(source):
        path = Path(source).absolute()
        if path.is_file():
            return Location(str(path.parent), str(path.parent), None, path.name)
        return Location(str(path), str(path), None)
    try:
        filesystem, root = FileSystem.from_uri(str(source))
    except (ValueError, NotImplementedError, OSError) as error:
        raise UsageError(f"{source} cannot be opened ({error})") from error
    location = Location(str(source), root, filesystem)
    with reached(location):
        if filesystem.get_file_info(root).type == FileType.File:
            folder, _, name = root.rpartition("/")
            return Location(str(source), folder, filesystem, name)
    return location


@contextmanager
def reached(location: Location) -> Iterator[None]:
    """Raises UnavailableError when a filesystem that is not local does not answer, or refuses."""
    try:
        yield
    except OSError as error:
        if location.filesystem is None or isinstance(error, DmlrayError):
            raise
        raise UnavailableError(f"{location.uri} cannot be read ({str(error).partition(chr(10))[0]})") from error


def list_files(location: Location) -> list[SourceFile]:
    """TFRecord files at any depth, sorted by name. Raises MissingInputError when there is none."""
    if location.only is not None:
        info = (location.filesystem or LocalFileSystem()).get_file_info(location.path(location.only))
        return [SourceFile(name=location.only, size=info.size)]
    found = _local(Path(location.root)) if location.filesystem is None else _remote(location)
    files = sorted((file for file in found if is_shard_name(file.name)), key=lambda file: file.name)
    if not files:
        raise MissingInputError(location.root, "folder of TFRecord files (*.tfrecord*)")
    return files


def _local(root: Path) -> list[SourceFile]:
    paths = (path for path in root.rglob("*") if path.is_file())
    return [SourceFile(name=path.relative_to(root).as_posix(), size=path.stat().st_size) for path in paths]


def _remote(location: Location) -> list[SourceFile]:
    assert location.filesystem is not None
    selector = FileSelector(location.root, recursive=True, allow_not_found=True)
    with reached(location):
        files = [info for info in location.filesystem.get_file_info(selector) if info.type == FileType.File]
    return [SourceFile(name=info.path[len(location.root) :].lstrip("/"), size=info.size) for info in files]
