"""Whole conversions through Ray Data."""

from pathlib import Path

import pytest

from dmlray.config import FramesConfig
from dmlray.data.batch import Batches
from dmlray.data.convert import check_unchanged, convert
from dmlray.data.dataset import open_splits
from dmlray.data.location import list_files, locate
from dmlray.data.reader import read_videos
from dmlray.data.schema import PRESETS, schema_yaml
from dmlray.errors import DataError, MissingInputError
from tests.data.videos import FRAME, random_block, write_tfrecords

ray_warns = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray Data, of its own defaults


def write_source(folder: Path) -> None:
    for seed, split in enumerate(("train", "train", "validation", "test")):
        write_tfrecords(folder / split / f"--{seed}.tfrecord", FRAME, random_block(FRAME, 6, seed))
    (folder / "schema.yaml").write_text(schema_yaml(FRAME))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
@ray_warns
def test_converts_and_takes_up_where_it_was(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_source(source)
    seen: list[tuple[int, int]] = []
    report = convert(source, out, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert {split: manifest.videos for split, manifest in report.manifests.items()} == {
        "train": 12,
        "validation": 6,
        "test": 6,
    }
    assert (report.videos, report.quarantined) == (24, 0)
    datasets = open_splits(out)
    assert datasets["train"].schema == FRAME
    assert list(datasets["train"].ids) == random_block(FRAME, 6, 0).ids + random_block(FRAME, 6, 1).ids
    whole = contents(out)
    for name in ("train/shard-00000.arrow", "validation/shard-00000.json", "test/manifest.json"):
        (out / name).unlink()
    (out / "train" / ".shard-00000.arrow.0123abcd.tmp").write_bytes(b"half")
    assert convert(source, out) == report
    assert contents(out) == whole


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
@ray_warns
def test_a_bad_record_reaches_the_caller_as_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_source(source)
    bad = source / "validation" / "--2.tfrecord"
    data = bad.read_bytes()
    bad.write_bytes(data[:-1])
    with pytest.raises(DataError, match="the file is cut short") as caught:
        convert(source, out)
    assert caught.value.path == str(bad)
    assert caught.value.record == 5
    assert not list(out.rglob("manifest.json"))
    assert not list(out.rglob("*.tmp"))
    report = convert(source, out, on_bad_record="quarantine")
    assert (report.videos, report.quarantined) == (23, 1)
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.ray
@pytest.mark.real_data
@pytest.mark.usefixtures("ray_session")
@ray_warns
@pytest.mark.parametrize(
    ("name", "preset", "rules", "videos"),
    [
        (
            "yt8m_video",
            "yt8m-video",
            ["train=validate00[0-6]*", "validation=validate007*", "test=validate008*"],
            {"train": 20252, "validation": 2839, "test": 2862},
        ),
        (
            "audioset",
            "audioset",
            ["train=train/*@0-90", "validation=train/*@90-100", "test=eval/*"],
            {"train": 19794, "validation": 2366, "test": 11061},
        ),
    ],
)
def test_converts_the_real_shards(
    tmp_path: Path, real_data: Path, name: str, preset: str, rules: list[str], videos: dict[str, int]
) -> None:
    report = convert(real_data / name, tmp_path / "out", splits=rules)
    assert {split: manifest.videos for split, manifest in report.manifests.items()} == videos
    dataset = open_splits(tmp_path / "out")["validation"]
    assert dataset.schema == PRESETS[preset]
    batch = next(Batches(dataset, 16, frames=FramesConfig(), modalities=None, seed=0, shuffle=False).epoch(0))
    first = dataset.manifest.shards[0].sources[0].name
    block = next(read_videos(str(real_data / name / first), dataset.schema))
    assert batch.ids[: len(block)] == block.ids[:16]
    for modality, tensor in batch.features.items():
        length = int(block.frame_offsets[1]) if block.frame_offsets is not None else 1
        assert (tensor[0, :length].numpy() == block.features[modality][:length]).all()


def test_names_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"absent: no folder of TFRecord files"):
        convert(tmp_path / "absent", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    write_source(tmp_path)
    location = locate(tmp_path)
    files = list_files(location)
    check_unchanged(location, files)
    grown = tmp_path / "test" / "--3.tfrecord"
    with grown.open("ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match=r"--3.tfrecord: changed during the conversion: \d+ bytes, now \d+"):
        check_unchanged(location, files)
    grown.unlink()
    with pytest.raises(DataError, match=r"--3.tfrecord: changed during the conversion: \d+ bytes, and is gone now"):
        check_unchanged(location, files)
