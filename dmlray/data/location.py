"""Where TFRecords lie: a local folder or file, or a URI of a filesystem that pyarrow knows (``s3://``, ``gs://``)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

from dmlray.data.manifest import SourceFile
from dmlray.data.plan import is_shard_name
from dmlray.errors import DmlrayError, MissingInputError, UnavailableError, UsageError
from dmlray.remote import shown


@dataclass(frozen=True)
class Location:
    """A folder: ``uri`` opens it again elsewhere, ``root`` is its path on ``filesystem`` (None: local).

    ``only`` is the one file meant, if the user named a file; ``glob`` which files are, if the user gave a pattern.
    """

    uri: str
    root: str
    filesystem: FileSystem | None
    only: str | None = None
    glob: str | None = None

    def path(self, name: str) -> str:
        """Path of the file ``name`` in the folder."""
        return f"{self.root}/{name}"


def locate(source: str | Path) -> Location:
    """The folder or file that ``source`` names, or the folder and which of its files (``*`` also crosses folders).

    Raises UsageError for a URI that pyarrow cannot open, UnavailableError when nothing answers there.
    """
    folder, glob = _split_glob(str(source))
    if glob:
        return replace(locate(folder), glob=glob)
    if "://" not in str(source):
        path = Path(source).absolute()
        if path.is_file():
            return Location(str(path.parent), str(path.parent), None, path.name)
        return Location(str(path), str(path), None)
    try:
        filesystem, root = FileSystem.from_uri(str(source))
    except (ValueError, NotImplementedError) as error:
        raise UsageError(f"{shown(str(source))} cannot be opened ({error})") from error
    except OSError as error:
        reason = str(error).partition("; Details")[0]
        raise UnavailableError(f"{shown(str(source))} cannot be reached ({reason})") from error
    location = Location(str(source), root, filesystem)
    with reached(location):
        if filesystem.get_file_info(root).type == FileType.File:
            folder, _, name = root.rpartition("/")
            return Location(str(source), folder, filesystem, name)
    return location


def _split_glob(source: str) -> tuple[str, str]:
    """The folder before the first wildcard and the pattern of names in it, "" where ``source`` is no pattern."""
    is_uri = "://" in source
    if not is_uri and Path(source).exists():
        return source, ""
    place, question, options = source.partition("?") if is_uri else (source, "", "")  # a URI's options, not a wildcard
    found = re.search(r"[^/]*[*?\[]", place)
    if found is None:
        return source, ""
    folder = place[: found.start()].rstrip("/") or ("/" if place.startswith("/") else ".")
    return folder + question + options, place[found.start() :]


@contextmanager
def reached(location: Location) -> Iterator[None]:
    """Raises UnavailableError when a filesystem that is not local does not answer, or refuses."""
    try:
        yield
    except OSError as error:
        if location.filesystem is None or isinstance(error, DmlrayError):
            raise
        raise UnavailableError(f"{shown(location.uri)} cannot be read ({str(error).partition(chr(10))[0]})") from error


def list_files(location: Location) -> list[SourceFile]:
    """TFRecord files at any depth, sorted by name. Raises MissingInputError when there is none."""
    if location.only is not None:
        info = (location.filesystem or LocalFileSystem()).get_file_info(location.path(location.only))
        return [SourceFile(name=location.only, size=info.size)]
    found = _local(Path(location.root)) if location.filesystem is None else _remote(location)
    files = sorted((file for file in found if _is_meant(file.name, location.glob)), key=lambda file: file.name)
    if not files:
        wanted = "folder of TFRecord files (*.tfrecord*)"
        raise MissingInputError(
            shown(location.uri), wanted if location.glob is None else f"{wanted} that match {location.glob}"
        )
    return files


def _is_meant(name: str, glob: str | None) -> bool:
    return is_shard_name(name) and (glob is None or fnmatchcase(name, glob))


def _local(root: Path) -> list[SourceFile]:
    paths = (path for path in root.rglob("*") if path.is_file())
    return [SourceFile(name=path.relative_to(root).as_posix(), size=path.stat().st_size) for path in paths]


def _remote(location: Location) -> list[SourceFile]:
    assert location.filesystem is not None
    selector = FileSelector(location.root, recursive=True, allow_not_found=True)
    with reached(location):
        files = [info for info in location.filesystem.get_file_info(selector) if info.type == FileType.File]
    return [SourceFile(name=info.path[len(location.root) :].lstrip("/"), size=info.size) for info in files]
