"""The `dmlray` command: one typer app, one place where errors become a sentence and an exit code."""

import os
import sys
from typing import Annotated

import typer

from dmlray import __version__
from dmlray.cli import (
    data,
    distil,
    doctor,
    ensemble,
    fetch,
    fsck,
    init,
    plan,
    predict,
    publish,
    refit,
    report,
    search,
    status,
    view,
)
from dmlray.cli.verbosity import App
from dmlray.errors import DmlrayError

app = App(
    name="dmlray",
    help="Distributed hyperparameter and ensemble search for multimodal video classification.",
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for module in (
    *(data, search, ensemble, predict, publish, distil, refit),
    *(report, status, view, fetch, fsck, doctor, init, plan),
):
    module.register(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dmlray {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Distributed hyperparameter and ensemble search for multimodal video classification."""
    if debug:
        os.environ["DMLRAY_DEBUG"] = "1"


_INTERRUPTED = 130  # what typer makes of a KeyboardInterrupt before anybody else sees it


def main() -> None:
    """Run the command line; exit codes follow sysexits.h (see `dmlray.errors`)."""
    try:
        app()
    except DmlrayError as error:
        sys.exit(_explain(error, error.exit_code))
    except SystemExit as end:
        if end.code != _INTERRUPTED:
            raise
        sys.exit(_explain(end, 75, "interrupted"))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader, such as head(1), has gone
        sys.exit(0)
    except Exception as error:
        sys.exit(_explain(error, 70, f"internal error: {type(error).__name__}: {error} (see it whole with --debug)"))


def _explain(error: BaseException, code: int, sentence: str | None = None) -> int:
    if os.environ.get("DMLRAY_DEBUG"):
        raise error
    print(f"dmlray: {sentence or error}", file=sys.stderr)
    return code
