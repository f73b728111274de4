"""Rows 17, 20 and 30: a head lost with its disk; a storage path that fails, or where files are damaged."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.faults.conftest import MakeSandbox
from tests.faults.invariants import Table, check, interrupted_steps, table
from tests.faults.plan import Fault
from tests.faults.runs import Answer, Driver, OnRay
from tests.faults.sandbox import NAME, Sandbox
from tests.faults.summary import Row
from tests.s3 import BUCKET, S3, SECRET, Trouble, serve

pytestmark = [
    pytest.mark.timeout(1500),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with serve() as s3:
        yield s3


@pytest.fixture
def s3(server: S3) -> S3:
    """A bucket that is as good as new."""
    server.troubles.clear()
    for key in server.objects():
        server.client.delete_object(Bucket=BUCKET, Key=key)
    return server


STORAGE = ("--storage-path", f"s3://{BUCKET}/all")


def end(sandbox: Sandbox, driver: Driver, code: int | None = None) -> Answer:
    """As `Sandbox.ended`, with time for the hundreds of requests of a sweep on a busy machine."""
    return sandbox.ended(driver, code, timeout_s=500)


def lose_head(sandbox: Sandbox, uncopied: int | None = None) -> None:
    """The machine is gone; the next has an empty folder. The end of trial ``uncopied`` was in the lost study alone."""
    results, oracle = sandbox.folder / "results", sandbox.folder / "oracle.jsonl"
    sandbox.looks.clear()
    lost = [event for event in sandbox.events("committed") if event["trial"] == uncopied]
    oracle.write_text("".join(json.dumps(event) + "\n" for event in sandbox.events() if event not in lost))
    shutil.rmtree(results)
    results.mkdir()
    shutil.copy(sandbox.toys.mlflow, results / "mlflow.db")


def go_on(sandbox: Sandbox, s3: S3, row: Row, expected: Table, *, is_fallback: bool = False) -> Answer:
    """Resume from the storage alone; then everything must be as if nothing had happened. Gives the word of `fsck`."""
    answer = end(sandbox, sandbox.resume(options=STORAGE, **s3.environment), code=0)
    row.tally = check(sandbox, is_fallback=is_fallback)
    assert table(sandbox) == expected, "I8"
    assert SECRET not in answer.out + answer.err + (sandbox.sweep / "sweep.yaml").read_text()
    found = sandbox.start(sandbox.folder, sandbox.plan(), ["fsck", NAME], s3.environment).finish(300)
    assert found.code == 0 or is_fallback, found.out + found.err
    return found


@pytest.mark.ray
def test_quick(make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, s3: S3) -> None:
    sandbox, named = make(), row(30, "head lost with its disk, gone on with from S3", "after-report, trial 5")
    fault = Fault("after-report", "kill", {"trial": 5, "epoch": 2})  # by then there is a copy
    end(sandbox, sandbox.begin(fault, options=STORAGE, **s3.environment))
    lose_head(sandbox)
    go_on(sandbox, s3, named, uninterrupted)
    assert named.tally is not None
    assert named.tally.steps <= interrupted_steps(1)


PLACES: Mapping[str, Mapping[str, int]] = {
    "before-ask": {},
    "after-start": {"trial": 0},
    "before-report": {"trial": 2, "epoch": 1},
    "before-tell": {"trial": 0},
    "after-tell": {"trial": 5},
}


@pytest.mark.faults
@pytest.mark.parametrize("place", PLACES)
def test_a_head_is_lost(make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, s3: S3, place: str) -> None:
    """Where its study was not copied yet, the same is asked for again; who was trained to the end does no step more."""
    sandbox, named = make(), row(30, "head lost with its disk, gone on with from S3", place)
    end(sandbox, sandbox.begin(Fault(place, "kill", PLACES[place], times=1), options=STORAGE, **s3.environment))
    lose_head(sandbox, uncopied=5 if place == "after-tell" else None)
    if not s3.objects("all/toy/copies"):  # then nothing had begun
        end(sandbox, sandbox.begin(options=STORAGE, **s3.environment), code=0)
        named.tally = check(sandbox)
        assert table(sandbox) == uninterrupted, "I8"
        return
    go_on(sandbox, s3, named, uninterrupted)


@pytest.mark.faults
@pytest.mark.parametrize("at", ["before-upload", "before-list"])
def test_a_worker_dies_while_it_copies(
    make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, s3: S3, at: str
) -> None:
    sandbox, named = make(), row(20, "worker killed while it uploads", at)
    end(sandbox, sandbox.begin(Fault(at, "kill", {"trial": 2}), options=STORAGE, **s3.environment), code=0)
    named.tally = check(sandbox)
    assert table(sandbox) == uninterrupted, "I8"
    lose_head(sandbox)
    go_on(sandbox, s3, named, uninterrupted)


@pytest.mark.faults
@pytest.mark.parametrize("what", ["503", "reset"])
def test_the_storage_has_a_bad_day(
    make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, s3: S3, what: str
) -> None:
    sandbox, named = make(), row(17, f"S3 answers {what}", "storms in PUT, GET and LIST")
    s3.troubles += [Trouble("PUT", "trials/0001", what, 5), Trouble("PUT", "copies", what, 5)]
    s3.troubles += [Trouble("PUT", "owners", what, 3), Trouble("GET", "owners", what, 5)]
    end(sandbox, sandbox.begin(options=STORAGE, **s3.environment), code=0)
    assert sum(trouble.times for trouble in s3.troubles) == 0
    named.tally = check(sandbox)
    assert table(sandbox) == uninterrupted, "I8"
    lose_head(sandbox)
    go_on(sandbox, s3, named, uninterrupted)


@pytest.mark.faults
@pytest.mark.parametrize("what", ["no such bucket", "403", "keys in the address"])
def test_a_storage_path_that_cannot_be_used(make: MakeSandbox, row: Callable[..., Row], s3: S3, what: str) -> None:
    sandbox, named = make(), row(17, f"S3: {what}", "start")
    places = {"no such bucket": "s3://absent/x", "keys in the address": f"s3://key:{SECRET}@{BUCKET}/x"}
    s3.troubles += [Trouble("PUT", "", "403", 1000)] if what == "403" else []
    storage = ("--storage-path", places.get(what, f"s3://{BUCKET}/x"))
    answer = end(sandbox, sandbox.begin(options=storage, **s3.environment), code=2 if "keys" in what else 69)
    named.remark = answer.cause.removeprefix("dmlray: ")
    assert {"no such bucket": "there is no such bucket", "403": "refuses access"}.get(
        what, "without keys"
    ) in answer.cause
    assert SECRET not in answer.out + answer.err
    assert not sandbox.sweep.exists()


@pytest.mark.faults
@pytest.mark.parametrize("how", ["altered", "cut", "gone"])
def test_copies_are_damaged(make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, s3: S3, how: str) -> None:
    """The newest study and the newest checkpoint of the trial that ran: the ones before them are gone on from."""
    sandbox, named = make(), row(21, f"copies {how} in S3, head lost", "newest study, newest checkpoint")
    fault = Fault("after-report", "kill", {"trial": 5, "epoch": 2})  # the others end before
    end(sandbox, sandbox.begin(fault, options=STORAGE, **s3.environment))
    lose_head(sandbox)
    newest = max(key for key in s3.objects("all/toy/trials") if ".safetensors." in key)
    for key in (newest, max(s3.objects("all/toy/copies"))):
        data = bytearray(s3.read(key))
        data[len(data) // 2] ^= 1
        s3.write(key, bytes(data if how == "altered" else data[: len(data) // 2]))
        if how == "gone":
            s3.client.delete_object(Bucket=BUCKET, Key=key)
    found = go_on(sandbox, s3, named, uninterrupted, is_fallback=True)
    places = [line.split(": ")[0] for line in found.out.splitlines()]
    assert all(place.startswith(f"s3://{BUCKET}/all/toy/") for place in places), (
        "nothing of the study or its trials here"
    )
    assert len(places) <= (0 if how == "gone" else 1), "the damaged list may be one of the two that are kept"


@pytest.mark.faults
def test_data_from_s3(make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, s3: S3, tmp_path: Path) -> None:
    sandbox, named = make(), row(30, "head lost, data and sweep on S3", "after-report, trial 2")
    for path in sandbox.toys.data.rglob("*.*"):
        s3.write(f"set/{path.relative_to(sandbox.toys.data)}", path.read_bytes())
    environment = s3.environment | {"DMLRAY_CACHE": str(tmp_path / "cache")}
    options = (*STORAGE, "--data", f"s3://{BUCKET}/set")
    end(sandbox, sandbox.begin(Fault("after-report", "kill", {"trial": 2, "epoch": 1}), options=options, **environment))
    lose_head(sandbox)
    shutil.rmtree(tmp_path / "cache")
    end(sandbox, sandbox.resume(options=STORAGE, **environment), code=0)
    named.tally = check(sandbox)
    assert table(sandbox) == uninterrupted, "I8"
    words = ["ensemble", NAME, "--top", "2", "--json"]
    chosen = sandbox.start(sandbox.folder, sandbox.plan(), words, environment).finish(300)
    assert chosen.code == 0, chosen.err
    lose_head(sandbox)
    for again in (["fetch", NAME, *STORAGE], words, ["fsck", NAME, "--repair"], ["report", NAME], ["top", NAME]):
        answer = sandbox.start(sandbox.folder, sandbox.plan(), again, environment).finish(300)
        assert answer.code == 0, f"{again}: {answer.err}"
        assert again is not words or answer.out == chosen.out


@pytest.mark.faults
def test_on_ray(make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, s3: S3) -> None:
    """Workers get their keys from the environment in which Ray was started."""
    sandbox, named = make(OnRay(None, {})), row(30, "head lost with its disk, gone on with from S3", "trial 1", "Ray")
    fault = Fault("after-report", "kill", {"trial": 1, "epoch": 1})
    end(sandbox, sandbox.begin(fault, options=STORAGE, **s3.environment))
    lose_head(sandbox)
    end(sandbox, sandbox.resume(options=STORAGE, **s3.environment), code=0)
    named.tally = check(sandbox)
    assert table(sandbox) == uninterrupted, "I8"
