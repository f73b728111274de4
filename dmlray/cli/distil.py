"""`dmlray distil`: one student trained on an ensemble's soft labels, by a sweep of its own."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dmlray.cli.options import DEFAULT_RESULTS, Address, Json, Results, Tracking, answer, parse_override

if TYPE_CHECKING:
    from dmlray.registry.distil import DistillationReport
    from dmlray.registry.package import Package
    from dmlray.sweep.settings import SweepFolder


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    app.command()(distil)


def distil(
    ensemble: Annotated[str, typer.Option("--ensemble", metavar="NAME", help="The teacher: SWEEP or SWEEP/ENSEMBLE.")],
    space: Annotated[Path, typer.Option(help="The student's search space, a YAML file.")],
    name: Annotated[str, typer.Option(help="What to call the student's sweep; one that was stopped goes on.")],
    weight: Annotated[float, typer.Option(help="Share of the teacher in the loss; the labels have the rest.")] = 0.5,
    temperature: Annotated[float, typer.Option(help="Softens the teacher's and the student's scores.")] = 1.0,
    trials: Annotated[int | None, typer.Option(min=1, help="How many students to try (default: the space's).")] = None,
    seed: Annotated[int, typer.Option(help="The same seed, the same suggestions.")] = 0,
    cpus_per_trial: Annotated[float | None, typer.Option(min=0.1, help="Also its threads (default: 1).")] = None,
    gpus_per_trial: Annotated[float | None, typer.Option(min=0.0, help="Fractions share a GPU (default: 0).")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Change the space, e.g. space.epochs=3.")
    ] = None,
    address: Address = None,
    as_json: Json = False,
    results: Results = DEFAULT_RESULTS,
    tracking_uri: Tracking = None,
) -> None:
    """Train one student on an ensemble's scores of the training videos, and say how much of its gain the student keeps.

    \b
    Example: dmlray distil --ensemble first \\
        --space search_spaces/smoke.yaml --name student --trials 2

    Killed or stopped, the same command goes on: with the soft labels first, then with the student's sweep.
    """
    from dmlray.atomic import write_text
    from dmlray.cli.run import run_shown
    from dmlray.registry.export import PACKAGE
    from dmlray.registry.find import find_ensemble
    from dmlray.registry.package import load_package
    from dmlray.sweep.session import discarded_unless_started
    from dmlray.sweep.settings import SweepFolder, load_settings

    teacher, own_name = find_ensemble(ensemble, results)
    package = load_package(teacher.ensemble(own_name) / PACKAGE)
    labels = _soft_labels(teacher, own_name, package, address)
    taught = {"predictions": labels, "weight": weight, "temperature": temperature}
    changes = [parse_override(text) for text in overrides or ()]
    changes += [(f"space.loss.distillation.{key}", str(value)) for key, value in taught.items()]
    resources = {"cpus_per_trial": cpus_per_trial, "gpus_per_trial": gpus_per_trial}
    student = SweepFolder(results, name)
    if not student.settings.is_file():
        student = _create(student, teacher, space, changes, trials, seed, resources, tracking_uri)
    else:
        _check_taught(student, labels)
    with contextlib.redirect_stdout(sys.stderr), discarded_unless_started(student):
        run_shown(student, load_settings(student), address)
    report = _report(teacher, own_name, package, student)
    write_text(student.path / "distillation.json", report.model_dump_json(indent=2) + "\n")
    if as_json:
        answer({"version": 1, **report.model_dump(mode="json")})
    else:
        _print(report)


def _soft_labels(teacher: "SweepFolder", name: str, package: "Package", address: str | None) -> Path:
    """The folder of the ensemble's scores of the training videos, of which the parts that are missing are made."""
    from dmlray.cli.predict import run_job
    from dmlray.data.dataset import Dataset
    from dmlray.ensemble.scoring import best_device
    from dmlray.errors import UsageError
    from dmlray.registry.distil import soft_labels_name
    from dmlray.registry.package import BATCH_VIDEOS
    from dmlray.registry.predict import KEEP, finish, planned
    from dmlray.sweep.settings import load_settings

    config = load_settings(teacher)
    if config.stream is not None:
        raise UsageError(f"sweep {config.name} trains on a stream; convert its training videos to distil from them")
    train = Dataset.open(config.data / "train")
    train.bring()
    folder = teacher.ensemble(name) / soft_labels_name(package, train)
    with planned(package.to(best_device()), [str(train.path)], folder, KEEP, BATCH_VIDEOS) as job:
        run_job(job, address=address)
        finish(job)
    return folder.absolute()


def _create(
    student: "SweepFolder",
    teacher: "SweepFolder",
    space: Path,
    changes: list[tuple[str, str]],
    trials: int | None,
    seed: int,
    resources: dict[str, float | None],
    tracking_uri: str | None,
) -> "SweepFolder":
    from dmlray.sweep.session import create_sweep, new_config
    from dmlray.sweep.settings import load_settings
    from dmlray.sweep.space import load_space

    taught = load_settings(teacher)
    loaded = load_space(space, changes)
    uri = tracking_uri or taught.tracking_uri
    config = new_config(student.path.name, taught.data, loaded, trials, seed, "tpe", resources, uri)
    return create_sweep(student.path.parent, config, loaded)


def _check_taught(student: "SweepFolder", labels: Path) -> None:
    """A sweep of that name goes on only if it is this teacher's student."""
    from dmlray.errors import SweepExistsError
    from dmlray.sweep.space import load_space

    space = load_space(student.space).document.get("space", {})
    if space.get("loss", {}).get("distillation", {}).get("predictions") != str(labels):
        raise SweepExistsError(
            f"{student.path} exists already and is no student of this ensemble: choose another --name"
        )


def _report(teacher: "SweepFolder", name: str, package: "Package", student: "SweepFolder") -> "DistillationReport":
    from dmlray.ensemble.members import load_trial_model
    from dmlray.ensemble.sweeps import finished_candidates
    from dmlray.registry.distil import report_distillation
    from dmlray.registry.export import load_report

    students = finished_candidates(student)
    models = {one.trial: load_trial_model(one.directory) for one in students}
    sizes = {number: sum(tensor.numel() for tensor in model.parameters.values()) for number, model in models.items()}
    return report_distillation(load_report(teacher.ensemble(name)), package, student.path.name, students, sizes)


def _print(report: "DistillationReport") -> None:
    print(f"student: trial {report.student} of {report.sweep} ({report.name})")
    for part, kept in report.kept.items():
        figures = f"best single trial {kept.best_single:.4f}, ensemble {kept.ensemble:.4f}, student {kept.student:.4f}"
        share = f"keeps {kept.share:.0%} of the gain" if kept.share is not None else "the ensemble gains nothing here"
        print(f"GAP@20 on {part} ({kept.videos:,} videos): {figures}: {share}")
    size = report.student_parameters / report.ensemble_parameters
    print(f"parameters: {report.student_parameters:,} of the ensemble's {report.ensemble_parameters:,} ({size:.0%})")
