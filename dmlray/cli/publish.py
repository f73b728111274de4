"""`dmlray publish`: an ensemble as a registered model in MLflow."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dmlray.cli.options import DEFAULT_RESULTS, Json, Results, Tracking, answer, ensembles_there

if TYPE_CHECKING:
    from dmlray.ensemble.report import EnsembleReport
    from dmlray.registry.publish import Published
    from dmlray.sweep.settings import SweepFolder


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    app.command()(publish)


def publish(
    ensemble: Annotated[
        str, typer.Argument(help="SWEEP or SWEEP/ENSEMBLE.", metavar="NAME", autocompletion=ensembles_there)
    ],
    save_as: Annotated[
        str | None, typer.Option("--as", help="The registered model's name (default: SWEEP-ENSEMBLE).")
    ] = None,
    as_json: Json = False,
    results: Results = DEFAULT_RESULTS,
    tracking_uri: Tracking = None,
) -> None:
    """Register an ensemble's package in MLflow as a model that `mlflow models serve` serves.

    Example: dmlray publish first --as videos

    A package that is registered under that name already gets no new version.
    """
    from dmlray.registry.find import find_ensemble

    folder, name = find_ensemble(ensemble, results)
    published = publish_ensemble(folder, name, save_as, tracking_uri)
    if as_json:
        answer({"version": 1, "model": published.name, "model_version": published.version, "uri": published.uri})
    else:
        print(sentence(published))


def sentence(published: "Published") -> str:
    """What was published, for people."""
    if not published.is_new:
        return f"{published.uri} is this package already"
    return f"published as {published.uri}"


def publish_ensemble(
    folder: "SweepFolder", name: str, save_as: str | None = None, tracking_uri: str | None = None
) -> "Published":
    """Log an ensemble's run, with its card, tables and pictures, and register its package. See `registry.publish`."""
    from dataclasses import replace

    from dmlray.data.dataset import Dataset
    from dmlray.ensemble.runs import ensemble_run
    from dmlray.registry.contents import CARD
    from dmlray.registry.export import PACKAGE, load_report
    from dmlray.registry.package import load_package
    from dmlray.registry.publish import example_of, publish
    from dmlray.registry.served import ServedEnsemble
    from dmlray.sweep.settings import check_name, load_settings
    from dmlray.tracking import Tracker

    config = load_settings(folder)
    model = check_name(save_as or f"{config.name}-{name}"[:64], "--as")
    directory = folder.ensemble(name)
    report, package = load_report(directory), load_package(directory / PACKAGE)
    example = example_of(Dataset.open(config.data / "validation"))
    ServedEnsemble(package).predict(example)  # what cannot predict is not published
    run = ensemble_run(config, name, report, directory)
    artifacts = [*run.artifacts, package.path / CARD, *_pictures(report, directory)]
    tracker = Tracker(tracking_uri or config.tracking_uri, "dmlray")
    tracker.sync([replace(run, artifacts=artifacts)])
    return publish(package, model, tracker.uri, tracker.run_id(run.key), example)


def _pictures(report: "EnsembleReport", directory: Path) -> list[Path]:
    from dmlray.atomic import write_text
    from dmlray.report.ensembles import ensemble_pictures

    paths = []
    for name, picture in ensemble_pictures(report).items():
        write_text(directory / name, picture.decode())
        paths.append(directory / name)
    return paths
