"""A package gives the ensemble's own scores, and refuses whatever is not as it was written."""

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from dmlray.data.dataset import Dataset, open_splits
from dmlray.data.predictions import load_predictions
from dmlray.ensemble.candidates import load_candidates
from dmlray.ensemble.choice import EnsembleSettings
from dmlray.ensemble.dense import DenseBlender
from dmlray.ensemble.precision import Precision
from dmlray.ensemble.report import save_ensemble
from dmlray.ensemble.search import search_ensemble
from dmlray.errors import DataError, MissingInputError, StorageError, UsageError
from dmlray.registry import load_package
from dmlray.registry.contents import digest_of
from dmlray.registry.export import export_package
from dmlray.registry.find import find_package
from dmlray.sweep.settings import SweepFolder, load_settings
from tests.data.videos import FRAME, VIDEO, random_block, write_dataset
from tests.registry.conftest import package_of


@pytest.mark.parametrize("level", ["video", "frame"])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_scores_are_the_ensembles(level: str, split: str, request: pytest.FixtureRequest) -> None:
    sweep: SweepFolder = request.getfixturevalue(f"{level}_sweep")
    stored = load_predictions(
        sweep.ensemble("top5") / ("predictions.arrow" if split == "validation" else "test_predictions.arrow")
    )
    dataset = Dataset.open(load_settings(sweep).data / split)
    scores = load_package(package_of(sweep)).predict(dataset, batch_size=7)
    assert (scores.shape, scores.dtype) == ((len(dataset), 20), np.float32)
    mine = np.take_along_axis(scores, stored.labels.astype(np.int64), axis=1)
    np.testing.assert_allclose(mine, stored.scores, atol=2e-6)


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_fewer_bits_predict_as_they_were_measured(
    precision: Precision, video_sweep: SweepFolder, tmp_path: Path
) -> None:
    sweep = SweepFolder(Path(shutil.copytree(video_sweep.path, tmp_path / "first")).parent, "first")
    splits = open_splits(load_settings(sweep).data, train=False)
    candidates = load_candidates((number, f"model {number}", sweep.trial(number)) for number in range(3))
    settings = EnsembleSettings(resamples=5, precision=precision)
    blender = DenseBlender(splits, load_settings(sweep).seed, torch.device("cpu"))
    found = search_ensemble(candidates, settings, None, blender)
    save_ensemble(sweep.ensemble("small"), found.report, found.validation, found.test)
    folder = export_package(sweep, "small")
    assert found.test is not None
    scores = load_package(folder).predict(splits["test"])
    mine = np.take_along_axis(scores, found.test.labels.astype(np.int64), axis=1)
    np.testing.assert_allclose(mine, found.test.scores, atol=2e-6)
    stored = safetensors.torch.load_file(next((folder / "members").iterdir()))
    assert {"float16": torch.float16, "int8": torch.int8}[precision] in {one.dtype for one in stored.values()}
    assert {"float16": "stored in float16", "int8": "8-bit integers"}[precision] in (folder / "README.md").read_text()


def test_predicts_blocks_of_a_reader_as_datasets(video_sweep: SweepFolder, tmp_path: Path) -> None:
    block = random_block(VIDEO, 9, seed=5)
    package = load_package(package_of(video_sweep))
    dataset = write_dataset(tmp_path, VIDEO, [[block]])
    np.testing.assert_array_equal(package.predict(block), package.predict(dataset))


@pytest.mark.thorough
def test_loads_without_the_cluster_and_without_unpickling(own_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        f"import sys; from dmlray.registry import load_package; load_package({str(own_package)!r}); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"ray", "optuna", "mlflow"} & set(done.stdout.split())

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    load_package(own_package)


def test_the_card_tells_what_is_in_it(own_package: Path) -> None:
    package = load_package(own_package)
    card = (own_package / "README.md").read_text()
    for word in (package.digest, *package.contents.files.values(), *package.contents.data.values(), "GAP@20"):
        assert word in card
    for member in package.contents.members:
        assert f"| {member.name} | {member.epoch} | {member.gap:.4f} | {member.weight:.4f} |" in card


def rewrite(package: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Alter the contents, hash and all."""
    path = package / "package.json"
    document = json.loads(path.read_text())["package"]
    change(document)
    path.write_text(json.dumps({"sha256": digest_of(document), "package": document}))


def test_a_package_of_an_older_version_loads(own_package: Path) -> None:
    """What was not known then is left out of its configuration, and the hash is that of the file as it is."""
    rewrite(own_package, lambda document: document["members"][0]["config"].pop("bucketing"))
    assert load_package(own_package).contents.members[0].config.bucketing is False


def flip(path: Path) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda p: flip(next((p / "members").iterdir())), "altered or damaged"),
        (lambda p: next((p / "members").iterdir()).unlink(), "cannot be read"),
        (lambda p: (p / "package.json").write_text("{}"), "is not a package's contents"),
        (lambda p: (p / "package.json").write_bytes(b"\xff\xfe"), "is not a package's contents"),
        (lambda p: alter_quietly(p, '"weight": 0.', '"weight": 0.9'), "altered or damaged"),
        (lambda p: rewrite(p, lambda d: d.update(format=2)), "of another version"),
        (lambda p: rewrite(p, lambda d: d["members"][0].update(weight=0.9)), "must sum to 1"),
        (lambda p: rewrite(p, lambda d: d["members"][0].update(file="../../secret.safetensors")), "is not recorded"),
        (lambda p: rewrite(p, lambda d: d["files"].update({"../secret.json": "0" * 64})), "not one of a package's own"),
        (lambda p: rewrite(p, lambda d: d["files"].update({"/etc/secret.json": "0" * 64})), "not one of a package's"),
        (lambda p: rewrite(p, lambda d: d["members"][0]["config"].update(modalities=["taste"])), "taste"),
        (lambda p: rewrite(p, lambda d: d["contents"].update(classes=21)), "does not fit the model"),
    ],
)
def test_a_damaged_package_is_refused(own_package: Path, harm: Callable[[Path], None], words: str) -> None:
    harm(own_package)
    with pytest.raises(DataError, match=words) as refused:
        load_package(own_package)
    assert str(own_package) in str(refused.value)


def alter_quietly(package: Path, old: str, new: str) -> None:
    path = package / "package.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_member_without_numbers_is_named(own_package: Path) -> None:
    package = load_package(own_package)
    member = package.contents.members[-1]
    spoil_member(own_package, member.file)
    with pytest.raises(DataError, match=r"member \d \(model \d\) gives scores that are not numbers"):
        load_package(own_package).predict(random_block(VIDEO, 2))


def spoil_member(package: Path, file: str) -> None:
    """NaN parameters, with the right hashes."""
    import hashlib

    path = package / file
    tensors = {name: torch.full_like(tensor, torch.nan) for name, tensor in safetensors.torch.load_file(path).items()}
    safetensors.torch.save_file(tensors, path)
    rewrite(package, lambda d: d["files"].update({file: hashlib.sha256(path.read_bytes()).hexdigest()}))


def test_features_of_another_shape_are_refused(video_sweep: SweepFolder, tmp_path: Path) -> None:
    package = load_package(package_of(video_sweep))
    frames = write_dataset(tmp_path / "frame", FRAME, [[random_block(FRAME, 2)]])
    with pytest.raises(DataError, match="holds frame-level features, the ensemble reads video-level ones"):
        package.predict(frames)
    wide = VIDEO.model_copy(update={"modalities": tuple(m.model_copy(update={"width": 8}) for m in VIDEO.modalities)})
    other = write_dataset(tmp_path / "wide", wide, [[random_block(wide, 2)]])
    with pytest.raises(DataError, match="modality visual: 8 features of -2 to 2 here, 6 features"):
        package.predict(other)


def test_a_package_is_found_by_its_sweep(video_sweep: SweepFolder) -> None:
    results, expected = video_sweep.path.parent, package_of(video_sweep)
    for name in ("first", "first/top5", str(expected)):
        assert find_package(name, results) == expected
    for name in ("second", "first/top6", "first/top6/package"):
        with pytest.raises(MissingInputError):
            find_package(name, results)


def test_several_ensembles_must_be_told_apart(video_sweep: SweepFolder, tmp_path: Path) -> None:
    sweep = tmp_path / "first"
    for name in ("a", "b"):
        (sweep / "ensemble" / name).mkdir(parents=True)
        shutil.copy(video_sweep.ensemble("top5") / "members.json", sweep / "ensemble" / name)
    with pytest.raises(UsageError, match="first/a, first/b"):
        find_package("first", tmp_path)
    with pytest.raises(MissingInputError, match="package"):
        find_package("first/a", tmp_path)


def test_a_trial_that_lost_its_checkpoint_is_not_packaged(video_sweep: SweepFolder, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(video_sweep.path, results / "first")
    sweep = SweepFolder(results, "first")
    shutil.rmtree(package_of(sweep))
    members = json.loads((sweep.ensemble("top5") / "members.json").read_text())["members"]
    shutil.rmtree(sweep.trial(members[0]["trial"]) / "checkpoints")
    with pytest.raises(StorageError, match="no checkpoint has the SHA-256"):
        export_package(sweep, "top5")
    assert not list(sweep.ensemble("top5").glob("*package*"))
