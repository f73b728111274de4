"""`dmlray status --watch --address`: the head watches the sweep, this side prints what it says."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from typer.testing import CliRunner, Result

from dmlray.cli.app import app
from dmlray.cluster_jobs import Cluster
from dmlray.errors import UnavailableError
from tests.cluster.test_jobs import AT, FakeHead


@dataclass
class WatchedHead(FakeHead):
    """Its jobs' logs come in ``pieces``, after which they end, or ``failure`` is raised."""

    pieces: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        for piece in self.pieces:
            yield piece
        if self.failure is not None:
            raise self.failure

    def stop_job(self, job_id: str) -> bool:
        self.stopped.append(job_id)
        return True


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> WatchedHead:
    head = WatchedHead(
        pieces=["Running entrypoint: echo dmlray-answer-fol", "lows; exec\ndmlray-answer-", "follows\ntri"]
    )
    head.pieces += ["al   0 started\n", "first: finished\n"]
    monkeypatch.setattr("dmlray.cluster_jobs.connect", lambda address, insecure: Cluster(address, head))
    return head


def watch(*words: str) -> Result:
    return CliRunner().invoke(app, ["status", "first", "--watch", "--address", AT, *words])


def test_what_the_head_says_is_printed(head: WatchedHead) -> None:
    done = watch("--results", "/mnt/r")
    assert (done.exit_code, done.stdout) == (0, "trial   0 started\nfirst: finished\n")
    assert head.jobs[0].entrypoint.endswith("exec python -m dmlray status first --watch --results /mnt/r")
    assert not head.stopped


def test_ctrl_c_ends_the_watching_there_too(head: WatchedHead) -> None:
    head.failure = KeyboardInterrupt()
    assert watch().exit_code == 0
    assert head.stopped == [head.jobs[0].submission_id]


def test_no_such_sweep_there(head: WatchedHead) -> None:
    head.end = ("FAILED", 66)
    assert watch().exit_code == 66


def test_a_lost_connection(head: WatchedHead) -> None:
    head.failure = RuntimeError("WebSocket connection closed")
    error = watch().exception
    assert isinstance(error, UnavailableError)
    assert str(error).endswith("WebSocket connection closed (the sweep goes on)")
