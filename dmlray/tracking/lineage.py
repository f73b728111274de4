"""What runs read and what they end with, as MLflow 3 has it: data sets, logged models, and who uses whose."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
)
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from dmlray.tracking.known import KnownRun, digest_of
from dmlray.tracking.record import DatasetRecord, RunRecord

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def send_datasets(client: "MlflowClient", run: KnownRun, record: RunRecord) -> None:
    """The data sets that the run lacks, in one request."""
    if new := run.new_datasets(record):
        client.log_inputs(run.run_id, datasets=[_input(dataset) for dataset in new])
        run.datasets |= {(dataset.name, digest_of(dataset)) for dataset in new}


def send_model(client: "MlflowClient", experiment_id: str, run: KnownRun, record: RunRecord) -> None:
    """The model, where the run has none. One that an interrupted attempt has left is taken up, not made again.

    That the run has it is the last thing said, so all before it may be said twice.
    """
    model = record.model
    if model is None or run.models:
        return
    left = client.search_logged_models([experiment_id], f"source_run_id = '{run.run_id}'")
    made = (
        left[0]
        if left
        else client.create_logged_model(
            experiment_id, model.name, run.run_id, dict(model.tags), dict(model.params), "classifier"
        )
    )
    client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
    client.log_batch(run.run_id, metrics=list(_model_metrics(made.model_id, run, record)))
    client.log_outputs(run.run_id, [LoggedModelOutput(made.model_id, model.step)])
    run.models.append(made.model_id)


def send_members(client: "MlflowClient", run: KnownRun, members: Iterable[KnownRun]) -> None:
    """That the run uses the models of ``members``, each once; a member without a model is left out."""
    wanted = list(dict.fromkeys(model for member in members for model in member.models[:1]))
    if not wanted:
        return
    inputs = client.get_run(run.run_id).inputs
    known = {model.model_id for model in (inputs.model_inputs if inputs else ())}
    if new := [model for model in wanted if model not in known]:
        client.log_inputs(run.run_id, models=[LoggedModelInput(model) for model in new])


def _input(dataset: DatasetRecord) -> DatasetInput:
    kind, separator, _ = dataset.uri.partition("://")
    entity = Dataset(
        name=dataset.name,
        digest=digest_of(dataset),
        source_type=kind if separator else "local",
        source=json.dumps({"uri": dataset.uri}),
        schema=json.dumps({"mlflow_colspec": [{"name": name, **kind} for name, kind in dataset.columns.items()]}),
        profile=json.dumps(dict(dataset.profile)),
    )
    return DatasetInput(entity, [InputTag(MLFLOW_DATASET_CONTEXT, dataset.context)])


def _model_metrics(model_id: str, run: KnownRun, record: RunRecord) -> Iterable[Metric]:
    """Points of the run's own curves, of the same time, which MLflow therefore keeps once, said of the model too."""
    assert record.model is not None
    datasets = {dataset.context: dataset for dataset in record.datasets}
    for context, (step, values) in record.model.metrics.items():
        of = datasets.get(context)
        about = (of.name, digest_of(of)) if of else (None, None)
        for name, value in values.items():
            yield Metric(name, float(value), run.start_time_ms + step, step, model_id, *about)
