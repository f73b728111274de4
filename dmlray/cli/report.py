"""`dmlray report`: one page about a sweep."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dmlray.cli.console import warn
from dmlray.cli.options import DEFAULT_RESULTS, Name, Results

if TYPE_CHECKING:
    from dmlray.report.content import Content
    from dmlray.sweep.settings import SweepFolder
    from dmlray.tracking import RunRecord

PAGE = "report.html"  # in the sweep's folder
STANDS_STILL = ("finished", "interrupted")  # else the driver is the one who writes to MLflow


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    app.command()(report)


def report(
    name: Name,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write (default: report.html in the sweep's folder).")
    ] = None,
    kind: Annotated[
        Literal["html", "md", "png"],
        typer.Option("--format", help="A page with pictures, Markdown without, or a folder of the pictures alone."),
    ] = "html",
    vocabulary: Annotated[
        Path | None, typer.Option(help="Names of the classes: a CSV with Index and Name (default: the package's).")
    ] = None,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Write one page about a sweep and its ensembles: a file that opens without a network.

    Example: dmlray report first

    A running sweep gives the page of this moment, a damaged one a page of what is left (and exit code 74). The page, or
    with --format png the folder of pictures, also goes into the MLflow run of a sweep that stands still.
    """
    from datetime import datetime

    from dmlray.atomic import write_text
    from dmlray.report.content import read_content
    from dmlray.report.page import build_pictures, build_report
    from dmlray.sweep.settings import SweepFolder

    folder = SweepFolder(results, name)
    content = read_content(folder, vocabulary)
    if kind == "png":
        path = _write_pictures(out or folder.path / "pictures", build_pictures(content))
    else:
        path = out or (folder.path / PAGE).with_suffix(f".{kind}")
        write_text(path, build_report(content, datetime.now().astimezone(), kind))
    if content.state in STANDS_STILL and not (kind == "png" and out):  # somebody's folder may hold anything
        _log(content, path)
    print(path)
    if content.damage:
        raise content.damage[0]


def sweep_page(folder: "SweepFolder", warn: Callable[[str], None]) -> "Content | None":
    """Write PAGE into the folder of a sweep that stands still; gives what it tells of. None of a sweep that runs.

    A page that cannot be made must not spoil what it was to tell of: ``warn`` hears why, in a line, and None is given.
    """
    try:
        return _page_of_what_stands_still(folder)
    except Exception as error:
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        warn(f"the report could not be made, `dmlray report {folder.as_typed}` tries again: {told}")
        return None


def _page_of_what_stands_still(folder: "SweepFolder") -> "Content | None":
    from datetime import datetime

    from dmlray.atomic import write_text
    from dmlray.report.content import read_content
    from dmlray.report.page import build_report

    content = read_content(folder)
    if content.state not in STANDS_STILL:
        return None
    write_text(folder.path / PAGE, build_report(content, datetime.now().astimezone()))
    return content


def page_run(content: "Content", path: Path) -> "RunRecord":
    """The sweep's own run, with its page or its folder of pictures."""
    from dataclasses import replace

    from dmlray.sweep.runs import sweep_run

    return replace(sweep_run(content.config, content.trials, content.summary.is_over), artifacts=[path])


def _write_pictures(folder: Path, pictures: Mapping[str, bytes]) -> Path:
    from dmlray.atomic import atomic_path

    for stale in folder.glob("[0-9][0-9]-*.png"):
        stale.unlink()
    for name, picture in pictures.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(picture)
    return folder


def _log(content: "Content", path: Path) -> None:
    from dmlray.errors import UnavailableError
    from dmlray.tracking import Tracker

    try:
        Tracker(content.config.tracking_uri, "dmlray").sync([page_run(content, path)])
    except UnavailableError as error:
        warn(f"the report is not in MLflow: {error}")
