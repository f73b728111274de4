"""Options that several commands share, and the two ways a command answers: text for people, one JSON document."""

import glob
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from dmlray.errors import UsageError

Results = Annotated[
    Path, typer.Option("--results", envvar="DMLRAY_RESULTS", help="The folder where sweeps are kept.", file_okay=False)
]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document on stdout.")]


def _sweeps(context: typer.Context, incomplete: str) -> list[str]:
    """For the shell: the sweeps that are there."""
    results = Path(context.params.get("results") or os.environ.get("DMLRAY_RESULTS") or DEFAULT_RESULTS)
    return sorted(path.parent.name for path in results.glob(f"{glob.escape(incomplete)}*/sweep.yaml"))


Name = Annotated[str, typer.Argument(help="The sweep's name.", metavar="NAME", autocompletion=_sweeps)]


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
Address = Annotated[
    str | None, typer.Option("--address", envvar="RAY_ADDRESS", help="A running Ray (default: start one here).")
]
Insecure = Annotated[
    bool,
    typer.Option("--insecure", envvar="DMLRAY_INSECURE", help="Join a Ray that asks for no token all the same."),
]
DEFAULT_RESULTS = Path("results")  # also in sweep.settings, which this module must not import to stay light


def answer(document: dict[str, Any]) -> None:
    """Print one JSON document on stdout."""
    json.dump(document, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")
