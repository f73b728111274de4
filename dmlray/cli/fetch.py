"""`dmlray fetch`: a sweep from its storage path, to look at it or to choose an ensemble here."""

from typing import TYPE_CHECKING, Annotated

import typer

from dmlray.cli.console import Bar, note
from dmlray.cli.options import DEFAULT_RESULTS, Name, Results, StoragePath
from dmlray.errors import UsageError

if TYPE_CHECKING:
    from dmlray.remote import Remote
    from dmlray.sweep.settings import SweepFolder


def register(app: typer.Typer) -> None:
    """Add this module's command to the app."""
    app.command()(fetch)


def fetch(
    name: Name,
    storage_path: StoragePath = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Also all checkpoints; `dmlray ensemble` fetches those that it needs.")
    ] = False,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Bring a sweep here from its storage path: settings, the newest copy of its study, trials' logs and predictions.

    Example: dmlray fetch first --storage-path s3://bucket/sweeps

    Again, it brings what is new. Then `status`, `top`, `ensemble`, `report` and `fsck` work here as where it ran.
    """
    from contextlib import closing

    from dmlray.sweep.fetching import fetch_trial, is_head
    from dmlray.sweep.ownership import claims
    from dmlray.sweep.settings import SweepFolder, check_name, load_settings
    from dmlray.sweep.study import Study

    folder = SweepFolder(results, check_name(name, "NAME"))
    remote = take_up(folder, storage_path)
    with closing(Study.open(folder.study, read_only=True)) as study:
        begun = [trial for trial in study.trials() if trial.attempts]
    trials = [trial.number for trial in begun if trial.state.is_finished or not is_head(folder)]
    config = load_settings(folder)
    with Bar("fetching", "trials") as bar:
        for done, number in enumerate(trials, start=1):
            fetch_trial(folder, config, number, checkpoints=checkpoints)
            bar.update(done, len(trials))
    note(f"{folder.path}: {len(trials)} trials from {remote}")
    if (at_work := claims(remote)) and not at_work[-1].released:
        note(f"{at_work[-1].who} has not ended its work on it: fetch again for what comes")


def take_up(folder: "SweepFolder", storage_path: str | None) -> "Remote":
    """Bring a sweep's settings and study into ``folder``, from ``storage_path`` or where its settings say; gives that.

    Raises UsageError for a sweep that has no storage path, and as `sweep.fetching.fetch_sweep` does.
    """
    from dmlray.sweep.fetching import fetch_sweep, sweep_remote
    from dmlray.sweep.settings import load_settings

    known = load_settings(folder).storage_path if folder.settings.is_file() or storage_path is None else storage_path
    if known is None:
        raise UsageError(f"sweep {folder.path.name} began without --storage-path: all of it lies in {folder.path}")
    remote = sweep_remote(storage_path or known, folder.path.name)
    remote.probe()
    fetch_sweep(folder, remote, note)
    return remote
