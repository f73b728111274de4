"""Where runs are kept, and how MLflow is made to behave. Imports no MLflow."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dmlray.errors import MissingInputError, UsageError

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the default blocked 247 s on a dead server; we try again ourselves
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
SQLITE = "sqlite:///"


def default_uri(results: Path) -> str:
    """The SQLite store of a results folder."""
    return f"{SQLITE}{(results / 'mlflow.db').absolute()}"


def ui_command(uri: str, host: str = "127.0.0.1", port: int = 5000) -> list[str]:
    """The command that serves MLflow's page over a store on this machine.

    Raises UsageError for an address that others could reach or a store that is a server, MissingInputError where
    nothing was tracked yet.
    """
    if host not in {"127.0.0.1", "localhost", "::1"}:
        raise UsageError(f"the MLflow page has no password, so its host must be 127.0.0.1, got {host!r}")
    if uri.startswith(("http://", "https://")):
        raise UsageError(f"{uri} is a server already: open it in a browser")
    database = database_of(uri)
    if database and not database.exists():
        raise MissingInputError(database, "MLflow store")
    prepare_environment()
    artifacts = ["--default-artifact-root", artifact_root(database).as_uri()] if database else []
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, *artifacts]
    return [*command, "--workers", "1", "--host", host, "--port", str(port)]


def prepare_environment() -> None:
    """Set MLflow's switches for this process and its children, before MLflow is imported; what is set already stays."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def database_of(uri: str) -> Path | None:
    """The file behind a SQLite address, None for any other."""
    return Path(uri.removeprefix(SQLITE)).absolute() if uri.startswith(SQLITE) else None


def artifact_root(database: Path) -> Path:
    """Artifacts lie beside their database."""
    return database.parent / "mlartifacts"


@contextmanager
def creation_lock(database: Path | None) -> Iterator[None]:
    """Let one process at a time open a SQLite store: two that create it at once leave it broken for ever."""
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(database.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)  # releases the lock
