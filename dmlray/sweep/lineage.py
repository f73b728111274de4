"""What a sweep reads and what its trials end with, as MLflow's data sets and logged models. Pure, but for manifests."""

from collections.abc import Mapping

from dmlray.data.dataset import SPLITS
from dmlray.data.manifest import Manifest, read_manifest
from dmlray.data.schema import Schema
from dmlray.errors import DmlrayError
from dmlray.sweep.records import TrialRecord, TrialState
from dmlray.sweep.settings import SweepConfig
from dmlray.tracking import DatasetRecord, ModelRecord


def dataset_records(config: SweepConfig) -> list[DatasetRecord]:
    """The sweep's splits, named by its data's folder; what cannot be looked at now has neither columns nor profile."""
    records = []
    for split in (split for split in SPLITS if split in config.fingerprints):
        streamed = config.stream if split == "train" else None
        manifest = None if streamed else _manifest(config, split)
        records.append(
            DatasetRecord(
                context=split,
                name=f"{config.data.name} {split}",
                digest=config.fingerprints[split],
                uri=streamed or str(config.data / split),
                columns={} if manifest is None else _columns(manifest.contents),
                profile={} if manifest is None else _profile(manifest),
            )
        )
    return records


def model_record(config: SweepConfig, trial: TrialRecord, description: str) -> ModelRecord | None:
    """A complete trial's model: the checkpoint of its best epoch, which stays where it is. None for other trials."""
    curve = dict(trial.curve)
    if trial.state is not TrialState.complete or trial.best_epoch not in curve:
        return None
    best, last = trial.best_epoch, trial.curve[-1][0]
    file, digest = trial.checkpoints[list(curve).index(best)]
    return ModelRecord(
        name=f"{config.name.replace('.', '-')}-{trial.number}",  # MLflow allows no dots there
        params={"model": description, "epoch": str(best)},
        tags={
            "dmlray.checkpoint": f"{config.name}/trials/{trial.number:04d}/checkpoints/{file}",
            "dmlray.sha256": digest,
        },
        step=best,
        metrics={"validation": (best, _named(curve[best], "val_")), "test": (last, _named(trial.metrics, "test_"))},
    )


def _manifest(config: SweepConfig, split: str) -> Manifest | None:
    try:
        return read_manifest(config.data / split)[0]
    except DmlrayError:
        return None


def _columns(schema: Schema) -> dict[str, dict[str, object]]:
    """Types in MLflow's words: a vector of numbers, for frame-level features a list of vectors."""
    vector: dict[str, object] = {"type": "array", "items": {"type": "long" if schema.level == "frame" else "double"}}
    cell: dict[str, object] = {"type": "array", "items": vector} if schema.level == "frame" else vector
    labels: dict[str, object] = {"type": "array", "items": {"type": "long"}}
    return {"id": {"type": "string"}, "labels": labels, **{modality.name: cell for modality in schema.modalities}}


def _profile(manifest: Manifest) -> dict[str, object]:
    schema = manifest.contents
    widths = {f"width of {modality.name}": modality.width for modality in schema.modalities}
    return {"num_rows": manifest.videos, "level": schema.level, "classes": schema.classes, **widths}


def _named(metrics: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name.startswith(prefix) and not name.endswith("_s")}
