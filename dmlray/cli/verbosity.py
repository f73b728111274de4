"""`--quiet` and `-v`, which every command takes."""

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from dmlray.cli.console import QUIET, VERBOSE

_OPTIONS = {
    "quiet": (QUIET, typer.Option("--quiet", "-q", help="Say nothing but the answer, warnings and errors.")),
    "verbose": (VERBOSE, typer.Option("--verbose", "-v", help="Say more: of a sweep, every epoch.")),
}


class Command(TyperCommand):
    """Typer's, whose refusals are its own words alone."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See typer."""
        ctx.allow_extra_args = True  # what is too much is refused here
        try:
            left = super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")  # pydantic's
            raise
        if ctx.args and not ctx.resilient_parsing:
            ctx.fail(_too_much(ctx.args))
        return left


def _too_much(words: list[str]) -> str:
    if any(Path(word).exists() for word in words):
        return (
            f"One name too many, {words[0]!r}: a pattern needs quotes, as in --data 'shards/*', "
            "or the shell puts the names of all files in its place"
        )
    return f"Nothing goes by {' '.join(map(repr, words))} here"


class App(typer.Typer):
    """Typer, whose commands all have the two options."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """See typer."""
        register = super().command(name, cls=Command, **options)
        return lambda function: register(with_verbosity(function))


def with_verbosity(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same command with the two options, which it need not know of."""

    @functools.wraps(function)
    def run(**given: Any) -> Any:
        for option, (variable, _) in _OPTIONS.items():
            if given.pop(option):
                os.environ[variable] = "1"
        return function(**given)

    signature, keyword = inspect.signature(function), inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter(option, keyword, default=False, annotation=Annotated[bool, declared])
        for option, (_, declared) in _OPTIONS.items()
    ]
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *added])  # type: ignore[attr-defined]
    run.__annotations__ = {**function.__annotations__, **{each.name: each.annotation for each in added}}
    return run
