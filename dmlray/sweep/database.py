"""Optuna's tables, in SQLite or PostgreSQL, with the engine that reads and writes them."""

from pathlib import Path

from optuna.exceptions import DuplicatedStudyError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from sqlalchemy import URL, Engine

from dmlray.atomic import atomic_path
from dmlray.errors import StorageError, SweepExistsError, UnavailableError
from dmlray.sweep.settings import STUDY_POINTER
from dmlray.sweep.study_file import Pointer, check_file, connector, parse_url, storage_errors

_CONNECT_TIMEOUT_S = 10


def create_database(path: Path, study: str, storage: str | None) -> None:
    """Lay down the tables and an empty study that maximises: in a new file ``path``, or where ``storage`` says.

    Raises SweepExistsError if there is such a study already.
    """
    if storage is None:
        for suffix in ("", "-wal", "-shm"):  # a log that lost its database would be played into the new one
            if Path(f"{path}{suffix}").exists():
                raise SweepExistsError(f"{path}{suffix} exists already and belongs to another study")
        with storage_errors(path), atomic_path(path) as temporary:
            temporary.touch()
            _create_study(_sqlite(temporary, read_only=False, new=True), study)
        return
    pointer = Pointer(parse_url(storage), study)
    pointer.write(path)
    with storage_errors(path):
        _create_study(_postgresql(pointer.url, path, new=True), study)


def open_database(path: Path, *, read_only: bool) -> tuple[Engine, str | None]:
    """The engine of an existing database, and the name of the study if ``path`` says it.

    Raises StorageError for one that is missing, damaged, or of another version of Optuna; UnavailableError for a server
    that does not answer.
    """
    with storage_errors(path):
        if path.name == STUDY_POINTER:
            pointer = Pointer.read(path)
            return _postgresql(pointer.url, path, read_only=read_only).engine, pointer.study
        check_file(path)
        return _sqlite(path, read_only=read_only, new=False).engine, None


def delete_study(path: Path) -> None:
    """Remove a study that never began from its server; a file goes with its folder."""
    if path.name == STUDY_POINTER:
        with storage_errors(path):
            pointer = Pointer.read(path)
            storage = _postgresql(pointer.url, path)
            storage.delete_study(storage.get_study_id_from_name(pointer.study))
            storage.engine.dispose()


def _create_study(storage: RDBStorage, name: str) -> None:
    try:
        storage.create_new_study([StudyDirection.MAXIMIZE], name)
    except DuplicatedStudyError as error:
        place = storage.engine.url.render_as_string()
        raise SweepExistsError(f"{place} holds a study {name!r} already: choose another --name") from error
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _sqlite(path: Path, *, read_only: bool, new: bool) -> RDBStorage:
    # The URL only names the dialect: Optuna would expand braces in a path.
    connect = connector(path, read_only=read_only, wal=not new)
    return _connected("sqlite:///study.db", {"creator": connect}, path, new)


def _postgresql(url: URL, path: Path, *, read_only: bool = False, new: bool = False) -> RDBStorage:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    options = "-c default_transaction_read_only=on" if read_only else ""
    settings = {"pool_pre_ping": True, "connect_args": {"connect_timeout": _CONNECT_TIMEOUT_S, "options": options}}
    try:
        return _connected(url.render_as_string(hide_password=False), settings, path, new)
    except ImportError as error:
        raise UnavailableError("a study in PostgreSQL needs psycopg: pip install 'psycopg[binary]'") from error


def _connected(url: str, settings: dict[str, object], path: Path, new: bool) -> RDBStorage:
    try:
        return RDBStorage(url, engine_kwargs=settings, skip_table_creation=not new)
    except RuntimeError as error:  # Optuna's words for another schema
        raise StorageError(path, str(error).split(". ")[0]) from error
