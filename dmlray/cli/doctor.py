"""`dmlray doctor`: is this machine ready for a sweep, and if not, what helps?"""

from typing import TYPE_CHECKING, Annotated

import typer

from dmlray.cli.options import DEFAULT_RESULTS, Address, Json, Results, StoragePath, Tracking, answer

if TYPE_CHECKING:
    from dmlray.cli.checks import Finding


def register(app: typer.Typer) -> None:
    """Add this module's command to the app."""
    app.command()(doctor)


def doctor(
    data: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Also look at this converted data set, here or at s3://, gs://."),
    ] = None,
    storage_path: StoragePath = None,
    ray: Annotated[bool, typer.Option("--ray", help="Also start Ray here, or join --address: takes seconds.")] = False,
    gpus_per_trial: Annotated[
        float, typer.Option(min=0.0, help="With --ray: has a node as many GPUs as a trial is to have?")
    ] = 0.0,
    address: Address = None,
    as_json: Json = False,
    results: Results = DEFAULT_RESULTS,
    tracking_uri: Tracking = None,
) -> None:
    """Check Python, packages, GPUs, room, limits, Ray's token, open ports, MLflow's store and data, with remedies.

    Example: dmlray doctor

    Exit code 0 where nothing is a problem, 69 where something does not answer, 78 where this machine must change.
    """
    from dmlray.cli.checks import examine, exit_code
    from dmlray.cli.facts import gather
    from dmlray.remote import as_place, without_keys
    from dmlray.tracking.store import default_uri

    uri, place = tracking_uri or default_uri(results), as_place(without_keys(data, "--data")) if data else None
    findings = examine(gather(results, uri, place, address, ray, gpus_per_trial, storage_path))
    if as_json:
        rows = [
            {"check": each.check, "status": each.status, "found": each.found, "remedy": each.remedy}
            for each in findings
        ]
        answer({"version": 1, "findings": rows})
    else:
        _print(findings)
    raise typer.Exit(exit_code(findings))


def _print(findings: "list[Finding]") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    colours = {"ok": "green", "warning": "yellow", "problem": "bold red"}
    table = Table("", "check", "found, and what helps", box=box.SIMPLE_HEAD)
    for each in findings:
        told = f"{each.found}\n→ {each.remedy}" if each.remedy and each.status != "ok" else each.found
        table.add_row(Text(each.status, style=colours[each.status]), each.check, Text(told))
    Console(highlight=False).print(table)
