"""Rows 17, 20 and 30: a head is lost with all that it had; the storage path fails, or what lies there is damaged."""

import shutil
from collections.abc import Callable, Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.faults.conftest import MakeSandbox
from tests.faults.invariants import Table, check, interrupted_steps, table
from tests.faults.plan import Fault
from tests.faults.sandbox import Sandbox
from tests.faults.summary import Row

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
SECRET = "a-secret-that-nobody-may-see"


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """The environment by which drivers reach a bucket ``sweeps``."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": SECRET}
    boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys).create_bucket(Bucket="sweeps")
    yield {
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        **{name.upper(): value for name, value in keys.items()},
    }
    server.stop()


def lose_head(sandbox: Sandbox) -> None:
    """The machine is gone: nothing is left of its folder but an empty one on the next."""
    shutil.rmtree(sandbox.folder / "results")
    (sandbox.folder / "results").mkdir()
    shutil.copy(sandbox.toys.mlflow, sandbox.folder / "results/mlflow.db")


@pytest.mark.ray
def test_quick(make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, s3: dict[str, str]) -> None:
    sandbox, named = make(), row(30, "head lost with its disk, gone on with from S3", "trial 2, epoch 1")
    storage = ("--storage-path", f"s3://sweeps/{sandbox.folder.name}")
    sandbox.ended(sandbox.begin(Fault("after-report", "kill", {"trial": 1, "epoch": 1}), options=storage, **s3))
    lose_head(sandbox)
    sandbox.ended(sandbox.resume(options=storage, **s3), code=0)
    named.tally = check(sandbox)
    assert table(sandbox) == uninterrupted, "I8"
    assert named.tally.steps <= interrupted_steps(1)
