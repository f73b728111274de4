"""`dmlray init`: a commented search space for the data at hand."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from dmlray.cli.console import note
from dmlray.cli.options import DEFAULT_RESULTS, Results, answer
from dmlray.errors import SweepExistsError, UsageError

DATA = "A converted data set, or TFRecords: a folder, a file, or a glob; also s3:// and gs://."


def register(app: typer.Typer) -> None:
    """Add this module's command to the app."""
    app.command()(init)


def init(
    data: Annotated[str | None, typer.Argument(help=DATA, metavar="DATA")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The space file to write; it must not exist.")] = Path(
        "sweep.yaml"
    ),
    trials: Annotated[
        int | None, typer.Option(min=1, help="How many trials (default: asked for, or 12; GPU: 30).")
    ] = None,
    hours: Annotated[float | None, typer.Option(min=1e-4, help="As many trials as fit into so long.")] = None,
    gpu: Annotated[
        bool | None, typer.Option("--gpu/--cpu", help="Sizes for a GPU or not (default: what is here).")
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of space files, for editors.")
    ] = False,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Write a search space for your data, with a comment at each choice, and say which command searches it.

    Example: dmlray init results/data/tfrecords --hours 2

    From a terminal it asks how long the sweep may take, unless --trials or --hours says so.
    """
    from dmlray.atomic import write_text
    from dmlray.cli.facts import has_gpu
    from dmlray.cli.survey import survey
    from dmlray.sweep.proposal import Asked, propose
    from dmlray.sweep.space import json_schema

    if schema:
        answer(json_schema())
        return
    if data is None:
        raise UsageError("dmlray init needs DATA, a converted data set or TFRecords (or --schema)")
    if out.exists():
        raise SweepExistsError(f"{out} is there already: name another file with --out, or remove it")
    found = survey(data, results, has_gpu() if gpu is None else gpu)
    if trials is None and hours is None and sys.stdin.isatty():
        hours = typer.prompt("How many hours may the sweep take?", default=1.0, type=float, err=True)
    commands = found.then(out, hours)
    head = "\n".join([f"Made by `dmlray init` for {found.lines[0]}:", *found.lines[1:], "", "Then:", *commands])
    write_text(out, propose(found.facts, Asked(trials, hours), head, str(found.data)))
    note(f"{out}: for {'; '.join(found.lines)}", *(f"next: {each}" for each in commands))
