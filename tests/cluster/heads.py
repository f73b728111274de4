"""Ray heads and nodes that tests start and end without touching any other Ray."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def head(home: Path, mode: str, *options: str, port: int = 0, **variables: str) -> Iterator[str]:
    """A Ray head of its own; ended by its own process group, never by `ray stop`, which ends every Ray of the user."""
    port = port or free_port()
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
    command += ["--include-dashboard=false", "--object-store-memory=80000000"]
    command += ["--disable-usage-stats", f"--temp-dir={home}/r", *options]
    with _started(command, environment(home) | {"RAY_AUTH_MODE": mode} | variables, home / "head.log"):
        yield f"127.0.0.1:{port}"


@contextmanager
def node(home: Path, address: str, token: str, **variables: str) -> Iterator[None]:
    """One more node of the head at ``address``, with a CPU and an environment of its own."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={address}", "--block", "--num-cpus=1"]
    command += ["--object-store-memory=80000000", "--disable-usage-stats"]
    with _started(command, environment(home, token) | {"RAY_AUTH_MODE": "token"} | variables, home / "node.log"):
        yield


@contextmanager
def _started(command: list[str], env: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("w") as out:
        started = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            deadline = time.monotonic() + 90
            while "Ray runtime started" not in log.read_text():
                assert started.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.3)
            yield
        finally:
            os.killpg(started.pid, signal.SIGTERM)
            try:
                started.wait(40)  # Ray drains for 30 s
            except subprocess.TimeoutExpired:
                os.killpg(started.pid, signal.SIGKILL)
                started.wait()


def environment(home: Path, token: str | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return kept | {"HOME": str(home)} | ({"RAY_AUTH_TOKEN": token} if token else {})
