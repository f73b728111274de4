"""What a spot machine does when the cloud says that it will go: against servers that answer as the clouds document."""

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cluster.files import CLUSTER, load

pytestmark = pytest.mark.thorough
ANSWERS = {  # (method, path, header) -> answer
    "aws": {
        ("PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds"): "TOKEN",
        ("GET", "/latest/meta-data/spot/instance-action", "X-aws-ec2-metadata-token"): '{"action": "terminate"}',
    },
    "gcp": {("GET", "/computeMetadata/v1/instance/preempted", "Metadata-Flavor"): "TRUE"},
}


class Metadata(ThreadingHTTPServer):
    """Answers what ``answers`` has; anything else, or without its header, with 404."""

    def __init__(self, answers: dict[tuple[str, str, str], str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = answers


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Metadata)
        found = [
            answer
            for (method, path, header), answer in self.server.answers.items()
            if (method, path) == (self.command, self.path) and header in self.headers
        ]
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write("".join(found).encode())

    do_PUT = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Not on the test's stderr."""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH whose `ray` writes down what it is asked for."""
    ray = tmp_path / "ray"
    ray.write_text(f"#!/bin/sh\necho $@ >> {tmp_path}/asked\n")
    ray.chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


def run(cloud: str, answers: dict[tuple[str, str, str], str], path: str, timeout_s: float) -> bool:
    """Whether it saw the notice within the time."""
    with Metadata(answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [sys.executable, str(CLUSTER / "spot_notice.py"), cloud, "10.0.0.1:6379"]
        command += ["--metadata", f"http://127.0.0.1:{server.server_port}"]
        try:
            return subprocess.run(command, env={"PATH": path}, timeout=timeout_s, check=False).returncode == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            server.shutdown()


@pytest.mark.parametrize(("cloud", "left_s"), [("aws", 110), ("gcp", 25)])
def test_a_notice_drains_the_node(cloud: str, left_s: int, path: str, tmp_path: Path) -> None:
    assert run(cloud, ANSWERS[cloud], path, 60)
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith("drain-node --address 10.0.0.1:6379 --reason DRAIN_NODE_REASON_PREEMPTION")
    assert asked.endswith(f"--deadline-remaining-seconds {left_s}\n")


@pytest.mark.parametrize(
    ("cloud", "answers"), [("aws", {}), ("gcp", {next(iter(ANSWERS["gcp"])): "FALSE"})], ids=["aws", "gcp"]
)
def test_without_a_notice_nothing_is_drained(
    cloud: str, answers: dict[tuple[str, str, str], str], path: str, tmp_path: Path
) -> None:
    assert not run(cloud, answers, path, 3)
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize(("name", "cloud"), [("gpu", "aws"), ("gcp", "gcp")])
def test_spot_machines_run_it(name: str, cloud: str) -> None:
    commands = load(name)["worker_start_ray_commands"]
    assert f"spot_notice.py {cloud} $RAY_HEAD_IP:6379" in commands[-1]
