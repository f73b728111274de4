"""`dmlray predict` and `evaluate`: an ensemble's scores of any features, and how good scores are."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dmlray.cli.console import Bar
from dmlray.cli.options import DEFAULT_RESULTS, Address, Json, Results, answer, ensembles_there

if TYPE_CHECKING:
    from dmlray.registry.predict import Job, Told

Ensemble = Annotated[
    str,
    typer.Option(
        "--ensemble",
        metavar="NAME",
        help="SWEEP, SWEEP/ENSEMBLE or a package's folder.",
        autocompletion=ensembles_there,
    ),
]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    app.command()(predict)
    app.command()(evaluate)


def predict(
    ensemble: Ensemble,
    data: Annotated[
        list[str],
        typer.Option("--data", metavar="SOURCE", help="TFRecords (folder, file or glob, also s3://) or a split."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="A Kaggle CSV file (.csv), or a folder of Arrow files.")],
    keep: Annotated[int, typer.Option(min=1, help="Labels of a video in Arrow files; a CSV file has 20.")] = 50,
    batch_size: Annotated[int, typer.Option(min=1, help="Videos that are scored at once.")] = 128,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Ray workers (default: one per GPU; without GPUs this process alone).")
    ] = None,
    address: Address = None,
    as_json: Json = False,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Predict the labels of videos with an ensemble, shard by shard, in bounded memory.

    \b
    Example: dmlray predict --ensemble first \\
        --data 'results/tfrecords/test/*' --out submission.csv

    Killed or stopped, the same command goes on where it was and ends with the same bytes.
    """
    from dmlray.ensemble.scoring import best_device
    from dmlray.errors import InterruptedSweepError
    from dmlray.registry.find import find_package
    from dmlray.registry.package import load_package
    from dmlray.registry.predict import finish, planned

    package = load_package(find_package(ensemble, results)).to(best_device())
    start = time.monotonic()
    with planned(package, data, out, keep, batch_size) as job:
        try:
            run_job(job, workers, address)
        except KeyboardInterrupt as error:
            raise InterruptedSweepError("stopped; the same command goes on with the parts that are left") from error
        seconds = time.monotonic() - start
        videos = finish(job)
    done_before = len(job.tasks) - len(job.todo)
    if as_json:
        figures = {"videos": videos, "parts": len(job.tasks), "parts_before": done_before, "seconds": round(seconds, 3)}
        answer({"version": 1, "out": str(out), "package": package.digest, **figures})
        return
    before = f", {done_before} of {len(job.tasks)} parts were there already" if done_before else ""
    print(f"{out}: {videos:,} videos in {seconds:.1f} s{before}")


def evaluate(
    predictions: Annotated[
        Path,
        typer.Argument(metavar="PREDICTIONS", help="A Kaggle CSV file, a file or a folder of Arrow predictions."),
    ],
    labels: Annotated[
        list[str] | None,
        typer.Option("--labels", metavar="SOURCE", help="The videos with their labels: TFRecords or a split."),
    ] = None,
    schema: Annotated[str | None, typer.Option(help="Read TFRecords with this schema (default: guess).")] = None,
    as_json: Json = False,
) -> None:
    """Measure predictions: GAP@20, mAP, Hit@1 and PERR, each with its 95 % bootstrap interval.

    Example: dmlray evaluate submission.csv --labels 'results/tfrecords/test/*'

    Arrow predictions bring the labels that their videos had; --labels replaces them.
    """
    from dmlray.registry.evaluate import evaluate_predictions

    found = evaluate_predictions(predictions, labels or (), schema)
    if as_json:
        answer({"version": 1, "predictions": str(predictions), **found.model_dump(mode="json")})
        return
    for name, figure in found.figures.items():
        print(f"{name:6} {figure.value:.4f}  95 % interval {figure.low:.4f} to {figure.high:.4f}")
    print(f"{found.videos:,} videos with {found.labels:,} labels")


def run_job(job: "Job", workers: int | None = None, address: str | None = None) -> None:
    """Predict what is left: here, or with Ray where there are several GPUs, ``workers`` or an address."""
    import os

    import torch

    from dmlray.registry.parts import scoring_threads
    from dmlray.registry.predict import predict_here

    if not job.todo:
        return
    uses_ray = bool(address or os.environ.get("RAY_ADDRESS") or (workers or torch.cuda.device_count()) > 1)
    with Bar("predicting", "bytes") as bar:
        told = _teller(job, bar)
        if uses_ray and len(job.todo) > 1:
            from dmlray.cluster import ray_cluster
            from dmlray.registry.remote import predict_on_ray

            with ray_cluster(address):
                predict_on_ray(job, workers, told)
        else:
            predict_here(job, scoring_threads(len(os.sched_getaffinity(0)), job.package.device), told)


def _teller(job: "Job", bar: Bar) -> "Told":
    """Shows what is done by the bytes of the source, with the number of videos and their rate."""
    total, start = sum(task.part.size for task in job.todo), time.monotonic()
    videos = size = 0

    def told(more_videos: int, more_bytes: int) -> None:
        nonlocal videos, size
        videos, size = videos + more_videos, size + more_bytes
        bar.update(size, total, f"{videos:,} videos, {videos / (time.monotonic() - start):,.0f} a second")

    return told
