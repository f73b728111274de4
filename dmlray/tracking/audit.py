"""Compares what MLflow holds with what it should hold. Imports no MLflow."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dmlray.tracking.known import PARAM_LENGTH, TAG_LENGTH, digest_of
from dmlray.tracking.record import RunRecord

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient


def differences(client: "MlflowClient", runs: Sequence["Run"], record: RunRecord) -> Iterator[str]:
    """In what the ``runs`` that carry a record's key differ from it; nothing where there is one and it agrees."""
    if not runs:
        yield "is missing"
        return
    if len(runs) > 1:
        yield f"is there {len(runs)} times"
        return
    run = runs[0]
    if run.info.status != record.status.upper():
        yield f"has status {run.info.status}, not {record.status.upper()}"
    yield from _texts("tag", record.tags, run.data.tags, TAG_LENGTH)
    yield from _texts("parameter", record.params, run.data.params, PARAM_LENGTH)
    yield from _metrics(client, run, record)
    yield from _lineage(run, record)


def _texts(kind: str, wanted: object, found: object, length: int) -> Iterator[str]:
    assert isinstance(wanted, dict)
    assert isinstance(found, dict)
    for name, value in wanted.items():
        if (expected := str(value)[:length]) != found.get(name):
            yield f"has {kind} {name} {found.get(name)!r}, not {expected!r}"


def _lineage(run: "Run", record: RunRecord) -> Iterator[str]:
    found = {(each.dataset.name, each.dataset.digest) for each in (run.inputs.dataset_inputs if run.inputs else ())}
    for dataset in record.datasets:
        if (dataset.name, digest_of(dataset)) not in found:
            yield f"lacks the data set {dataset.name} ({digest_of(dataset)})"
    if record.model is not None and not (run.outputs and run.outputs.model_outputs):
        yield f"lacks the model {record.model.name}"


def _metrics(client: "MlflowClient", run: "Run", record: RunRecord) -> Iterator[str]:
    wanted: dict[str, dict[int, float]] = defaultdict(dict)
    for step, values in record.metrics:
        for name, value in values.items():
            wanted[name].setdefault(step, value)
    for name, curve in wanted.items():
        points = client.get_metric_history(run.info.run_id, name) if name in run.data.metrics else []
        found = {point.step: point.value for point in points}
        if len(found) < len(points):
            yield f"has {len(points)} values of {name} for {len(found)} steps"
        bad = [step for step in sorted(curve.keys() | found.keys()) if not _same(curve.get(step), found.get(step))]
        if bad:
            step = bad[0]
            yield f"has {name} {found.get(step)} at step {step}, not {curve.get(step)} ({len(bad)} steps differ)"


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return one == other or (math.isnan(one) and math.isnan(other))
