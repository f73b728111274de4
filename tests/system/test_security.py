"""Files that somebody doctored: refused with their name and a reason, and what is hidden in them never runs.

Checkpoints that are pickles are in `tests/train/test_checkpoint.py`, packages in `tests/registry/test_package.py`,
spaces and cluster files beside their readers, Rays without a token in `tests/cluster/test_token.py`.
"""

import json
import os
import pickle
import signal
import sqlite3
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dmlray.data.dataset import Dataset
from dmlray.data.predictions import load_predictions
from dmlray.data.schema import load_schema
from dmlray.errors import ConfigError, StorageError
from dmlray.sweep.rows import ATTRIBUTES, seal
from dmlray.sweep.settings import SweepFolder, load_settings
from dmlray.sweep.study import Study
from dmlray.train.resume import find_resume_point
from tests.data.videos import VIDEO, random_block, write_dataset
from tests.report.sweeps import make_sweep, trained
from tests.system.browser import free_port, wait_for
from tests.train.trials import make_task


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A folder that comes to be if something is run that must not be."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "it was run"


class Payload:
    """Makes the canary when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._canary),)


def python_yaml(canary: Path) -> str:
    return f"!!python/object/apply:os.mkdir ['{canary}']\n"


def extension_type(path: Path, canary: Path) -> None:
    """An Arrow file whose column has the type that older versions of pyarrow unpickle (CVE-2023-47248)."""
    metadata = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": Payload(canary)}
    stored = {key: value if isinstance(value, str) else pickle.dumps(value) for key, value in metadata.items()}
    schema = pa.schema([pa.field("id", pa.string(), metadata=stored)])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_batch(pa.record_batch([pa.array(["a"])], schema=schema))


PREDICTIONS: dict[str, Callable[[Path, Path], object]] = {
    "a pickle": lambda path, canary: path.write_bytes(pickle.dumps(Payload(canary))),
    "an extension type": extension_type,
}


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_predictions(tmp_path: Path, canary: Path, kind: str) -> None:
    path = tmp_path / "predictions.arrow"
    PREDICTIONS[kind](path, canary)
    with pytest.raises(StorageError, match=r"predictions\.arrow: is not a whole file of predictions"):
        load_predictions(path)


@pytest.mark.parametrize("name", ["../../elsewhere.arrow", "/etc/hosts", "deeper/shard.arrow", ".."])
def test_a_manifest_that_names_files_elsewhere(tmp_path: Path, name: str) -> None:
    write_dataset(tmp_path, VIDEO, [[random_block(VIDEO, 3)]])
    manifest = tmp_path / "train/manifest.json"
    document = json.loads(manifest.read_text())
    document["shards"][0]["file"] = name
    manifest.write_text(json.dumps(document))
    with pytest.raises(StorageError, match=r"manifest\.json: .*names a shard .* outside of its folder"):
        Dataset.open(tmp_path / "train")


@pytest.mark.parametrize("data", ["a pickle", "a shard that is a pickle"])
def test_a_dataset(tmp_path: Path, canary: Path, data: str) -> None:
    write_dataset(tmp_path, VIDEO, [[random_block(VIDEO, 3)]])
    name = "manifest.json" if data == "a pickle" else "shard-00000.arrow"
    path = tmp_path / "train" / name
    size = path.stat().st_size
    path.write_bytes(pickle.dumps(Payload(canary)).ljust(size, b"\0"))
    with pytest.raises(StorageError, match=name.replace(".", r"\.")):
        Dataset.open(tmp_path / "train")[0]


def test_settings_of_a_sweep(tmp_path: Path, canary: Path) -> None:
    folder = SweepFolder(tmp_path, "first")
    folder.path.mkdir()
    folder.settings.write_text(python_yaml(canary))
    with pytest.raises(StorageError, match=r"sweep\.yaml: is damaged"):
        load_settings(folder)


def test_a_schema(tmp_path: Path, canary: Path) -> None:
    path = tmp_path / "schema.yaml"
    path.write_text(python_yaml(canary))
    with pytest.raises(ConfigError, match=r"schema\.yaml:1 must be a schema in YAML"):
        load_schema(path)


def doctor(folder: SweepFolder, key: str, change: Callable[[str], str]) -> None:
    """Change what the study says of trial 0."""
    with closing(sqlite3.connect(folder.study)) as connection, connection:
        where = f"FROM {ATTRIBUTES.name} WHERE trial_id = 1 AND key = ?"
        ((text,),) = connection.execute(f"SELECT value_json {where}", (key,)).fetchall()
        update = f"UPDATE {ATTRIBUTES.name} SET value_json = ? WHERE trial_id = 1 AND key = ?"
        connection.execute(update, (change(text), key))


@pytest.mark.thorough
@pytest.mark.parametrize("change", [lambda text: pickle.dumps({}, protocol=0).decode(), lambda text: text + " "])
def test_a_study(tmp_path: Path, change: Callable[[str], str]) -> None:
    folder = make_sweep(tmp_path, trained, 1)
    doctor(folder, "epoch:0001", change)
    with pytest.raises(StorageError, match=r"study\.db: .*does not fit its checksum"):
        Study.open(folder.study, read_only=True)


@pytest.mark.thorough
def test_a_study_that_names_a_checkpoint_elsewhere(tmp_path: Path, canary: Path) -> None:
    """Sealed again, as whoever doctors it can: the file is looked at as a checkpoint, and is none."""
    elsewhere = tmp_path / "first/trials/elsewhere.safetensors"
    name = "../../elsewhere.safetensors"

    def point_elsewhere(text: str) -> str:
        value = json.loads(text)["value"] | {"checkpoint": name, "digest": "0" * 64}
        return seal(0, "epoch:0001", value)

    folder = make_sweep(tmp_path, trained, 1)
    doctor(folder, "epoch:0001", point_elsewhere)
    with closing(Study.open(folder.study, read_only=True)) as study:
        assert study.trials()[0].checkpoints[0][0] == name
    checkpoints = folder.trial(0) / "checkpoints"
    checkpoints.mkdir(parents=True)
    elsewhere.write_bytes(pickle.dumps(Payload(canary)))
    config = make_task(tmp_path, tmp_path).config
    for digest in ("0" * 64, None):
        found = find_resume_point(checkpoints, name, {name: digest}, config, "data")
        assert found.state is None
        assert "altered or damaged" in found.warnings[0] or "a pickle, which is never opened" in found.warnings[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # SQLAlchemy's and others', of MLflow's models
def test_the_page_of_mlflow_answers_no_foreign_host(tmp_path: Path) -> None:
    """As a page elsewhere would reach it, whose name is made to lead here (DNS rebinding)."""
    from dmlray.tracking import Tracker, ui_command

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    Tracker(uri, "dmlray").sync([])
    port = free_port()
    page = subprocess.Popen(
        ui_command(uri, port=port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )

    address = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=5"
    try:
        wait_for(address, 240)
        for host in ("evil.example", f"evil.example:{port}"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(urllib.request.Request(address, headers={"Host": host}), timeout=60)
            refused.value.close()
            assert refused.value.code == 403
    finally:
        os.killpg(page.pid, signal.SIGTERM)
        page.wait(60)
