"""Does the tracking store answer, and is the data whole? Each within a time that is bounded."""

import socket
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlsplit

from dmlray.cli.facts import Outcome
from dmlray.errors import DmlrayError
from dmlray.remote import Place, reach

_PORTS = {"postgresql": 5432, "mysql": 3306}


def tracking_outcome(uri: str, timeout_s: float) -> Outcome:
    """Whether MLflow's store can be used: a SQLite file, a server, or a database's port."""
    from dmlray.tracking.store import database_of

    database = database_of(uri)
    if database is not None:
        return _sqlite(database)
    if uri.startswith(("http://", "https://")):
        return _server(uri, timeout_s)
    parts = urlsplit(uri)
    port = parts.port or _PORTS.get(parts.scheme.partition("+")[0])
    if parts.hostname and port:
        return _port(parts.hostname, port, timeout_s)
    return Outcome(f"{uri} is no address that can be tried")


def storage_outcome(storage_path: str) -> Outcome:
    """Can files be written, read and deleted there?"""
    from dmlray.remote import Remote

    remote = Remote(storage_path)
    try:
        remote.probe()
    except DmlrayError as error:
        return Outcome(str(error), error=True)
    return Outcome(f"{remote} takes files, gives them back and lets them go")


def data_outcomes(folder: Place) -> Mapping[str, Outcome]:
    """Each split of a converted data set: is it there, finished, of one schema, and has every shard its full size?"""
    from dmlray.data.dataset import open_splits

    try:
        reach(folder)
        if not folder.is_dir():
            return {str(folder): Outcome("there is no such folder", error=True)}
        splits = open_splits(folder, train=(folder / "train").is_dir())
    except DmlrayError as error:
        return {str(folder): Outcome(str(error), error=True)}
    found = {f"{folder / name}": Outcome(f"{len(split):,} videos") for name, split in splits.items()}
    if "train" not in splits:
        found[str(folder / "train")] = Outcome("not there: fine for a sweep that streams its training videos")
    return found


def _sqlite(database: Path) -> Outcome:
    if not database.exists():
        return Outcome(f"{database} will be made by the first sweep")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True, timeout=5)) as connection:
            (count,) = connection.execute("SELECT COUNT(*) FROM runs").fetchone()
    except sqlite3.Error as error:
        return Outcome(f"{database} cannot be read: {error}", error=True)
    return Outcome(f"{database}, {count:,} runs")


def _server(uri: str, timeout_s: float) -> Outcome:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=timeout_s) as response:
            return Outcome(f"{uri} answers {response.status}")
    except urllib.error.HTTPError as error:
        return Outcome(f"{uri} answers {error.code} {error.reason}", error=error.code not in (401, 403, 404))
    except (OSError, ValueError) as error:
        return Outcome(f"{uri} does not answer: {getattr(error, 'reason', error)}", error=True)


def _port(host: str, port: int, timeout_s: float) -> Outcome:
    try:
        with closing(socket.create_connection((host, port), timeout=timeout_s)):
            return Outcome(f"{host}:{port} takes connections")
    except OSError as error:
        return Outcome(f"{host}:{port} does not answer: {error}", error=True)
