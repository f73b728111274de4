"""Sweeps handed to a cluster as jobs: against a Jobs API that is a list, and once against Ray's own."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dmlray.cli.app import app
from dmlray.cluster_jobs import Cluster, check_size, entrypoint, stage_project
from dmlray.cluster_token import check_dashboard
from dmlray.errors import BusyError, DmlrayError, InterruptedSweepError, UnavailableError, UsageError
from tests.cluster.heads import environment, free_port, head
from tests.data.videos import VIDEO, random_block, write_dataset

AT = "http://127.0.0.1:8265"
SPACE = "trials: 1\nspace: {epochs: 1, optimizer: {kind: adam, learning_rate: {float: [0.01, 0.1]}}}\n"


@dataclass
class Job:
    submission_id: str
    entrypoint: str
    files: set[str]
    metadata: dict[str, str] | None
    status: str = "RUNNING"
    message: str | None = None
    driver_exit_code: int | None = None


@dataclass
class FakeHead:
    """Ray's Jobs API as a list; a job prints ``log``, then ends as ``end`` says."""

    log: str = "trial 0 started\n"
    end: tuple[str, int | None] = ("SUCCEEDED", 0)
    failure: BaseException | None = None  # while the log is followed
    jobs: list[Job] = field(default_factory=list)

    def submit_job(
        self, *, entrypoint: str, runtime_env: dict[str, Any], metadata: dict[str, str], submission_id: str
    ) -> str:
        folder = Path(runtime_env["working_dir"])
        files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        self.jobs.append(Job(submission_id, entrypoint, files, metadata))
        if "status" in entrypoint:
            self._finish(self.jobs[-1])
        return submission_id

    def list_jobs(self) -> list[Job]:
        return self.jobs

    def get_job_info(self, job_id: str) -> Job:
        return next(job for job in self.jobs if job.submission_id == job_id)

    def get_job_logs(self, job_id: str) -> str:
        return f"Running entrypoint: echo dmlray-answer-follows; x\ndmlray-answer-follows\n{self.log}"

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        yield self.log
        if self.failure is not None:
            raise self.failure
        self._finish(self.get_job_info(job_id))

    def _finish(self, job: Job) -> None:
        job.status, job.driver_exit_code = self.end


def submit(cluster: Cluster, name: str = "first") -> str:
    return cluster.submit_sweep(name, ["search", "--name", name], None, None)


def test_a_sweep_that_runs_is_not_submitted_again() -> None:
    fake = FakeHead()
    cluster = Cluster(AT, fake)
    job = submit(cluster)
    with pytest.raises(
        BusyError, match=rf"follow it with `ray job logs -f --address {AT} {job}`, stop it with"
    ) as busy:
        submit(cluster)
    assert busy.value.exit_code == 73
    assert submit(cluster, "1-first") != job
    fake.jobs[0].status = "STOPPED"
    assert (job, submit(cluster)) == ("dmlray-1-first", "dmlray-2-first")


def test_a_job_takes_the_package_and_the_space_along(tmp_path: Path) -> None:
    fake, space = FakeHead(), tmp_path / "mine.yaml"
    space.write_text(SPACE)
    Cluster(AT, fake).submit_sweep("first", ["search", "--set", "a=b c"], "/mnt/my results", space)
    (job,) = fake.jobs
    assert {"space.yaml", "dmlray/__main__.py", "dmlray/sweep/session.py"} <= job.files
    assert not any("__pycache__" in name or name.startswith((".", "results", "tests")) for name in job.files)
    assert job.entrypoint == "exec python -m dmlray search --set 'a=b c' --results '/mnt/my results'"
    assert entrypoint(["status"], None).endswith('--results "${DMLRAY_RESULTS:-$HOME/results}"')


def test_a_project_that_is_no_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    with (tmp_path / "package" / "weights.bin").open("wb") as file:
        file.truncate(21 << 20)
    problem = "21 MiB, more than the 20 .* largest file is package/weights.bin"
    with pytest.raises(UsageError, match=problem), stage_project(None, tmp_path / "package"):
        pass
    check_size({"a": 20 << 20})


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeHead:
    fake = FakeHead()
    monkeypatch.setattr("dmlray.cluster_jobs.connect", lambda address, insecure: Cluster(address, fake))
    return fake


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def submit_by_command(tmp_path: Path, *words: str) -> Result:
    (tmp_path / "space.yaml").write_text(SPACE)
    return run("search", "--submit", "--name", "first", "--space", tmp_path / "space.yaml", *words)


def test_the_command_runs_there_as_it_was_typed(
    fake: FakeHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://this-machine:5000")  # what is not typed stays here
    typed = [
        "--data",
        "/mnt/d",
        "--grid",
        "--seed",
        "3",
        "--set",
        "space.epochs=2",
        "--set",
        "trials=4",
        "--hours",
        "2.5",
    ]
    done = submit_by_command(tmp_path, *typed, "--address", "http://head:8265")
    assert done.exit_code == 0, done.output
    words = fake.jobs[0].entrypoint.removeprefix("exec python -m dmlray search ").rpartition(" --results ")[0].split()
    assert sorted(words) == sorted(["--name", "first", "--space", "space.yaml", *typed])
    assert "the token too, is not encrypted" in done.stderr
    assert "sweep first is job dmlray-1-first there" in done.stderr
    assert done.stderr.endswith(fake.log)


def test_interrupting_ends_the_following_alone(fake: FakeHead, tmp_path: Path) -> None:
    fake.failure = KeyboardInterrupt()
    done = submit_by_command(tmp_path, "--data", "/mnt/d")
    assert done.exit_code == 0
    assert "the sweep goes on; follow it with `ray job logs -f" in done.stderr
    assert fake.jobs[0].status == "RUNNING"


def test_a_lost_connection_is_told(fake: FakeHead, tmp_path: Path) -> None:
    fake.failure = RuntimeError("WebSocket connection closed unexpectedly with close code 1006")
    error = submit_by_command(tmp_path, "--data", "/mnt/d").exception
    assert isinstance(error, UnavailableError)
    assert "unexpectedly with close code 1006 (the sweep goes on; follow it with" in str(error)


@pytest.mark.parametrize(("end", "code"), [(("FAILED", 73), 73), (("FAILED", None), 69), (("FAILED", -9), 69)])
def test_the_exit_code_is_the_jobs(fake: FakeHead, tmp_path: Path, end: tuple[str, int | None], code: int) -> None:
    fake.end = end
    assert submit_by_command(tmp_path, "--data", "/mnt/d").exit_code == code


def test_a_stopped_sweep_can_be_resumed(fake: FakeHead, tmp_path: Path) -> None:
    fake.end = ("STOPPED", None)
    assert isinstance(submit_by_command(tmp_path, "--data", "/mnt/d").exception, InterruptedSweepError)
    fake.end = ("SUCCEEDED", 0)
    assert run("search", "--submit", "--resume", "first", "--trials", "9").exit_code == 0
    assert fake.jobs[1].entrypoint.startswith("exec python -m dmlray search --resume first --trials 9 --results")
    assert fake.jobs[1].submission_id == "dmlray-2-first"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--data", "results/data"], "--data results/data must be a place that the cluster's nodes see"),
        (["--data", "s3://key:secret@bucket/d"], "--data must be without keys"),
        (["--data", "/d", "--results", "mine"], "--results must be a folder on the cluster"),
        (["--data", "/d", "--set", "space.epochs=none"], "epochs"),
    ],
)
def test_what_cannot_be_is_refused_here(fake: FakeHead, tmp_path: Path, words: list[str], problem: str) -> None:
    error = submit_by_command(tmp_path, *words).exception
    assert isinstance(error, DmlrayError)
    assert problem in str(error)
    assert not fake.jobs


def test_status_is_asked_of_the_head(fake: FakeHead, tmp_path: Path) -> None:
    submit_by_command(tmp_path, "--data", "/d", "--results", "/mnt/r")
    fake.log = '{"version": 1}\n'
    done = run("status", "first", "--address", AT, "--json")
    assert json.loads(done.stdout) == {"version": 1}
    assert fake.jobs[1].entrypoint.endswith("exec python -m dmlray status first --json --results /mnt/r")
    fake.log, fake.end = "dmlray: no sweep here\n", ("FAILED", 66)
    done = run("status", "other", "--address", AT)
    assert (done.exit_code, done.stdout, done.stderr) == (66, "", fake.log)


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, str]]]:
    """An address that answers as the dictionary says: /api/version, with or without a token."""
    told = {"answer": '{"ray_version": "2.60.0"}', "token": ""}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Authorization", "")
            wanted = f"Bearer {told['token']}" if told["token"] else given
            self.send_response(200 if given == wanted else 403 if given else 401)
            self.end_headers()
            self.wfile.write(told["answer"].encode())

        def log_message(self, *words: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}", told
        found.shutdown()
        thread.join()


def test_an_open_dashboard_is_refused(server: tuple[str, dict[str, str]]) -> None:
    address, told = server
    with pytest.raises(UnavailableError, match=r"answers without a token.*--insecure"):
        check_dashboard(address, insecure=False)
    check_dashboard(address, insecure=True)
    told["answer"] = "hello"
    with pytest.raises(UnavailableError, match="is no dashboard of Ray"):
        check_dashboard(address, insecure=True)
    with pytest.raises(UnavailableError, match=r"no dashboard of Ray answers .*ssh -L 8265"):
        check_dashboard(f"http://127.0.0.1:{free_port()}", insecure=True)
    with pytest.raises(UsageError, match="takes the head's dashboard here"):
        check_dashboard("10.0.0.1:6379", insecure=True)


def test_a_closed_dashboard_wants_a_token(
    server: tuple[str, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, told = server
    told["token"] = "0123456789abcdef" * 2
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UnavailableError, match="asks for a token and there is none here"):
        check_dashboard(address, insecure=True)


def dmlray(home: Path, token: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "dmlray", *words],
        env=environment(home, token),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


TOKEN = "0123456789abcdef" * 2


@contextmanager
def head_with_jobs(home: Path) -> Iterator[str]:
    """A real head with a token; gives the address of its dashboard."""
    pytest.importorskip("aiohttp_cors", reason="a head has no dashboard without cluster/dashboard.txt")
    port = free_port()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    options = ["--num-cpus=1", "--include-dashboard=true", f"--dashboard-port={port}", "--dashboard-host=127.0.0.1"]
    with head(home, "token", *options, PATH=path, RAY_AUTH_TOKEN=TOKEN):
        yield f"http://127.0.0.1:{port}"


def submission(home: Path, address: str, data: Path, *words: str) -> list[str]:
    (home / "space.yaml").write_text(SPACE)
    where = ["search", "--submit", "--address", address, "--name", "first", "--data", str(data)]
    return [*where, "--space", str(home / "space.yaml"), *words]


@pytest.mark.ray
@pytest.mark.slow
def test_ray_runs_it(short: Path) -> None:
    """A head with a token, a job whose sweep fails at once for want of data, and the question for its status."""
    with head_with_jobs(short) as address:
        done = dmlray(short, TOKEN, *submission(short, address, short / "none"))
        assert done.returncode == 66, done.stderr
        assert f"{short}/none/train: no converted dataset" in done.stderr
        assert " INFO " not in done.stderr, done.stderr
        asked = dmlray(short, TOKEN, "status", "first", "--address", address, "--json")
        assert (asked.returncode, asked.stdout) == (66, ""), asked.stderr
        assert f"{short}/results/first: no sweep" in asked.stderr
        assert " INFO " not in asked.stderr, asked.stderr
        refused = dmlray(short, "f" * 32, "status", "first", "--address", address)
        assert "refuses the token that is here" in refused.stderr
        assert TOKEN not in done.stderr + asked.stderr + refused.stderr


@contextmanager
def begun(home: Path, *words: str) -> "Iterator[subprocess.Popen[str]]":
    """A command under way, killed at the end of the block if it is still there; its output is one pipe."""
    command = [sys.executable, "-m", "dmlray", *words]
    with subprocess.Popen(
        command, env=environment(home, TOKEN), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: "subprocess.Popen[str]", words: str) -> str:
    """What it prints, up to a line with these words."""
    assert process.stdout is not None
    text = ""
    while words not in text:
        line = process.stdout.readline()
        assert line, text
        text += line
    return text


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sweep_is_watched_from_elsewhere(short: Path) -> None:
    """Interrupted, the watching ends, here and there, and nothing else; left alone, it ends when the sweep stops."""
    for split, videos in (("train", 40), ("validation", 20)):
        write_dataset(short / "data", VIDEO, [[random_block(VIDEO, videos)]], split)
    watch = ["status", "first", "--watch", "--address"]
    with head_with_jobs(short) as address:
        endless = submission(short, address, short / "data", "--set", "space.epochs=100000")
        with begun(short, *endless) as sweep:
            read_until(sweep, "trial   0 epoch")
            with begun(short, *watch, address) as interrupted:
                read_until(interrupted, "trial   0 epoch")
                interrupted.send_signal(signal.SIGINT)
                assert interrupted.wait(60) == 0
            with begun(short, *watch, address) as watching:
                seen = read_until(watching, "trial   0 epoch")
                job(short, address, "stop", "dmlray-1-first")
                assert watching.wait(60) == 0
                seen += watching.stdout.read() if watching.stdout else ""
            told = sweep.communicate(timeout=60)[0]
        assert sweep.returncode == 75
        assert f"dmlray search --submit --address {address} --resume first" in told
        assert "first: interrupted" in seen
        assert " INFO " not in seen
        ends = dict(
            re.findall(
                r"submission_id='(dmlray-[^']+)', driver_info.*?status=<JobStatus.([A-Z]+)", job(short, address, "list")
            )
        )
        assert sorted(ends.values()) == ["STOPPED", "STOPPED", "SUCCEEDED"]
        assert TOKEN not in told + seen


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_stopped_sweep_goes_on_there(short: Path) -> None:
    """Submitted twice it is refused; stopped, it is left resumable, and resumed it ends."""
    for split, videos in (("train", 40), ("validation", 20)):
        write_dataset(short / "data", VIDEO, [[random_block(VIDEO, videos)]], split)
    with head_with_jobs(short) as address:
        words = submission(short, address, short / "data", "--trials", "1", "--set", "space.epochs=1500")
        with begun(short, *words) as sweep:
            read_until(sweep, "trial   0 epoch")
            again = dmlray(short, TOKEN, *words)
            assert again.returncode == 73, again.stderr
            assert "sweep first runs there already; follow it with" in again.stderr
            job(short, address, "stop", "dmlray-1-first")
            assert sweep.wait(60) == 75
        resume = ["search", "--submit", "--address", address, "--resume", "first"]
        with begun(short, *resume) as sweep:
            told = read_until(sweep, "ended by its 1 trials: 1 done")
            assert sweep.wait(60) == 0
        assert "trial   0 continued" in told


def job(home: Path, address: str, *words: str) -> str:
    """What `ray job` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", "job", words[0], "--address", address, *words[1:]],
        env=environment(home, TOKEN) | {"RAY_AUTH_MODE": "token"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout
