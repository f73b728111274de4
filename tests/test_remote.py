"""Files on S3: whole or not at all, tried again where that helps, refused in one sentence where it does not."""

import os
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow.fs import FileInfo, FileSelector, FileType

from dmlray.errors import StorageError, UnavailableError, UsageError
from dmlray.remote import Address, Remote, as_place, beneath, reach, shown, without_keys
from tests.s3 import BUCKET, S3, SECRET, Trouble, serve

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with serve() as s3:
        yield s3


@pytest.fixture
def s3(server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.troubles.clear()
    return server


@pytest.fixture(params=["s3", "a folder"])
def remote(request: pytest.FixtureRequest, s3: S3, tmp_path: Path) -> Remote:
    return Remote(f"s3://{BUCKET}/{tmp_path.name}" if request.param == "s3" else str(tmp_path / "there"))


@pytest.mark.thorough
def test_files_go_in_and_out(remote: Remote, tmp_path: Path) -> None:
    remote.probe()
    assert remote.names() == {}
    assert remote.get("a/b") is None
    content = os.urandom(7 << 20)  # more than one part
    (tmp_path / "local").write_bytes(content)
    remote.put("a/b", tmp_path / "local")
    remote.put("a/b", tmp_path / "local")
    remote.put("c", b"short")
    assert remote.names() == {"a/b": len(content), "c": 5}
    assert remote.below("a").names() == {"b": len(content)}
    assert remote.get("c") == b"short"
    remote.put("empty", b"")
    assert remote.get("empty") == b""
    assert remote.names()["empty"] == 0
    remote.delete("empty")
    assert remote.fetch("a/b", tmp_path / "back") == remote.digest("a/b")
    assert (tmp_path / "back").read_bytes() == content
    for _ in range(2):
        remote.delete("a/b")
    assert pickle.loads(pickle.dumps(remote)).names() == {"c": 5}
    with pytest.raises(StorageError, match="a/b: is missing"):
        remote.fetch("a/b", tmp_path / "never")
    assert not (tmp_path / "never").exists()


@pytest.mark.thorough
@pytest.mark.parametrize("what", ["503", "reset"])
def test_what_passes_is_tried_again(s3: S3, tmp_path: Path, what: str) -> None:
    """More often than the client within pyarrow does; half an object is never seen."""
    remote = Remote(f"s3://{BUCKET}/{tmp_path.name}", patience_s=30)
    s3.troubles.append(Trouble("PUT", "file", what, times=4))
    remote.put("file", b"0123456789")
    assert s3.troubles[0].times == 0
    s3.troubles.append(Trouble("GET", "file", what, times=4))
    assert remote.get("file") == b"0123456789"
    s3.troubles.append(Trouble("PUT", "file", what, times=1000))
    with pytest.raises(UnavailableError, match=f"s3://{BUCKET}/{tmp_path.name} does not answer"):
        remote.patient(1).put("file", b"another")
    s3.troubles.clear()
    assert remote.get("file") == b"0123456789"


@pytest.mark.thorough
def test_what_will_not_pass_is_said_at_once(s3: S3) -> None:
    began = time.monotonic()
    for ask in (Remote.probe, Remote.reach, Remote.names):
        with pytest.raises(UnavailableError, match="s3://absent/x cannot be used: there is no such bucket"):
            ask(Remote("s3://absent/x"))
    reach(Address(f"s3://{BUCKET}/nothing/there"))
    reach(Path("/no/such/path"))  # whoever opens it says so
    s3.troubles.append(Trouble("PUT", "probe", "403", times=100))
    with pytest.raises(UnavailableError, match="refuses access: check the credentials") as refused:
        Remote(f"s3://{BUCKET}/x").probe()
    assert SECRET not in str(refused.value)
    assert time.monotonic() - began < 30


class Folder:
    """A filesystem with an empty folder, in a bucket that nobody may look at, or that cannot be: ``said`` then."""

    type_name = "s3"

    def __init__(self, said: str) -> None:
        self.said = said

    def get_file_info(self, place: Any) -> Any:
        if place == "bucket":
            raise OSError(self.said)
        return [] if isinstance(place, FileSelector) else FileInfo(place, FileType.NotFound)


def test_who_may_see_a_folder_only_is_not_refused_for_its_bucket() -> None:
    """In pyarrow's words on S3, which are no PermissionError."""
    remote = Remote("s3://bucket/x", patience_s=0)
    said = "When getting information for bucket 'bucket': AWS Error ACCESS_DENIED during HeadBucket operation"
    vars(remote)["_opened"] = Folder(f"{said}: No response body."), "bucket/x"
    assert remote.names() == {}
    vars(remote)["_opened"] = Folder("AWS Error SLOW_DOWN during HeadBucket operation"), "bucket/x"
    with pytest.raises(UnavailableError, match=r"s3://bucket/x does not answer \(AWS Error SLOW_DOWN"):
        remote.names()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["mute", "reset"])
def test_a_server_that_does_not_answer_is_given_up_within_30_s(s3: S3, what: str) -> None:
    for method in ("PUT", "GET", "HEAD", "POST"):
        s3.troubles.append(Trouble(method, "", what, times=1000))
    for ask in (Remote.probe, Remote.reach):
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=rf"s3://{BUCKET}/y (does not answer|has not answered)"):
            ask(Remote(f"s3://{BUCKET}/y"))
        assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "uri", ["s3://key:secret@bucket/x", "s3://bucket/x?secret_key=secret", "gs://b?access_token=secret"]
)
def test_an_address_holds_no_key(uri: str) -> None:
    with pytest.raises(UsageError, match="--storage-path must be without keys") as refused:
        without_keys(uri, "--storage-path")
    assert "secret@" not in str(refused.value)
    assert "=secret" not in str(refused.value)


@pytest.mark.parametrize("uri", ["s3://bucket/x?foo=1", "nowhere://bucket/x"])
def test_an_address_that_no_filesystem_has_is_refused(uri: str) -> None:
    with pytest.raises(UsageError, match="is no address of a filesystem"):
        Remote(uri).names()


def test_places() -> None:
    assert as_place("file:///a%20b") == Path("/a b")
    assert as_place("a/b") == Path("a/b")
    data = as_place("s3://bucket/data/set?region=x")
    assert isinstance(data, Address)
    assert data / "train" == "s3://bucket/data/set/train?region=x"
    assert data.name == "set"
    assert beneath("/a/", "b") == "/a/b"
    assert shown("s3://key:secret@bucket/x?scheme=http") == "s3://bucket/x"
    assert shown("a?b@c") == "a?b@c"
