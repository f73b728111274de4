"""The SQLite file of a study: opened durably or read-only, refused when damaged."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from dmlray.errors import StorageError

_BUSY_TIMEOUT_S = 30.0


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


def check_file(path: Path) -> None:
    """Raise StorageError if the file is missing, empty, or not a sound SQLite database."""
    if not path.is_file():
        raise StorageError(path, "the study is missing")
    if path.stat().st_size == 0:
        raise StorageError(path, "the study is empty")
    with storage_errors(path), closing(connector(path, read_only=True)()) as connection:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise StorageError(path, f"the study is damaged: {' '.join(str(verdict).split())}")


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Whatever SQLite refuses within the block, however it was wrapped, becomes a StorageError that names ``path``."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        cause = _sqlite_error(error)
        if cause is None:
            raise
        raise StorageError(path, f"the study could not be read or written: {cause}") from error


def _sqlite_error(error: BaseException | None) -> sqlite3.Error | None:
    while error is not None and not isinstance(error, sqlite3.Error):
        error = error.__cause__ or error.__context__
    return error
