"""Options that several commands share, and the two ways a command answers: text for people, one JSON document."""

import glob
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from dmlray.errors import UsageError

Results = Annotated[
    Path, typer.Option("--results", envvar="DMLRAY_RESULTS", help="The folder where sweeps are kept.", file_okay=False)
]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document on stdout.")]


def sweeps_there(context: typer.Context, incomplete: str) -> list[str]:
    """For the shell: the sweeps that are there."""
    results = Path(context.params.get("results") or os.environ.get("DMLRAY_RESULTS") or DEFAULT_RESULTS)
    return sorted(path.parent.name for path in results.glob(f"{glob.escape(incomplete)}*/sweep.yaml"))


def ensembles_there(context: typer.Context, incomplete: str) -> list[str]:
    """For the shell: the sweeps that are there, and once one is written out, its ensembles."""
    sweep, slash, _ = incomplete.partition("/")
    results = Path(context.params.get("results") or os.environ.get("DMLRAY_RESULTS") or DEFAULT_RESULTS)
    found = results.glob(f"{glob.escape(sweep)}/ensemble/*/members.json") if slash else ()
    return sorted(f"{sweep}/{path.parent.name}" for path in found) or sweeps_there(context, incomplete)


Name = Annotated[str, typer.Argument(help="The sweep's name.", metavar="NAME", autocompletion=sweeps_there)]


def _without_password(uri: str | None) -> str | None:
    """Addresses are written into settings, logs and MLflow itself; a secret belongs in the environment."""
    if uri is not None and urlsplit(uri).password is not None:
        raise UsageError(
            "--tracking-uri must be without a password: "
            "a server's belongs in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, a database's in PGPASSWORD"
        )
    return uri


Tracking = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        envvar="MLFLOW_TRACKING_URI",
        help="MLflow's store (default: RESULTS/mlflow.db).",
        callback=_without_password,
    ),
]


def _storage_path(place: str | None) -> str | None:
    """It stands in settings and logs, and workers have another working directory."""
    if place is None:
        return None
    from dmlray.remote import as_place, without_keys

    found = as_place(without_keys(place, "--storage-path"))
    return str(found.absolute() if isinstance(found, Path) else found).rstrip("/")


StoragePath = Annotated[
    str | None,
    typer.Option(
        "--storage-path",
        metavar="URL",
        help="Where trials and the study are copied to: s3://bucket/prefix, gs://, or a folder that all nodes see.",
        callback=_storage_path,
    ),
]
Address = Annotated[
    str | None, typer.Option("--address", envvar="RAY_ADDRESS", help="A running Ray (default: start one here).")
]
Insecure = Annotated[
    bool,
    typer.Option("--insecure", envvar="DMLRAY_INSECURE", help="Join a Ray that asks for no token all the same."),
]


@dataclass(frozen=True)
class TrialCount:
    """``count`` trials in all or, as ``is_more``, beyond those that a sweep was asked for."""

    count: int
    is_more: bool = False

    @classmethod
    def parse(cls, text: str) -> "TrialCount":
        """``20`` or ``+20``."""
        if not re.fullmatch(r"\+?[1-9][0-9]{0,8}", text):
            raise typer.BadParameter(f"20 or, with --resume NAME, +20 for 20 more, got {text!r}")
        return cls(int(text), is_more=text.startswith("+"))

    def __str__(self) -> str:
        return f"{'+' if self.is_more else ''}{self.count}"

    def in_all(self, asked: int | None = None) -> int:
        """The number in all; ``asked`` None for a sweep that begins, where there is nothing to add to."""
        if not self.is_more:
            return self.count
        if asked is None:
            raise UsageError(f"--trials {self} goes with --resume NAME; a new sweep takes --trials {self.count}")
        return asked + self.count


DEFAULT_RESULTS = Path("results")  # also in sweep.settings, which this module must not import to stay light


def parse_override(text: str) -> tuple[str, str]:
    """Path and value of a --set. Raises UsageError for what is none."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise UsageError(f"--set takes A.B=C, for example --set space.epochs=3, got {text!r}")
    return path, value


def answer(document: dict[str, Any]) -> None:
    """Print one JSON document on stdout."""
    json.dump(document, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")
