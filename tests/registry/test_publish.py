"""A published ensemble: registered once, free of code and pickles, served over HTTP with the scores of `predict`."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dmlray.cli.publish import publish_ensemble
from dmlray.data.dataset import Dataset
from dmlray.errors import DataError, UnavailableError
from dmlray.registry import load_package
from dmlray.registry.vocabulary import read_vocabulary
from dmlray.sweep.settings import SweepFolder, load_settings
from tests.registry.conftest import package_of
from tests.registry.test_package import spoil_member
from tests.registry.test_served import cells

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader"),  # SQLAlchemy, of MLflow's models
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
]


def own_copy(sweep: SweepFolder, folder: Path) -> SweepFolder:
    """A sweep with its own empty MLflow store."""
    shutil.copytree(sweep.path, folder / "results" / sweep.path.name)
    copy = SweepFolder(folder / "results", sweep.path.name)
    settings = copy.settings.read_text()
    uri = load_settings(sweep).tracking_uri
    copy.settings.write_text(settings.replace(uri, f"sqlite:///{folder}/results/mlflow.db"))
    return copy


def client(sweep: SweepFolder) -> Any:
    from mlflow import MlflowClient

    uri = load_settings(sweep).tracking_uri
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@pytest.mark.parametrize("level", ["video", "frame"])
def test_is_registered_once_and_predicts(
    level: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    import pandas as pd

    sweep = own_copy(request.getfixturevalue(f"{level}_sweep"), tmp_path)
    published = publish_ensemble(sweep, "top5", "videos")
    again = publish_ensemble(sweep, "top5", "videos")
    assert (published.uri, published.is_new) == ("models:/videos/1", True)
    assert (again.uri, again.is_new) == ("models:/videos/1", False)

    package = load_package(package_of(sweep))
    version = client(sweep).get_model_version("videos", "1")
    assert version.tags == {"dmlray.package": package.digest}
    assert version.description.startswith("# first/top5")
    run = client(sweep).get_run(version.run_id)
    names = {file.path for file in client(sweep).list_artifacts(version.run_id)}
    assert {"members.json", "curve.parquet", "README.md", "growth.svg", "weights.svg"} <= names
    assert run.data.params["members"].count(":") == len(package.contents.members)
    assert run.info.status == "FINISHED"

    (model,) = (tmp_path / "results/mlartifacts").rglob("MLmodel")
    flavor = yaml.safe_load(model.read_text())["flavors"]["python_function"]
    assert (flavor["loader_module"], flavor["code"]) == ("dmlray.registry.served", None)
    assert not [path for path in model.parent.rglob("*") if path.suffix in {".pkl", ".pickle", ".pt", ".py"}]

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", load_settings(sweep).tracking_uri)
    dataset = Dataset.open(load_settings(sweep).data / "test")
    answer = mlflow.pyfunc.load_model(str(model.parent)).predict(pd.DataFrame(cells(dataset, 3)), params={"top": 2})
    expected = -np.sort(-package.predict(dataset)[:3], axis=1)[:, :2]
    np.testing.assert_allclose(answer["scores"].tolist(), expected, rtol=1e-6)


def test_what_cannot_predict_is_not_published(video_sweep: SweepFolder, tmp_path: Path) -> None:
    sweep = own_copy(video_sweep, tmp_path)
    spoil_member(package_of(sweep), load_package(package_of(sweep)).contents.members[0].file)
    with pytest.raises(DataError, match="not numbers"):
        publish_ensemble(sweep, "top5", "videos")
    next((package_of(sweep) / "members").iterdir()).unlink()
    with pytest.raises(DataError, match="cannot be read"):
        publish_ensemble(sweep, "top5", "videos")
    assert not (tmp_path / "results/mlflow.db").exists()


def test_a_server_that_is_not_there(video_sweep: SweepFolder, tmp_path: Path) -> None:
    sweep = own_copy(video_sweep, tmp_path)
    with pytest.raises(UnavailableError, match=r"MLflow at http://127\.0\.0\.1:9"):
        publish_ensemble(sweep, "top5", "videos", "http://127.0.0.1:9")


@pytest.fixture
def served(frame_sweep: SweepFolder, tmp_path: Path) -> Iterator[tuple[str, SweepFolder]]:
    """`mlflow models serve` on a port of its own, and the sweep behind it."""
    sweep = own_copy(frame_sweep, tmp_path)
    published = publish_ensemble(sweep, "top5", "videos")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": load_settings(sweep).tracking_uri,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", published.uri, "--env-manager", "local"]
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "-h", "127.0.0.1", "-p", str(port)],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address, server, tmp_path / "server.log")
        yield address, sweep
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)


def _wait(address: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(400):
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"{address}/ping", timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-2000:])


def post(address: str, document: Any) -> Any:
    body = json.dumps(document).encode()
    request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_real_request_gets_the_scores_of_predict(served: tuple[str, SweepFolder]) -> None:
    address, sweep = served
    dataset = Dataset.open(load_settings(sweep).data / "test")
    columns = cells(dataset, 4)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    answer = post(address, {"dataframe_records": rows, "params": {"top": 20}})["predictions"]
    expected = load_package(package_of(sweep)).predict(dataset)[:4]
    for video, scores in zip(answer, expected, strict=True):
        assert sorted(video["labels"]) == list(range(20))
        np.testing.assert_allclose(video["scores"], scores[video["labels"]], rtol=1e-6)
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(address, {"dataframe_records": [{**rows[0], "audio": [[0, 0, 300]] * len(rows[0]["audio"])}]})
    assert refused.value.code == 400
    assert "whole numbers from 0 to 255" in refused.value.read().decode()


def test_a_vocabulary_names_the_answers(video_sweep: SweepFolder, tmp_path: Path) -> None:
    import pandas as pd

    from dmlray.registry.export import export_package
    from dmlray.registry.served import ServedEnsemble

    rows = [f"{index},name {index}" for index in reversed(range(20)) if index != 7]
    (tmp_path / "v.csv").write_text("Index,Name\n" + "\n".join(rows) + "\n")
    names = read_vocabulary(tmp_path / "v.csv", 20)
    assert (names[3], names[7]) == ("name 3", "")
    sweep = own_copy(video_sweep, tmp_path)
    package = load_package(export_package(sweep, "top5", names))
    dataset = Dataset.open(load_settings(sweep).data / "test")
    answer = ServedEnsemble(package).predict(pd.DataFrame(cells(dataset, 2)), {"top": 3})
    assert answer["names"].tolist() == [[names[label] for label in row] for row in answer["labels"]]
    for text in ("Index,Title\n1,a\n", "Index,Name\n20,a\n", "Index,Name\n1,a\n1,b\n"):
        (tmp_path / "v.csv").write_text(text)
        with pytest.raises(DataError):
            read_vocabulary(tmp_path / "v.csv", 20)
