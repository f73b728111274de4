"""`dmlray publish`: an ensemble as a registered model in MLflow."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dmlray.cli.options import DEFAULT_RESULTS, Json, Results, Tracking, answer, ensembles_there

if TYPE_CHECKING:
    from dmlray.ensemble.report import EnsembleReport
    from dmlray.registry.package import Package
    from dmlray.registry.publish import Published
    from dmlray.sweep.settings import SweepConfig, SweepFolder
    from dmlray.tracking import RunRecord


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    app.command()(publish)


def publish(
    ensemble: Annotated[
        str,
        typer.Argument(
            help="SWEEP or SWEEP/ENSEMBLE, also one trained anew.", metavar="NAME", autocompletion=ensembles_there
        ),
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
    from dmlray.registry.find import find_ensemble, find_refit

    if (refit := find_refit(ensemble, results)) is not None:
        published = publish_refit(refit, results, save_as, tracking_uri)
    else:
        published = publish_ensemble(*find_ensemble(ensemble, results), save_as, tracking_uri)
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
    from dmlray.ensemble.runs import ensemble_run
    from dmlray.registry.contents import CARD
    from dmlray.registry.export import PACKAGE, load_report
    from dmlray.registry.package import load_package
    from dmlray.sweep.settings import load_settings

    config, directory = load_settings(folder), folder.ensemble(name)
    report, package = load_report(directory), load_package(directory / PACKAGE)
    run = ensemble_run(config, name, report, directory)
    beside = [package.path / CARD, *_pictures(report, directory)]
    return _register(config, package, run, beside, save_as, tracking_uri)


def publish_refit(
    folder: Path, results: Path, save_as: str | None = None, tracking_uri: str | None = None
) -> "Published":
    """Log the run of an ensemble that was trained anew, and register its package, which lies in ``folder``.

    The sweep that trained its members is in ``results``.
    """
    from dmlray.registry.package import load_package
    from dmlray.registry.refit import refit_run
    from dmlray.sweep.settings import SweepFolder, load_settings

    package = load_package(folder)
    config = load_settings(SweepFolder(results, package.contents.members[0].sweep))
    return _register(config, package, refit_run(config, package), [], save_as, tracking_uri)


def _register(
    config: "SweepConfig",
    package: "Package",
    run: "RunRecord",
    beside: list[Path],
    save_as: str | None,
    tracking_uri: str | None,
) -> "Published":
    """Log ``run``, and the files ``beside`` what it has; register the package under the run."""
    from dataclasses import replace

    from dmlray.data.dataset import Dataset
    from dmlray.registry.publish import example_of, publish
    from dmlray.registry.served import ServedEnsemble
    from dmlray.sweep.settings import check_name
    from dmlray.tracking import Tracker

    model = check_name(save_as or package.contents.name.replace("/", "-")[:64], "--as")
    example = example_of(Dataset.open(config.data / "validation"))
    ServedEnsemble(package).predict(example)  # what cannot predict is not published
    tracker = Tracker(tracking_uri or config.tracking_uri, "dmlray")
    tracker.sync([replace(run, artifacts=[*run.artifacts, *beside])])
    return publish(package, model, tracker.uri, tracker.run_id(run.key), example)


def _pictures(report: "EnsembleReport", directory: Path) -> list[Path]:
    from dmlray.atomic import write_text
    from dmlray.report.ensembles import ensemble_pictures

    paths = []
    for name, picture in ensemble_pictures(report).items():
        write_text(directory / name, picture.decode())
        paths.append(directory / name)
    return paths
