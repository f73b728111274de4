"""Options that several commands share, and the two ways a command answers: text for people, one JSON document."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

Results = Annotated[
    Path, typer.Option("--results", envvar="DMLRAY_RESULTS", help="The folder where sweeps are kept.", file_okay=False)
]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document on stdout.")]
Name = Annotated[str, typer.Argument(help="The sweep's name.", metavar="NAME")]
Tracking = Annotated[
    str | None,
    typer.Option("--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="MLflow's store (default: RESULTS/mlflow.db)."),
]
Address = Annotated[
    str | None, typer.Option("--address", envvar="RAY_ADDRESS", help="A running Ray (default: start one here).")
]
DEFAULT_RESULTS = Path("results")  # also in sweep.settings, which this module must not import to stay light


def answer(document: dict[str, Any]) -> None:
    """Print one JSON document on stdout."""
    json.dump(document, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")
