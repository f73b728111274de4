"""Synthetic data: genuine formats to a second reader, the same bytes again, and structure where it is promised."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from dmlray.data.quantize import dequantize
from dmlray.data.reader import VideoBlock, read_videos
from dmlray.data.schema import load_schema
from dmlray.data.synthetic import synthesize
from dmlray.data.synthetic_world import AUDIO, BACKWARD, BOTH, FORWARD, VISUAL, SynthSpec, World, draw_lengths
from dmlray.errors import UsageError

SMALL = SynthSpec(train=30, validation=9, test=3, shards=2, classes=16, visual_width=6, audio_width=3, max_frames=10)


def read(out: Path, split: str) -> list[VideoBlock]:
    schema = load_schema(out / "schema.yaml")
    return [block for path in sorted((out / split).iterdir()) for block in read_videos(str(path), schema)]


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def frame_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "frame"
    synthesize(out, SMALL)
    return out


@pytest.fixture(scope="module")
def video_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "video"
    synthesize(out, SMALL.model_copy(update={"level": "video"}))
    return out


def test_files_and_counts(frame_level: Path) -> None:
    assert [*files(frame_level)] == [
        "schema.yaml",
        *(f"{split}/{split}000{shard}.tfrecord" for split in ("test", "train", "validation") for shard in range(2)),
    ]
    blocks = {split: read(frame_level, split) for split in ("train", "validation", "test")}
    assert {split: sum(map(len, found)) for split, found in blocks.items()} == {"train": 30, "validation": 9, "test": 3}
    ids = [video for found in blocks.values() for block in found for video in block.ids]
    assert len(set(ids)) == 42
    assert {len(video) for video in ids} == {4}


def test_second_reader_sees_the_same(frame_level: Path, video_level: Path) -> None:
    from tfrecord.reader import tfrecord_loader

    (block,) = read(frame_level, "train")[:1]
    assert block.frame_offsets is not None
    path = str(frame_level / "train" / "train0000.tfrecord")
    for number, (context, lists) in enumerate(tfrecord_loader(path, None, {}, sequence_description={})):
        rows = slice(*block.frame_offsets[number : number + 2])
        assert (block.ids[number], set(context)) == (context["id"].decode(), {"id", "labels"})
        assert (
            block.label_values[slice(*block.label_offsets[number : number + 2])].tolist() == context["labels"].tolist()
        )
        assert block.features["visual"][rows].tobytes() == b"".join(lists["rgb"])
        assert block.features["audio"][rows].tobytes() == b"".join(lists["audio"])
    (block,) = read(video_level, "train")[:1]
    for number, features in enumerate(tfrecord_loader(str(video_level / "train" / "train0000.tfrecord"), None)):
        assert set(features) == {"id", "labels", "mean_rgb", "mean_audio"}
        np.testing.assert_array_equal(block.features["visual"][number], features["mean_rgb"])
        np.testing.assert_array_equal(block.features["audio"][number], features["mean_audio"])


def test_video_level_is_the_mean_of_the_same_frames(frame_level: Path, video_level: Path) -> None:
    for frames, means in zip(read(frame_level, "train"), read(video_level, "train"), strict=True):
        assert frames.ids == means.ids
        assert frames.label_values.tolist() == means.label_values.tolist()
        assert frames.frame_offsets is not None
        for name in ("visual", "audio"):
            for number in range(len(frames)):
                rows = frames.features[name][slice(*frames.frame_offsets[number : number + 2])]
                np.testing.assert_allclose(means.features[name][number], dequantize(rows).mean(axis=0), atol=1e-5)


@pytest.mark.thorough
def test_same_seed_same_bytes_in_any_process(frame_level: Path, tmp_path: Path) -> None:
    """protobuf's own order of map keys differs from process to process."""
    code = f"from tests.data.test_synthetic import *; synthesize(Path({str(tmp_path / 'again')!r}), SMALL)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2], env={**os.environ})
    assert files(tmp_path / "again") == files(frame_level)
    synthesize(tmp_path / "other", SMALL.model_copy(update={"seed": 1}))
    assert files(tmp_path / "other").keys() == files(frame_level).keys()
    assert files(tmp_path / "other") != files(frame_level)


def test_existing_folder_is_kept(frame_level: Path) -> None:
    before = files(frame_level)
    with pytest.raises(UsageError, match="exists already"):
        synthesize(frame_level, SMALL)
    assert files(frame_level) == before


def test_nothing_stays_of_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dmlray.data.synthetic.schema_yaml", fail)
    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "out", SMALL)
    assert list(tmp_path.iterdir()) == []


def test_more_videos_than_ids_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ids of four characters"):
        synthesize(tmp_path / "out", SMALL.model_copy(update={"train": 62**4}))


def test_sizes_must_be_sizes() -> None:
    for field in ("train", "classes", "max_frames", "shards", "visual_width"):
        with pytest.raises(ValidationError):
            SynthSpec.model_validate({field: 0})


@pytest.mark.parametrize("classes", [1, 2, 3, 7])
def test_few_classes_and_single_frames(classes: int, tmp_path: Path) -> None:
    synthesize(tmp_path / "out", SMALL.model_copy(update={"classes": classes, "max_frames": 1}))
    assert sum(map(len, read(tmp_path / "out", "train"))) == 30


def test_frame_counts_are_youtube_8ms() -> None:
    lengths = draw_lengths(np.random.default_rng(0), 20_000, 300)
    assert (lengths.min(), lengths.max()) == (1, 301)
    assert 0.28 < (lengths == 300).mean() < 0.33  # genuine: 1,752 of 5,978
    assert 215 < lengths.mean() < 245  # genuine: 230


def draw(classes: int = 40, count: int = 20_000) -> tuple[World, np.ndarray]:
    world = World(SynthSpec(classes=classes))
    return world, world.draw_topics(np.random.default_rng(0), count)


def test_classes_are_zipf_and_paired_ones_equal() -> None:
    world, topics = draw()
    frequency = np.bincount(topics[:, 0], minlength=40) / len(topics)
    rank = np.arange(1, 41)
    single = world.partner < 0
    slope = np.polyfit(np.log(rank[single]), np.log(frequency[single]), 1)[0]
    assert slope == pytest.approx(-1, abs=0.1)
    for forward in np.flatnonzero(world.role == FORWARD):
        assert world.role[forward + 1] == BACKWARD
        assert frequency[forward] == pytest.approx(frequency[forward + 1], rel=0.2)


def test_topics_differ_cooccur_by_group_and_never_pair_up() -> None:
    world, topics = draw()
    for row in topics[:2000]:
        shown = row[row >= 0]
        assert len(shown) == len(set(shown.tolist()))
        assert not set(world.partner[shown].tolist()) & set(shown.tolist())
    second = topics[:, 1] >= 0
    together = world.group[topics[second, 0]] == world.group[topics[second, 1]]
    rng = np.random.default_rng(1)
    by_chance = world.group[topics[second, 0]] == world.group[rng.permutation(topics[second, 1])]
    assert together.mean() > 2 * by_chance.mean()


def test_roles_hide_modalities() -> None:
    world, _ = draw()
    silent = {
        role: (world.visual[world.role == role].any(), world.audio[world.role == role].any()) for role in range(5)
    }
    assert silent[VISUAL] == (True, False)
    assert silent[AUDIO] == (False, True)
    assert silent[BOTH] == silent[FORWARD] == silent[BACKWARD] == (True, True)


def test_only_order_tells_a_pair_apart() -> None:
    """Both classes of a pair show the same two motifs equally long; one first the one, the other first the other."""
    world, _ = draw()
    forward = int(np.flatnonzero(world.role == FORWARD)[0])
    topics = np.array([[forward], [forward + 1]]).repeat(500, axis=0)
    lengths = np.full(1000, 40)
    shown = world._shown(np.random.default_rng(0), topics, lengths).reshape(1000, 40)
    share = [(shown[half] == forward).mean() / (shown[half] >= 0).mean() for half in (slice(0, 500), slice(500, 1000))]
    assert share == pytest.approx([0.5, 0.5], abs=0.02)
    for number, row in enumerate(shown):
        seen = row[row >= 0]
        wanted = sorted(seen, reverse=number >= 500)
        assert seen.tolist() == wanted
