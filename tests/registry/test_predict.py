"""Any features through a package: the same bytes however they are stored, cut, threaded or interrupted."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dmlray.data.predictions import load_predictions
from dmlray.data.schema import Schema
from dmlray.errors import DataError, MissingInputError, StorageError, UsageError
from dmlray.exclusive import exclusive
from dmlray.registry import load_package
from dmlray.registry.labelled import joined
from dmlray.registry.package import Package
from dmlray.registry.parts import in_order
from dmlray.registry.predict import finish, planned, predict_here, read_folder
from dmlray.sweep.settings import SweepFolder
from tests.data.videos import FRAME, VIDEO, random_block, write_dataset, write_tfrecords
from tests.registry.conftest import package_of

FILES, VIDEOS = 4, 11


def shards(folder: Path, schema: Schema) -> Path:
    """Four TFRecords, and the same videos converted in ``folder``/converted."""
    blocks = [random_block(schema, VIDEOS, seed=number) for number in range(FILES)]
    for number, block in enumerate(blocks):
        write_tfrecords(folder / f"tf/test{number}.tfrecord", schema, block)
    write_dataset(folder, schema, [blocks], "converted")
    return folder


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is a part."""
    monkeypatch.setattr("dmlray.registry.sources.PART_BYTES", 1)


@pytest.fixture(scope="module")
def video(video_sweep: SweepFolder) -> Package:
    return load_package(package_of(video_sweep))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shards(tmp_path_factory.mktemp("sources"), VIDEO)


def run(package: Package, source: Path | str, out: Path, threads: int = 1, batch_size: int = 4) -> int:
    with planned(package, [str(source)], out, 10, batch_size) as job:
        predict_here(job, threads, lambda videos, size: None)
        return finish(job)


def test_a_folder_holds_the_best_of_the_dense_scores(video: Package, sources: Path, tmp_path: Path) -> None:
    assert run(video, sources / "tf", tmp_path / "out") == FILES * VIDEOS
    found = joined(read_folder(tmp_path / "out"))
    scores = np.concatenate([video.predict(random_block(VIDEO, VIDEOS, seed=number)) for number in range(FILES)])
    assert found.ids.tolist() == [f"{number}-{row}" for number in range(FILES) for row in range(VIDEOS)]
    np.testing.assert_allclose(found.scores, -np.sort(-scores, axis=1)[:, :10], atol=1e-7)
    np.testing.assert_allclose(np.take_along_axis(scores, found.labels.astype(int), 1), found.scores, atol=1e-7)
    truth = random_block(VIDEO, VIDEOS, seed=0)
    assert found.truth.offsets[: VIDEOS + 1].tolist() == truth.label_offsets.tolist()


@pytest.mark.parametrize("schema", [VIDEO, FRAME], ids=["video", "frame"])
def test_storage_parts_and_threads_leave_no_trace(
    schema: Schema, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    package = load_package(package_of(request.getfixturevalue(f"{schema.level}_sweep")))
    folder = shards(tmp_path, schema)
    run(package, folder / "converted", tmp_path / "a.csv")
    run(package, folder / "tf", tmp_path / "b.csv", threads=3)
    whole = (tmp_path / "a.csv").read_bytes()
    assert whole == (tmp_path / "b.csv").read_bytes()
    assert len(whole.splitlines()) == 1 + FILES * VIDEOS
    assert {path.name for path in tmp_path.iterdir()} == {"a.csv", "b.csv", "tf", "converted"}


def test_batches_and_parts_change_a_score_by_rounding_only(
    video: Package, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(video, sources / "tf", tmp_path / "a", batch_size=64)
    monkeypatch.setattr("dmlray.registry.sources.PART_BYTES", 1)
    run(video, sources / "tf/*", tmp_path / "b", batch_size=3)
    one, other = joined(read_folder(tmp_path / "a")), joined(read_folder(tmp_path / "b"))
    assert one.ids.tolist() == other.ids.tolist()
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5)


def test_goes_on_with_the_parts_that_are_left(
    video: Package, sources: Path, tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(video, sources / "tf", tmp_path / "whole")
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), planned(video, [str(sources / "tf")], out, 10, 4) as job:
        predict_here(job, 1, _interrupt_after(2))
    with pytest.raises(StorageError, match=r"no manifest\.json"):
        read_folder(out)
    damaged = bytearray((out / "part-00000.arrow").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (out / "part-00000.arrow").write_bytes(damaged)
    with planned(video, [str(sources / "tf")], out, 10, 4) as job:
        assert [task.part.number for task in job.todo] == [0, 2, 3]
        predict_here(job, 1, lambda videos, size: None)
        finish(job)
    names = sorted(path.name for path in out.iterdir())
    assert names == ["manifest.json", *(f"part-{number:05d}.arrow" for number in range(FILES))]
    assert all((out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in names)


def _interrupt_after(parts: int):  # type: ignore[no-untyped-def]
    done = []

    def told(videos: int, size: int) -> None:
        done.append(size)
        if len([size for size in done if size]) == parts:
            raise KeyboardInterrupt

    return told


@pytest.mark.thorough
def test_killed_in_the_middle_it_ends_with_the_same_bytes(
    video_sweep: SweepFolder, sources: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "dmlray", "predict", "--ensemble", str(package_of(video_sweep))]
    command += ["--data", str(sources / "tf"), "--out", "s.csv", "--batch-size", "4"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = subprocess.run(
        command, cwd=tmp_path, env={**environment, "DMLRAY_FAILPOINT": "batch-predicted:5"}, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "s.csv").exists()
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    run(load_package(package_of(video_sweep)), sources / "tf", tmp_path / "whole.csv")
    assert (tmp_path / "s.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not (tmp_path / "s.csv.parts").exists()


@pytest.mark.ray
def test_ray_workers_give_the_same_bytes(
    ray_session: None, video: Package, sources: Path, tmp_path: Path, small_parts: None
) -> None:
    from dmlray.registry.remote import predict_on_ray

    run(video, sources / "tf", tmp_path / "a.csv")
    told: list[tuple[int, int]] = []
    with planned(video, [str(sources / "tf")], tmp_path / "b.csv", 10, 4) as job:
        predict_on_ray(job, 2, lambda videos, size: told.append((videos, size)))
        finish(job)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert [videos for videos, _ in told] == [VIDEOS] * FILES
    bad = shutil.copytree(sources / "tf", tmp_path / "tf")
    (bad / "test2.tfrecord").write_bytes((bad / "test2.tfrecord").read_bytes()[:-3])
    with pytest.raises(DataError, match=r"test2\.tfrecord"), planned(video, [str(bad)], tmp_path / "c", 10, 4) as job:
        predict_on_ray(job, 2, lambda videos, size: None)


def test_records_without_labels_are_predicted(video: Package, tmp_path: Path) -> None:
    """As those of a challenge's test set."""
    nameless = VIDEO.model_copy(update={"labels_feature": "hidden"})
    write_tfrecords(tmp_path / "tf/a.tfrecord", VIDEO, random_block(VIDEO, 3))
    write_tfrecords(tmp_path / "hidden/a.tfrecord", nameless, random_block(VIDEO, 3))
    for name in ("tf", "hidden"):
        run(video, tmp_path / name, tmp_path / f"{name}.csv")
    assert (tmp_path / "tf.csv").read_bytes() == (tmp_path / "hidden.csv").read_bytes()


def test_few_items_wait_at_once() -> None:
    taken, given = [], []

    def items() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            assert len(taken) - len(given) <= 3 + 2
            yield number

    for result in in_order(lambda number: number * number, items(), threads=3):
        given.append(result)
    assert given == [number * number for number in range(50)]


def test_an_error_in_a_thread_ends_it() -> None:
    def work(number: int) -> float:
        return 1 / (number - 7)

    with pytest.raises(ZeroDivisionError):
        list(in_order(work, iter(range(1000)), threads=2))


class TestRefusals:
    """Nothing is written, nothing of anybody else's is touched."""

    def test_a_bad_record(self, video: Package, sources: Path, tmp_path: Path) -> None:
        bad = shutil.copytree(sources / "tf", tmp_path / "tf")
        (bad / "test2.tfrecord").write_bytes((bad / "test2.tfrecord").read_bytes()[:-3])
        with pytest.raises(DataError, match=r"test2\.tfrecord \(record 10, byte \d+\)"):
            run(video, bad, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_no_files_and_other_features(self, video: Package, tmp_path: Path) -> None:
        with pytest.raises(MissingInputError):
            run(video, tmp_path / "nowhere", tmp_path / "out")
        write_tfrecords(tmp_path / "tf/a.tfrecord", FRAME, random_block(FRAME, 3))
        with pytest.raises(DataError, match="mean_rgb"):
            run(video, tmp_path / "tf", tmp_path / "out.csv")
        write_tfrecords(tmp_path / "none/a.tfrecord", VIDEO, random_block(VIDEO, 0))
        with pytest.raises(DataError, match="holds no video"):
            run(video, tmp_path / "none", tmp_path / "out.csv")
        assert not list(tmp_path.glob("out*"))

    def test_a_folder_that_is_used(self, video: Package, sources: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out/thesis.txt").touch()
        with pytest.raises(UsageError, match=r"holds something else \(thesis.txt\)"):
            run(video, sources / "tf", tmp_path / "out")
        (tmp_path / "a.csv").mkdir()
        with pytest.raises(UsageError, match="is a folder"):
            run(video, sources / "tf", tmp_path / "a.csv")
        (tmp_path / "file").touch()
        with pytest.raises(UsageError, match="is no folder"):
            run(video, sources / "tf", tmp_path / "file")

    @pytest.mark.parametrize("name", ["out.txt", "out.arrow", "out.csv.gz"])
    def test_a_file_of_another_kind(self, video: Package, sources: Path, tmp_path: Path, name: str) -> None:
        with pytest.raises(UsageError, match=f"{name} is named as a file: name one that ends in .csv"):
            run(video, sources / "tf", tmp_path / name)
        assert not list(tmp_path.iterdir())
        run(video, sources / "tf", tmp_path / "labels.v2")  # a folder's name may have a dot

    def test_finished_predictions_of_something_else(self, video: Package, sources: Path, tmp_path: Path) -> None:
        run(video, sources / "tf", tmp_path / "out")
        before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
        run(video, sources / "tf", tmp_path / "out")  # the same again is no work
        with pytest.raises(UsageError, match="predictions of another ensemble or other data"):
            run(video, sources / "converted", tmp_path / "out")
        assert before == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def test_two_at_once(self, video: Package, sources: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        with exclusive(tmp_path / "out/predict.lock", "a test"), pytest.raises(Exception, match="is being predicted"):
            run(video, sources / "tf", tmp_path / "out")

    def test_a_part_that_is_another(self, video: Package, sources: Path, tmp_path: Path, small_parts: None) -> None:
        run(video, sources / "tf", tmp_path / "out")
        (tmp_path / "out/part-00001.arrow").unlink()
        with pytest.raises(StorageError, match="part-00001"):
            read_folder(tmp_path / "out")


def test_parts_know_their_package(video: Package, sources: Path, tmp_path: Path) -> None:
    run(video, sources / "tf", tmp_path / "out")
    assert load_predictions(tmp_path / "out/part-00000.arrow").meta["package"] == video.digest
