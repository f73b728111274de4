"""`dmlray synth`, `convert` and `inspect`: features in, Arrow shards out."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dmlray.cli.console import Bar, note, warn
from dmlray.cli.options import DEFAULT_RESULTS, Address, Json, Results, answer
from dmlray.errors import UsageError

if TYPE_CHECKING:
    from dmlray.data.convert import ConversionReport
    from dmlray.remote import Place


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    app.command()(synth)
    app.command()(convert)
    app.command("inspect")(inspect_shards)


def synth(
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to make; it must not hold anything yet.")],
    video_level: Annotated[bool, typer.Option("--video-level", help="Write per-video means, not frames.")] = False,
    train: Annotated[int, typer.Option(min=1, help="Training videos.")] = 1400,
    validation: Annotated[int, typer.Option(min=1, help="Validation videos.")] = 400,
    test: Annotated[int, typer.Option(min=0, help="Test videos.")] = 200,
    classes: Annotated[int, typer.Option(min=2, help="Labels in the vocabulary.")] = 40,
    visual: Annotated[int, typer.Option(min=1, help="Width of the visual features.")] = 64,
    audio: Annotated[int, typer.Option(min=1, help="Width of the audio features.")] = 16,
    max_frames: Annotated[
        int, typer.Option(min=1, help="Most frames a model sees; videos have one more at most.")
    ] = 300,
    noise: Annotated[float, typer.Option(min=0.0, help="Noise of a frame relative to its signal.")] = 1.0,
    shards: Annotated[int, typer.Option(min=1, help="Files per split.")] = 4,
    seed: Annotated[int, typer.Option(help="The same seed writes the same bytes.")] = 0,
) -> None:
    """Write a small data set in YouTube-8M's formats, with structure worth searching.

    Example: dmlray synth results/tfrecords --train 1400 --max-frames 40
    """
    from dmlray.data.synthetic import SynthSpec, synthesize

    spec = SynthSpec(
        level="video" if video_level else "frame",
        seed=seed,
        train=train,
        validation=validation,
        test=test,
        shards=shards,
        classes=classes,
        visual_width=visual,
        audio_width=audio,
        max_frames=max_frames,
        noise=noise,
    )
    synthesize(out, spec)
    note(f"{out}: {train} training, {validation} validation and {test} test videos", f"next: dmlray convert {out}")


def convert(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A folder of TFRecord shards, or one shard; also s3:// and gs://.")
    ],
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the Arrow shards go (default: RESULTS/data/<source>); s3:// and gs:// get a copy.",
        ),
    ] = None,
    schema: Annotated[str | None, typer.Option(help="yt8m-frame, yt8m-video, audioset or a YAML file.")] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=GLOB[@A-B]", help="The files of train, validation or test; @0-90: 90 % by hash."),
    ] = None,
    on_bad_record: Annotated[Literal["fail", "quarantine"], typer.Option(help="What a bad record does.")] = "fail",
    address: Address = None,
    as_json: Json = False,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Convert TFRecord shards to memory-mapped Arrow shards, every record accounted for.

    Without --split, folders named train, validation and test are the splits, or files are shared out 80/10/10 by hash.

    Example: dmlray convert results/tfrecords --out results/data/synth
    """
    from dmlray.cluster import ray_cluster
    from dmlray.data.convert import convert as run
    from dmlray.data.schema import load_schema
    from dmlray.data.upload import check_free, upload_conversion
    from dmlray.remote import Address, as_place, without_keys

    chosen = load_schema(schema) if schema else None
    place = as_place(without_keys(out, "--out")) if out else results / "data" / Path(source).absolute().name
    target = results / "data" / place.name if isinstance(place, Address) else place
    if isinstance(place, Address):
        check_free(place)
    with Bar("converting", "shards") as bar, ray_cluster(address):
        start = time.monotonic()
        report = run(source, target, chosen, split or (), on_bad_record, bar.update)
    if isinstance(place, Address):
        with Bar("copying", "shards") as bar:
            upload_conversion(target, place, bar.update)
    _tell(report, place, time.monotonic() - start, as_json)


def _tell(report: "ConversionReport", place: "Place", seconds: float, as_json: bool) -> None:
    if as_json:
        splits = {
            name: {"videos": m.videos, "quarantined": m.quarantined, "unreadable_bytes": m.unreadable_bytes}
            for name, m in report.manifests.items()
        }
        answer({"version": 1, "out": str(place), "seconds": round(seconds, 3), "splits": splits})
        return
    for name, manifest in report.manifests.items():
        print(f"{place / name}: {manifest.videos:,} videos in {len(manifest.shards)} shards")
    note(f"converted in {seconds:.1f} s, without Ray's start")
    if isinstance(place, Path):
        note(f"next: dmlray init {place}")
    if report.quarantined:
        warn(f"{report.quarantined} bad records are in the splits' folders named quarantine")
    if report.unreadable_bytes:
        lost = f"{report.unreadable_bytes:,} bytes of them belong to no record that could be told"
        warn(f"{lost}: there may have been more records than are counted")


def inspect_shards(
    shards: Annotated[
        list[Path], typer.Argument(help="TFRecord shards; with --verify, folders of a conversion.", metavar="SHARD...")
    ],
    schema: Annotated[str | None, typer.Option(help="Read them with this schema (default: guess).")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all of a converted data set, checksums and all.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what is in TFRecord shards: schema, counts, labels, frame lengths.

    Example: dmlray inspect results/tfrecords/train/*.tfrecord

    With --verify, compare converted shards with their manifests: dmlray inspect --verify results/data/tfrecords
    """
    if verify:
        if schema is not None:
            raise UsageError(
                "--schema says how to read TFRecords; a converted data set has its own: leave it out with --verify"
            )
        _verify(shards, as_json)
        return
    from dmlray.cli.inspection import inspection_lines
    from dmlray.data.inspection import inspect_shards as run
    from dmlray.data.schema import load_schema

    found = run(shards, load_schema(schema) if schema else None)
    if as_json:
        answer({"version": 1, **found.model_dump(mode="json")})
    else:
        print(*inspection_lines(found), sep="\n")


def _verify(folders: list[Path], as_json: bool) -> None:
    from dmlray.data.verification import verify_conversion

    found = [split for folder in folders for split in verify_conversion(folder)]
    if as_json:
        answer({"version": 1, "splits": [split.model_dump(mode="json") for split in found]})
        return
    for split in found:
        size = f"{split.videos:,} videos in {split.shards} shards, {split.size_bytes / 1e6:,.1f} MB"
        print(f"{split.path}: {size}, {split.quarantined} records in quarantine; all checksums hold")
