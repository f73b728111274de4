"""A folder on any filesystem that pyarrow knows (``s3://``, ``gs://``, ``file://``, a path): whole files in and out.

What may pass (a server that is overloaded, a connection that is reset) is tried again with growing pauses, for a
bounded time; what will not (no such bucket, no right to it) is said at once. No message holds a key.
"""

import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from dmlray.atomic import atomic_path
from dmlray.errors import StorageError, UnavailableError, UsageError

PATIENCE_S = 120.0  # how long one operation is tried again; a storm of 503 is usually over by then
PROBE_S = 20.0  # within 30 s a command has also been imported
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 10.0
_STEP = 4 << 20
_SECRET_OPTIONS = {"access_key", "secret_key", "session_token", "access_token"}
_REFUSED = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE_DOES_NOT_MATCH|EXPIRED_TOKEN|HTTP status 40[13]"
    r"|PERMISSION_DENIED|UNAUTHENTICATED"
)
_NO_BUCKET = re.compile(r"NO_SUCH_BUCKET|[Bb]ucket .*not found|bucket does not exist")
_UNUSABLE = re.compile(r"HTTP status 400|INVALID_|UNRECOGNIZED_CLIENT|HTTP status 301")

Value = TypeVar("Value")


class Address(str):
    """A folder on another filesystem, such as ``s3://bucket/data``: as much of a Path as data sets need."""

    def __truediv__(self, name: str) -> "Address":
        return Address(beneath(self, name))

    @property
    def name(self) -> str:
        """Its last part."""
        return urlsplit(self).path.rstrip("/").rpartition("/")[2]

    def is_dir(self) -> bool:
        """Whether anything lies there. Raises as `Remote` does."""
        return bool(Remote(self).names())


Place = Path | Address


def reach(place: Place) -> None:
    """See whether anything answers at an address, within `PROBE_S`; a path is left to whoever opens it.

    Raises UnavailableError as `Remote` does.
    """
    if isinstance(place, Address):
        Remote(place).reach()


def as_place(text: str | Path) -> Place:
    """A path (also ``file://``) as a Path, any other address as an Address."""
    if str(text).startswith("file://"):
        return Path(unquote(urlsplit(str(text)).path))
    return Address(text) if is_uri(text) else Path(text)


def is_uri(place: str | Path) -> bool:
    """Whether ``place`` names a filesystem, and so is no plain path."""
    return "://" in str(place)


def without_keys(uri: str, option: str) -> str:
    """``uri``, which may stand in settings and logs. Raises UsageError where it holds a key, naming ``option``."""
    parts = urlsplit(uri)
    if "@" in parts.netloc or _SECRET_OPTIONS & {name for name, _ in parse_qsl(parts.query)}:
        remedy = (
            "which belong in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), ~/.aws or the machine's role"
        )
        raise UsageError(f"{option} must be without keys, {remedy}")
    return uri


def shown(uri: str) -> str:
    """``uri`` as messages have it: without keys and options."""
    if not is_uri(uri):
        return uri
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def beneath(place: str, name: str) -> str:
    """The address of ``name`` in the folder ``place``, whose options it keeps."""
    if not is_uri(place):
        return f"{place.rstrip('/')}/{name}"
    parts = urlsplit(place)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))


class Remote:
    """The folder ``uri``; names are relative to it, with ``/``. Pickles as its address; connects when first used.

    All methods raise UnavailableError where the filesystem does not answer within ``patience_s`` or refuses, and
    StorageError where a local disk does.
    """

    def __init__(self, uri: str, patience_s: float = PATIENCE_S) -> None:
        self.uri, self.patience_s = uri, patience_s

    def __reduce__(self) -> tuple[object, tuple[str, float]]:
        return Remote, (self.uri, self.patience_s)

    def __str__(self) -> str:
        return shown(self.uri)

    def below(self, name: str) -> "Remote":
        """The folder ``name`` in this one."""
        return Remote(beneath(self.uri, name), self.patience_s)

    def patient(self, patience_s: float) -> "Remote":
        """The same folder, tried for another time."""
        return Remote(self.uri, patience_s)

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """The filesystem and the folder's path on it. Raises UsageError for an address that no filesystem has."""
        from pyarrow.fs import FileSystem, LocalFileSystem

        if not is_uri(self.uri):
            return LocalFileSystem(), str(Path(self.uri).absolute())
        parts = urlsplit(self.uri)
        if parts.scheme == "s3" and "allow_delayed_open" not in parts.query:  # one request for what fits into one
            parts = parts._replace(query="&".join(filter(None, (parts.query, "allow_delayed_open=true"))))
        try:
            filesystem, root = FileSystem.from_uri(urlunsplit(parts))
        except (ValueError, NotImplementedError) as error:
            raise UsageError(f"{self} is no address of a filesystem ({_first_line(error)})") from error
        return filesystem, root.rstrip("/")

    @property
    def is_local(self) -> bool:
        """Whether files lie on a mounted filesystem, where renaming makes them whole."""
        return bool(self._opened[0].type_name == "local")

    def put(self, name: str, content: bytes | Path) -> None:
        """Write a file whole or not at all, in place of one that is there."""
        self._try(lambda: self._put(name, content))

    def get(self, name: str) -> bytes | None:
        """A small file's bytes; None where there is none."""
        return self._try(lambda: self._get(name))

    def fetch(self, name: str, path: Path) -> str:
        """Copy a file to ``path``, whole or not at all; gives its SHA-256. Raises StorageError where there is none."""

        def copy() -> str:
            digest = sha256()
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                for piece in self._pieces(name):
                    digest.update(piece)
                    file.write(piece)
            return digest.hexdigest()

        return self._try(copy)

    def digest(self, name: str) -> str:
        """SHA-256 of a file, in hex, read without keeping it. Raises StorageError where there is none."""

        def read() -> str:
            digest = sha256()
            for piece in self._pieces(name):
                digest.update(piece)
            return digest.hexdigest()

        return self._try(read)

    def names(self, folder: str = "") -> dict[str, int]:
        """Every file below ``folder`` with its bytes, by name; none where there is no such folder."""
        return dict(sorted(self._try(lambda: list(self._list(folder)))))

    def delete(self, name: str) -> None:
        """Remove a file; one that is not there is as good."""

        def remove() -> None:
            with suppress(FileNotFoundError):
                self._opened[0].delete_file(self._path(name))

        self._try(remove)

    def reach(self) -> None:
        """See whether anything answers, within `PROBE_S`."""
        self._soon(lambda near: near._try(near._check_bucket))

    def probe(self) -> None:
        """Write, read and delete a small file, within `PROBE_S` in all."""
        name = f"probe-{uuid.uuid4().hex}"

        def work(near: Remote) -> None:
            near.put(name, b"dmlray")
            if near.get(name) != b"dmlray":
                raise UnavailableError(f"{self} does not give back what was written there")
            near.delete(name)

        self._soon(work)

    def _soon(self, work: Callable[["Remote"], None]) -> None:
        """Do it with half of `PROBE_S` for an operation, and whatever pyarrow does, within `PROBE_S`."""
        found: list[BaseException | None] = []

        def attempt() -> None:
            try:
                work(self.patient(PROBE_S / 2))
                found.append(None)
            except BaseException as error:
                found.append(error)

        thread = threading.Thread(target=attempt, name="storage-probe", daemon=True)
        thread.start()
        thread.join(PROBE_S)
        if not found:
            raise UnavailableError(f"{self} has not answered within {PROBE_S:g} s")
        if found[0] is not None:
            raise found[0]

    def _path(self, name: str) -> str:
        return f"{self._opened[1]}/{name}" if name else self._opened[1]

    def _put(self, name: str, content: bytes | Path) -> None:
        filesystem, path = self._opened[0], self._path(name)
        if self.is_local:
            with atomic_path(Path(path)) as temporary:
                if isinstance(content, Path):
                    shutil.copyfile(content, temporary)
                else:
                    temporary.write_bytes(content)
            return
        data = _buffer(content)  # first: what cannot be read must leave no object
        with filesystem.open_output_stream(path) as out:
            out.write(data)  # in one call: a stream that is closed early leaves an object cut short

    def _get(self, name: str) -> bytes | None:
        try:
            with self._opened[0].open_input_stream(self._path(name)) as file:
                return bytes(file.read())
        except FileNotFoundError:
            return None

    def _pieces(self, name: str) -> Iterator[bytes]:
        try:
            with self._opened[0].open_input_stream(self._path(name)) as file:
                while piece := file.read(_STEP):
                    yield piece
        except FileNotFoundError as error:
            raise StorageError(beneath(str(self), name), "is missing") from error

    def _list(self, folder: str) -> Iterator[tuple[str, int]]:
        from pyarrow.fs import FileSelector, FileType

        filesystem, root = self._opened
        found = filesystem.get_file_info(FileSelector(self._path(folder), recursive=True, allow_not_found=True))
        if not found:
            self._check_bucket()
        for info in found:
            if info.type == FileType.File and not info.base_name.endswith(".tmp"):
                yield info.path[len(root) :].lstrip("/"), info.size

    def _check_bucket(self) -> None:
        """Raise FileNotFoundError, in pyarrow's words, where there is no bucket; that lists as an empty folder does."""
        from pyarrow.fs import FileType

        filesystem, root = self._opened
        bucket = root.partition("/")[0]
        if self.is_local or filesystem.get_file_info(root).type != FileType.NotFound:
            return
        try:
            found = filesystem.get_file_info(bucket).type
        except OSError as error:
            if _is_refused(error):
                return  # who may see a folder only is not told of its bucket
            raise
        if found == FileType.NotFound:
            raise FileNotFoundError(f"bucket {bucket} not found")

    def _try(self, work: Callable[[], Value]) -> Value:
        deadline, pause_s = time.monotonic() + self.patience_s, _FIRST_PAUSE_S
        while True:
            try:
                return work()
            except (StorageError, UsageError):
                raise
            except OSError as error:
                if "_opened" in vars(self) and self.is_local:
                    raise StorageError(self.uri, f"could not be read or written: {error.strerror or error}") from error
                if (sentence := _final(str(error), error)) or time.monotonic() + pause_s > deadline:
                    problem = sentence or f"does not answer ({_first_line(error)})"
                    raise UnavailableError(f"{self} {problem}") from error
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _buffer(content: bytes | Path) -> Any:
    """A file's bytes as a map of it, so that memory need not hold them."""
    import pyarrow as pa

    if isinstance(content, bytes):
        return pa.py_buffer(content)
    with pa.memory_map(str(content)) as file:
        return file.read_buffer()


def _is_refused(error: OSError) -> bool:
    """On S3 pyarrow raises no PermissionError: its words tell."""
    return isinstance(error, PermissionError) or _REFUSED.search(str(error)) is not None


def _final(text: str, error: OSError) -> str | None:
    """What there is to say of an error that no patience helps."""
    if _is_refused(error):
        return "refuses access: check the credentials, which must allow reading, writing, listing and deleting there"
    if _NO_BUCKET.search(text):
        return "cannot be used: there is no such bucket"
    if _UNUSABLE.search(text):
        return f"cannot be used ({_first_line(error)})"
    return None


def _first_line(error: BaseException) -> str:
    return re.split(r"\n|; Details", str(error), maxsplit=1)[0][:300]
