"""An ensemble in MLflow: its package as a registered model that `mlflow models serve` serves."""

import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import Array

from dmlray.data.dataset import Dataset
from dmlray.errors import UnavailableError
from dmlray.registry.contents import CARD
from dmlray.registry.package import Package
from dmlray.registry.served import TOP

DIGEST_TAG = "dmlray.package"
_LIBRARIES = ("dmlray", "torch", "numpy", "pyarrow", "pydantic", "safetensors", "pandas")


@dataclass(frozen=True)
class Published:
    """Version ``version`` of the registered model ``name``, which belongs to the run ``run_id``."""

    name: str
    version: str
    run_id: str
    is_new: bool

    @property
    def uri(self) -> str:
        """As MLflow's commands take it."""
        return f"models:/{self.name}/{self.version}"


def publish(package: Package, name: str, uri: str, run_id: str, example: pd.DataFrame) -> Published:
    """Log the package under the run and register it as ``name``; a package that is registered already stays as it is.

    ``example`` holds raw features of a few videos, see `example_of`. Raises UnavailableError when MLflow does not
    answer or refuses.
    """
    with _store(uri):
        client = MlflowClient(tracking_uri=uri)
        for known in client.search_model_versions(f"name = '{name}'"):
            if known.tags.get(DIGEST_TAG) == package.digest:
                return Published(name, str(known.version), str(known.run_id), is_new=False)
        with mlflow.start_run(run_id=run_id), redirect_stderr(io.StringIO()):  # it prints what we say ourselves
            logged = mlflow.pyfunc.log_model(
                name=name,
                loader_module="dmlray.registry.served",
                data_path=str(package.path),
                signature=_signature(package),
                input_example=(example, {"top": TOP}),
                pip_requirements=[f"{library}=={version(library)}" for library in _LIBRARIES],
                registered_model_name=name,
                metadata={DIGEST_TAG: package.digest},
            )
        number = str(logged.registered_model_version)
        client.set_model_version_tag(name, number, DIGEST_TAG, package.digest)
        client.update_model_version(name, number, (package.path / CARD).read_text(encoding="utf-8"))
        return Published(name, number, run_id, is_new=True)


def example_of(dataset: Dataset, videos: int = 2) -> pd.DataFrame:
    """Raw features of the first ``videos``, as a request holds them: at most 5 frames of each."""
    rows: dict[str, list[Any]] = {modality.name: [] for modality in dataset.schema.modalities}
    first = dataset.block(0)
    for row in range(min(videos, len(first))):
        for name, frames in first.features.items():
            values = frames[first.frames(row)][:5].tolist()
            rows[name].append(values if first.frame_offsets is not None else values[0])
    return pd.DataFrame(rows)


def _signature(package: Package) -> ModelSignature:
    is_frames = package.schema.level == "frame"
    cell = Array(Array(DataType.long)) if is_frames else Array(DataType.double)
    answers: list[ColSpec | TensorSpec] = [
        ColSpec(Array(DataType.long), "labels"),
        ColSpec(Array(DataType.double), "scores"),
    ]
    answers += [ColSpec(Array(DataType.string), "names")] if package.vocabulary is not None else []
    return ModelSignature(
        inputs=Schema([ColSpec(cell, modality.name) for modality in package.schema.modalities]),
        outputs=Schema(answers),
        params=ParamSchema([ParamSpec("top", DataType.long, TOP)]),
    )


@contextmanager
def _store(uri: str) -> Iterator[None]:
    """MLflow's own state pointed at ``uri`` for the block, quietly, its errors told in a sentence.

    The models' registry is the same store, unless MLFLOW_REGISTRY_URI names another.
    """
    before: Any = os.environ.get("MLFLOW_TRACKING_URI")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    except MlflowException as error:
        raise UnavailableError(f"MLflow at {uri} did not take the model: {str(error).splitlines()[0]}") from error
    finally:
        mlflow.set_tracking_uri(before)  # it is kept in the environment too; None removes it
