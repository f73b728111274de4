"""Row 38: MLflow is dead, mute or broken; the sweep does not care, and MLflow gets it all afterwards."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.faults.conftest import MakeSandbox
from tests.faults.invariants import Table, check, mirrors, mlflow_runs, table
from tests.faults.summary import Row

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
CLOSE_S = 45.0  # a sweep waits at most 30 s for MLflow, once, at its end


@contextmanager
def dead() -> Iterator[int]:
    """A port where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    yield port


@contextmanager
def mute() -> Iterator[int]:
    """Takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        port: int = listening.getsockname()[1]
        yield port


@contextmanager
def answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


class Erring(BaseHTTPRequestHandler):
    """Answers 500 to everything."""

    def do_GET(self) -> None:
        self.send_error(500)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Not on the test's stderr."""


class Babbling(Erring):
    """Answers 200 with what is no JSON."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>It works!</html>")

    do_POST = do_GET  # noqa: N815


SERVERS = {
    "dead": dead,
    "mute": mute,
    "answering 500": lambda: answering(Erring),
    "answering nonsense": lambda: answering(Babbling),
}


@pytest.mark.parametrize("name", SERVERS)
def test_mlflow_is(make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, name: str) -> None:
    named = row(38, f"MLflow {name}", "throughout")
    with SERVERS[name]() as port:
        sandbox = make(tracking=f"http://127.0.0.1:{port}")
        driver = sandbox.begin()
        sandbox.wait_for("committed", trial=5)
        trained = time.monotonic()
        answer = sandbox.ended(driver, code=0)
    named.remark = f"{time.monotonic() - trained:.0f} s at the end"
    assert time.monotonic() - trained < CLOSE_S
    assert "not up to date in MLflow" in answer.err
    assert table(sandbox) == uninterrupted, "I8"
    uri = f"sqlite:///{sandbox.toys.mlflow.parent / name.replace(' ', '-')}.db"
    sandbox.ended(sandbox.resume(options=("--tracking-uri", uri)), code=0)
    named.tally = check(sandbox)
    mirrors(sandbox.trials(), mlflow_runs(uri))
