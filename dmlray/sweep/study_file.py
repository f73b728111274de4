"""Where a study's tables are: an SQLite file, opened durably or read-only, or a PostgreSQL database."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import yaml
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from dmlray.atomic import write_text
from dmlray.errors import ConfigError, DmlrayError, StorageError, UnavailableError
from dmlray.sweep.settings import STUDY_POINTER

_BUSY_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Pointer:
    """What the file ``study.url`` holds: a database without any secret, and which of its studies."""

    url: URL
    study: str

    @classmethod
    def read(cls, path: Path) -> "Pointer":
        """Raises StorageError for a file that is missing or damaged."""
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            return cls(parse_url(content["url"]), str(content["study"]))
        except FileNotFoundError as error:
            raise StorageError(path, "the study is missing") from error
        except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            raise StorageError(path, "is damaged: it must name the url and the study of a database") from error

    def write(self, path: Path) -> None:
        """Whole or not at all."""
        write_text(path, yaml.safe_dump({"url": self.url.render_as_string(), "study": self.study}))


def parse_url(text: str) -> URL:
    """A PostgreSQL address as SQLAlchemy has it. Raises ConfigError for another one, and for one with a password.

    Command lines and settings are seen by others: libpq finds passwords in PGPASSWORD or ~/.pgpass
    (https://www.postgresql.org/docs/current/libpq-pgpass.html).
    """
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise ConfigError("--storage", "something else", "like postgresql://user@host/database") from error
    if url.get_backend_name() != "postgresql":
        raise ConfigError("--storage", url.render_as_string(), "like postgresql://user@host/database")
    if url.password is not None or {"password", "sslpassword"} & set(url.query):
        safe = url.set(query={}).render_as_string()
        raise ConfigError("--storage", safe, "without a password, which belongs in PGPASSWORD or ~/.pgpass")
    return url


def connector(path: Path, *, read_only: bool, wal: bool = True) -> Callable[[], sqlite3.Connection]:
    """A function that connects to an existing file.

    Write-ahead log, so that readers never wait for the writer; synchronous FULL, so that what was committed survives a
    power cut (https://sqlite.org/pragma.html#pragma_synchronous).
    """
    uri = f"file:{quote(str(path.absolute()))}?mode={'ro' if read_only else 'rw'}"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S, check_same_thread=False)
        if not read_only:
            connection.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'DELETE'}")
            connection.execute("PRAGMA synchronous = FULL")
        return connection

    return connect


def check_file(path: Path, *, thoroughly: bool = False) -> None:
    """Raise StorageError if the file is missing, empty, or not a sound SQLite database."""
    if not path.is_file():
        raise StorageError(path, "the study is missing")
    if path.stat().st_size == 0:
        raise StorageError(path, "the study is empty")
    with storage_errors(path), closing(connector(path, read_only=True)()) as connection:
        pragma = "integrity_check" if thoroughly else "quick_check"
        (verdict,) = connection.execute(f"PRAGMA {pragma}(1)").fetchone()
    if verdict != "ok":
        raise StorageError(path, f"the study is damaged: {' '.join(str(verdict).split())}")


def identity(path: Path) -> tuple[int, int]:
    """Which file ``path`` is now. Raises StorageError where there is none."""
    try:
        status = path.stat()
    except OSError as error:
        raise StorageError(path, f"the study is missing: {error.strerror}") from error
    return status.st_dev, status.st_ino


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Whatever the database refuses within the block becomes an error that names ``path``.

    StorageError; UnavailableError where it is a server that cannot be reached.
    """
    try:
        yield
    except DmlrayError:
        raise
    except Exception as error:
        cause = _database_error(error)
        if cause is None:
            raise
        sentence = " ".join(str(cause).split())
        if path.name == STUDY_POINTER and _is_connection_lost(error):
            url = Pointer.read(path).url.render_as_string()
            raise UnavailableError(f"{path}: the study's database {url} does not answer: {sentence}") from error
        raise StorageError(path, f"the study could not be read or written: {sentence}") from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _database_error(error: Exception) -> BaseException | None:
    """What the driver itself said, however it was wrapped: without SQL and parameters."""
    for each in _chain(error):
        if isinstance(each, DBAPIError) and each.orig is not None:
            return each.orig
        if isinstance(each, sqlite3.Error):
            return each
    return next((each for each in _chain(error) if isinstance(each, SQLAlchemyError)), None)


def _is_connection_lost(error: Exception) -> bool:
    return any(type(each).__name__ in ("OperationalError", "InterfaceError") for each in _chain(error))
