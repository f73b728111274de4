"""A Ray that answers without a token is not joined, unless the user insists."""

import subprocess
import sys
from pathlib import Path

import pytest

from dmlray.cluster_token import check_token
from dmlray.errors import UnavailableError, UsageError
from tests.cluster.heads import environment, free_port, head

JOIN = """
import sys
from dmlray.cluster import node_resources, ray_cluster
from dmlray.errors import UnavailableError
try:
    with ray_cluster("{address}", insecure={insecure}):
        import os, ray
        worker = ray.remote(num_cpus=0)(lambda: os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"])
        print("joined", len(node_resources()), ray.get(worker.remote()))
except UnavailableError as error:
    print(error)
"""


def join(address: str, home: Path, token: str | None = None, insecure: bool = False) -> str:
    code = JOIN.format(address=address, insecure=insecure)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(home, token),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.ray
def test_an_open_head_is_joined_by_those_only_who_insist(short: Path) -> None:
    with head(short, "disabled", "--num-cpus=1") as address:
        refused = join(address, short)
        assert f":{address.split(':')[1]} answers without a token" in refused
        assert "--insecure" in refused
        assert join(address, short, insecure=True) == "joined 1 1800\n"


@pytest.mark.ray
def test_a_closed_head_is_joined_by_those_who_have_its_token(short: Path) -> None:
    token = "0123456789abcdef" * 2
    (short / ".ray").mkdir()
    (short / ".ray" / "auth_token").write_text(token)
    with head(short, "token", "--num-cpus=1") as address:
        assert join(address, short) == "joined 1 1800\n"
        elsewhere = short / "elsewhere"
        elsewhere.mkdir()
        assert "asks for a token and there is none here" in join(address, elsewhere, insecure=True)
        wrong = join(address, elsewhere, token="f" * 32)
        assert "refuses the token that is here" in wrong
        assert "f" * 32 not in wrong


@pytest.mark.thorough
def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dmlray.cluster_token._PATIENCE_S", 5.0)
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(UnavailableError, match=f"no Ray answers at {address} within 5 s"):
        check_token(address, insecure=False)


def test_ray_client_is_refused_with_what_is_taken() -> None:
    with pytest.raises(UsageError, match="takes HOST:PORT of Ray's head, or auto"):
        check_token("ray://head:10001", insecure=True)
