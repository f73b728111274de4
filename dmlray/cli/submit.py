"""A sweep handed to a cluster from elsewhere, and the question how far it is: both run there, as Ray jobs."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import typer

from dmlray.cli.console import note
from dmlray.cli.options import DEFAULT_RESULTS
from dmlray.errors import InterruptedSweepError, UsageError

if TYPE_CHECKING:
    from dmlray.cluster_jobs import Ended

DASHBOARD = "http://127.0.0.1:8265"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_OWN = ("submit", "address", "results", "file", "space", "name")  # what becomes something else over there, or nothing
_PLACES = ("data", "stream", "storage_path")


def submit_search(
    context: typer.Context,
    sweep: str,
    space: Path | None,
    data: str | None,
    address: str | None,
    insecure: bool,
    results: Path,
) -> None:
    """Have the cluster at ``address`` run this very `dmlray search`, and follow it to its end or to Ctrl-C.

    A new sweep has a ``space`` and ``data``, which the space may name instead of the command.
    """
    from dmlray.cluster_jobs import SPACE_FILE, connect

    new = ["--space", SPACE_FILE, "--name", sweep] if space else []
    words = ["search", *given_words(context, _OWN), *new]
    _check_places({name: context.params.get(name) for name in _PLACES} | {"data": data})
    where = address or DASHBOARD
    if urlsplit(where).scheme == "http" and urlsplit(where).hostname not in _LOOPBACK:
        note(f"what goes to {where}, the token too, is not encrypted: ssh -L 8265:127.0.0.1:8265 HEAD would do that")
    cluster = connect(where, insecure)
    job = cluster.submit_sweep(sweep, words, results_there(results), space)
    note(f"sweep {sweep} is job {job} there; it goes on without this command: {cluster.how_to_go_on(job)}")
    try:
        ended = cluster.follow(job, _write)
    except KeyboardInterrupt:
        note(f"the sweep goes on; {cluster.how_to_go_on(job)}")
        return
    _finish(ended, sweep, where)


def remote_status(sweep: str, as_json: bool, address: str, insecure: bool, results: Path) -> None:
    """Ask the cluster at ``address`` for `dmlray status`, and print its answer."""
    from dmlray.cluster_jobs import connect

    words = ["status", sweep, *(["--json"] if as_json else [])]
    ended, text = connect(address, insecure).answer_of(sweep, words, results_there(results))
    (sys.stdout if ended.status == "SUCCEEDED" else sys.stderr).write(text)
    if ended.status != "SUCCEEDED":
        raise typer.Exit(_code(ended))


def remote_watch(sweep: str, address: str, insecure: bool, results: Path) -> None:
    """Have the cluster at ``address`` run `dmlray status --watch`, and print what it says until the sweep stops."""
    from dmlray.cluster_jobs import connect

    words = ["status", sweep, "--watch"]
    cluster = connect(address, insecure)
    try:
        ended = cluster.watch(sweep, words, results_there(results), lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        return
    if ended.status != "SUCCEEDED":
        raise typer.Exit(_code(ended))


def given_words(context: typer.Context, without: tuple[str, ...]) -> list[str]:
    """The options that stand on the command line itself, but for those named ``without``, as words again."""
    return [word for option in _given(context, without) for word in _words(option, context.params[str(option.name)])]


def results_there(results: Path) -> str | None:
    """The folder of results on the cluster; None: its own default. Raises UsageError for a relative one."""
    if results == DEFAULT_RESULTS:
        return None
    if not results.is_absolute():
        raise UsageError(f"--results must be a folder on the cluster, from / on, got {results}; or leave it out")
    return str(results)


def _given(context: typer.Context, without: tuple[str, ...]) -> Iterator[Any]:
    for option in context.command.params:
        name = str(option.name)
        source = context.get_parameter_source(name)
        if name not in without and source is not None and source.name == "COMMANDLINE":
            yield option


def _words(option: Any, value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list | tuple) else [value]:
        yield option.opts[0]
        if not isinstance(one, bool):  # the flags here have no opposite
            yield str(one)


def _check_places(places: Mapping[str, str | None]) -> None:
    """Places are the cluster's, and hold no keys: a job's command can be read by whoever may see the dashboard."""
    from dmlray.remote import without_keys

    for name, place in places.items():
        option, value = f"--{name.replace('_', '-')}", place or "/"
        if not without_keys(value, option).startswith("/") and "://" not in value:
            raise UsageError(f"{option} {value} must be a place that the cluster's nodes see, from / on or s3://…")


def _finish(ended: "Ended", sweep: str, address: str) -> None:
    if ended.status == "STOPPED":
        again = f"dmlray search --submit --address {address} --resume {sweep}"
        raise InterruptedSweepError(f"the job was stopped; go on with: {again}")
    if ended.status == "FAILED":
        note(f"the job failed: {ended.message}" if ended.exit_code is None else f"exit code {ended.exit_code} there")
        raise typer.Exit(_code(ended))


def _code(ended: "Ended") -> int:
    return ended.exit_code if ended.exit_code is not None and 0 < ended.exit_code < 128 else 69


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
