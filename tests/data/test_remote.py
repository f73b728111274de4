"""TFRecords in S3, as moto serves it."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from dmlray.config import FramesConfig
from dmlray.data.convert import convert
from dmlray.data.dataset import Dataset
from dmlray.data.find_schema import find_schema
from dmlray.data.ingest import GroupTask, convert_group
from dmlray.data.location import list_files, locate
from dmlray.data.plan import GroupPlan
from dmlray.data.stream import RayStream
from dmlray.data.stream_source import StreamSource
from dmlray.errors import MissingInputError, UnavailableError
from tests.data.videos import FRAME, random_block, write_dataset, write_tfrecords

pytestmark = pytest.mark.thorough

moto_warns = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket that holds what ``tmp_path``/in does: its URI, and how to reach it, as pyarrow takes them."""
    for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=f"http://{endpoint}", region_name="us-east-1")
    client.create_bucket(Bucket="features")
    blocks = [random_block(FRAME, videos, number) for number, videos in enumerate((7, 3))]
    for path in write_dataset(tmp_path / "converted", FRAME, [blocks[:1], blocks[1:]]).path.iterdir():
        client.upload_file(str(path), "features", f"converted/train/{path.name}")
    for number, videos in enumerate((7, 3)):
        path = tmp_path / "in" / f"--{number}.tfrecord"
        write_tfrecords(path, FRAME, random_block(FRAME, videos, number))
        client.upload_file(str(path), "features", f"yt8m/{path.name}")
    return f"s3://test:test@features/%s?endpoint_override={endpoint}&scheme=http&region=us-east-1"


def task(source: str, out: Path) -> GroupTask:
    plan = GroupPlan(split="train", number=0, files=tuple(list_files(locate(source))))
    return GroupTask(source=source, folder=out, contents=FRAME, plan=plan, on_bad_record="fail")


@moto_warns
def test_a_bucket_converts_like_a_folder(bucket: str, tmp_path: Path) -> None:
    remote, local = locate(bucket % "yt8m"), locate(tmp_path / "in")
    assert list_files(remote) == list_files(local)
    assert find_schema(remote, list_files(remote)) == find_schema(local, list_files(local))
    assert convert_group(task(bucket % "yt8m", tmp_path / "a")) == convert_group(
        task(str(tmp_path / "in"), tmp_path / "b")
    )
    assert (tmp_path / "a/shard-00000.arrow").read_bytes() == (tmp_path / "b/shard-00000.arrow").read_bytes()


@moto_warns
def test_one_object_is_read_like_one_file(bucket: str, tmp_path: Path) -> None:
    group = convert_group(task(bucket % "yt8m/--1.tfrecord", tmp_path / "out"))
    assert [(file.name, file.records) for shard in group.shards for file in shard.sources] == [("--1.tfrecord", 3)]


@moto_warns
def test_what_is_not_there_is_named(bucket: str) -> None:
    for place in ("elsewhere", "yt8m/absent.tfrecord"):
        with pytest.raises(MissingInputError, match=f"features/{place}: no folder of TFRecord files"):
            list_files(locate(bucket % place))


@moto_warns
def test_an_endpoint_that_does_not_answer_is_named(bucket: str, endpoint: str) -> None:
    with pytest.raises(UnavailableError, match=r"s3://.*features/yt8m.* cannot be read"):
        locate((bucket % "yt8m").replace(endpoint, "127.0.0.1:1"))


@pytest.mark.ray
@moto_warns
def test_a_bucket_is_converted_and_streamed_by_ray(ray_session: None, bucket: str, tmp_path: Path) -> None:
    """Keys and endpoint stand in the address: workers may have been started before anybody knew them."""
    wanted = sorted(f"{seed}-{number}" for seed, videos in enumerate((7, 3)) for number in range(videos))
    report = convert(bucket % "yt8m", tmp_path / "out", splits=["train=*"])
    assert sorted(Dataset.open(report.out / "train").ids) == wanted
    for source in ("yt8m", "yt8m/--*", "converted", "converted/train"):
        batches = RayStream(StreamSource.open(bucket % source, FRAME)).batches(
            4, frames=FramesConfig(), modalities=None, seed=1, bucketing=False, pinned=False
        )
        assert sorted(video for batch in batches.epoch(0) for video in batch.ids) == wanted
