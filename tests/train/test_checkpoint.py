"""Checkpoints: what goes in comes out; what was damaged, swapped or planted is refused with the reason."""

import os
import pickle
import resource
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from dmlray.config import TrialConfig
from dmlray.errors import StorageError
from dmlray.train.checkpoint import CheckpointState, load_checkpoint, restore_checkpoint, save_checkpoint
from dmlray.train.loop import Training, train_epochs


@pytest.fixture
def state(start: Any, batches: Any, snapshot: Callable[[Training], CheckpointState]) -> CheckpointState:
    training = start()
    for _ in islice(train_epochs(training, batches), 2):
        pass
    return snapshot(training)


@pytest.fixture
def saved(state: CheckpointState, folder: Path) -> tuple[Path, str]:
    path = folder / "epoch-0002.safetensors"
    return path, save_checkpoint(path, state)


def test_comes_back_whole(saved: tuple[Path, str], state: CheckpointState, config: TrialConfig) -> None:
    found = load_checkpoint(*saved, config, "fingerprint")
    for field in ("config", "data", "epoch", "videos", "best"):
        assert getattr(found, field) == getattr(state, field)
    assert found.model.keys() == state.model.keys()
    assert all(torch.equal(found.model[name], state.model[name]) for name in state.model)
    for index, values in state.optimizer["state"].items():
        assert all(torch.equal(found.optimizer["state"][index][key], value) for key, value in values.items())


def test_same_state_gives_the_same_file(saved: tuple[Path, str], state: CheckpointState, config: TrialConfig) -> None:
    path, digest = saved
    again = load_checkpoint(path, digest, config)
    assert save_checkpoint(path.with_name("again.safetensors"), again) == digest


def test_scalars_of_an_optimizer_are_kept(state: CheckpointState, folder: Path, config: TrialConfig) -> None:
    state.optimizer["state"][0]["flat_epochs"] = 3
    digest = save_checkpoint(folder / "c", state)
    assert load_checkpoint(folder / "c", digest, config).optimizer["state"][0]["flat_epochs"] == 3


@pytest.mark.parametrize("kept", [0, 7, 100, 0.5, 0.999])
@pytest.mark.parametrize("with_digest", [True, False])
def test_truncated(saved: tuple[Path, str], config: TrialConfig, kept: float, with_digest: bool) -> None:
    path, digest = saved
    payload = path.read_bytes()
    path.write_bytes(payload[: int(kept * len(payload)) if isinstance(kept, float) else kept])
    with pytest.raises(StorageError, match=r"epoch-0002\.safetensors: (altered|truncated)"):
        load_checkpoint(path, digest if with_digest else None, config)


@pytest.mark.parametrize("place", [3, 20, 0.3, 0.9, -1])
def test_flipped_bit(saved: tuple[Path, str], config: TrialConfig, place: float) -> None:
    path, digest = saved
    payload = bytearray(path.read_bytes())
    payload[int(place * len(payload)) if isinstance(place, float) else place] ^= 4
    path.write_bytes(payload)
    with pytest.raises(StorageError, match=r"epoch-0002\.safetensors: altered or damaged: SHA-256 \w+… was recorded"):
        load_checkpoint(path, digest, config)


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["pickle", "torch.save"])
def test_pickle_in_its_place_is_never_run(tmp_path: Path, config: TrialConfig, kind: str) -> None:
    path, canary = tmp_path / "epoch-0001.safetensors", tmp_path / "canary"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Canary(canary)))
    else:
        torch.save({"model": Canary(canary)}, path)
    with pytest.raises(StorageError, match=r"epoch-0001\.safetensors: a pickle, which is never opened"):
        load_checkpoint(path, None, config)
    assert not canary.exists()


def test_of_another_configuration(saved: tuple[Path, str], config: TrialConfig) -> None:
    other = config.model_copy(update={"batch_size": 64})
    with pytest.raises(StorageError, match="of another configuration: `batch_size` is 128 there and 64 here"):
        load_checkpoint(*saved, other)


def test_of_other_data(saved: tuple[Path, str], config: TrialConfig) -> None:
    with pytest.raises(StorageError, match="of other data"):
        load_checkpoint(*saved, config, "another fingerprint")


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        (None, "not a checkpoint of dmlray"),
        ({"dmlray": "{"}, "its metadata is not a checkpoint's"),
        ({"dmlray": "[]"}, "its metadata is not a checkpoint's"),
        ({"dmlray": '{"format": 1}'}, "its metadata is not a checkpoint's"),
        ({"dmlray": '{"format": 2}'}, "checkpoint format 2, this version reads 1"),
    ],
)
def test_safetensors_of_something_else(
    tmp_path: Path, config: TrialConfig, metadata: dict[str, str] | None, reason: str
) -> None:
    path = tmp_path / "c.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(2)}, path, metadata)
    with pytest.raises(StorageError, match=reason):
        load_checkpoint(path, None, config)


def test_a_disk_that_takes_no_more(state: CheckpointState, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        with pytest.raises(StorageError, match=r"epoch\.safetensors: could not be written"):
            save_checkpoint(tmp_path / "epoch.safetensors", state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_missing(tmp_path: Path, config: TrialConfig) -> None:
    with pytest.raises(StorageError, match=r"none\.safetensors: the checkpoint cannot be read: No such file"):
        load_checkpoint(tmp_path / "none.safetensors", None, config)


def test_that_does_not_fit_the_model(saved: tuple[Path, str], config: TrialConfig) -> None:
    with pytest.raises(StorageError, match="does not fit the model"):
        restore_checkpoint(saved[0], load_checkpoint(*saved, config), torch.nn.Linear(2, 2), None)
