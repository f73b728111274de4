"""Commands that a cluster runs itself, as Ray jobs: they go on when who started them goes away.

Ray's Jobs API takes a folder (`stage_project`) and a command, over the HTTP address of the head's dashboard.
"""

import asyncio
import logging
import os
import re
import shlex
import shutil
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dmlray.cluster_token import check_dashboard
from dmlray.errors import BusyError, DmlrayError, UnavailableError, UsageError

PROJECT_BYTES = 20 << 20
SPACE_FILE = "space.yaml"
_PACKAGE = Path(__file__).parent
_SWEEP, _RESULTS = "dmlray.sweep", "dmlray.results"  # keys of a job's metadata
_ENDED = ("SUCCEEDED", "STOPPED", "FAILED")
_ANSWER = "dmlray-answer-follows"  # Ray writes lines of its own into a job's log
_MARK = f"{_ANSWER}\n"
_LOOK_S, _ANSWER_S = 0.5, 120.0
_TALKATIVE = (  # loggers that tell of every upload and every end
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)


class JobInfo(Protocol):
    """What is used of Ray's JobDetails."""

    submission_id: str | None
    status: Any
    message: str | None
    metadata: dict[str, str] | None
    driver_exit_code: int | None


class Client(Protocol):
    """What is used of Ray's JobSubmissionClient."""

    def submit_job(
        self, *, entrypoint: str, runtime_env: dict[str, Any], metadata: dict[str, str], submission_id: str
    ) -> str: ...

    def list_jobs(self) -> Sequence[JobInfo]: ...

    def get_job_info(self, job_id: str) -> JobInfo: ...

    def get_job_logs(self, job_id: str) -> str: ...

    def tail_job_logs(self, job_id: str) -> AsyncIterator[str]: ...

    def stop_job(self, job_id: str) -> bool: ...


@dataclass(frozen=True)
class Ended:
    """How a job ended: SUCCEEDED, STOPPED or FAILED, its exit code where the command itself ended, Ray's own words."""

    status: str
    exit_code: int | None
    message: str


@dataclass(frozen=True)
class Cluster:
    """The cluster whose dashboard is at ``address``."""

    address: str
    client: Client

    def submit_sweep(self, sweep: str, words: Sequence[str], results: str | None, space: Path | None) -> str:
        """Have the cluster run the command ``words`` for a sweep; gives the job's id.

        ``results`` is a folder there; None: its DMLRAY_RESULTS. Raises BusyError while a job runs that sweep,
        UsageError for a project that is too large, UnavailableError when the cluster does not take it.
        """
        with _answering(self.address), stage_project(space) as project:
            jobs = self._jobs_of(sweep)
            for job in jobs:
                if _status(job) not in _ENDED:
                    raise BusyError(f"sweep {sweep} runs there already; {self.how_to_go_on(str(job.submission_id))}")
            number = 1 + max((int(str(job.submission_id).split("-")[1]) for job in jobs), default=0)
            return self.client.submit_job(
                entrypoint=entrypoint(words, results),
                runtime_env={"working_dir": str(project)},
                metadata={_SWEEP: sweep, _RESULTS: results or ""},
                submission_id=f"dmlray-{number}-{sweep}",  # of two that are sent at once, Ray refuses one
            )

    def follow(self, job: str, write: Callable[[str], object]) -> Ended:
        """``write`` what the job prints, from its start, until it ends.

        Raises UnavailableError when the connection is lost.
        """

        with _answering(self.address, f"the sweep goes on; {self.how_to_go_on(job)}"):
            return self._followed(job, write)

    def answer_of(self, sweep: str, words: Sequence[str], results: str | None) -> tuple[Ended, str]:
        """Run a short command about ``sweep`` on the head; gives its end and all that it printed.

        ``results`` None: where the sweep's job has them. Raises UnavailableError after 2 minutes without an end.
        """
        with _answering(self.address):
            job = self._ask(sweep, words, results)
            ended = self._ended(job, _ANSWER_S)
            return ended, self.client.get_job_logs(job).rpartition(_MARK)[2]

    def watch(self, sweep: str, words: Sequence[str], results: str | None, write: Callable[[str], object]) -> Ended:
        """Run a command about ``sweep`` on the head, and ``write`` what it prints as it comes.

        Interrupted, it stops that command there. Raises UnavailableError when the connection is lost.
        """
        with _answering(self.address, "the sweep goes on"):
            job = self._ask(sweep, words, results)
            try:
                return self._followed(job, _Answer(write))
            except KeyboardInterrupt:
                self.client.stop_job(job)
                raise

    def how_to_go_on(self, job: str) -> str:
        """The commands that follow a job's log, and that stop it."""
        at = f"--address {self.address} {job}"
        return f"follow it with `ray job logs -f {at}`, stop it with `ray job stop {at}`"

    def _ask(self, sweep: str, words: Sequence[str], results: str | None) -> str:
        """Submit a command about ``sweep``, whose answer comes after _MARK; gives the job's id."""
        known = [(job.metadata or {}).get(_RESULTS) for job in self._jobs_of(sweep)]
        with stage_project(None) as project:
            return self.client.submit_job(
                entrypoint=f"echo {_ANSWER}; {entrypoint(words, results or next(filter(None, known), None))}",
                runtime_env={"working_dir": str(project)},
                metadata={},
                submission_id=f"dmlray-{words[0]}-{uuid.uuid4().hex[:8]}",
            )

    def _followed(self, job: str, write: Callable[[str], object]) -> Ended:
        async def tail() -> None:
            async for text in self.client.tail_job_logs(job):
                write(text)

        asyncio.run(tail())
        return self._ended(job, 60.0)

    def _jobs_of(self, sweep: str) -> list[JobInfo]:
        pattern = rf"dmlray-\d+-{re.escape(sweep)}"
        return [job for job in self.client.list_jobs() if re.fullmatch(pattern, job.submission_id or "")]

    def _ended(self, job: str, patience_s: float) -> Ended:
        deadline = time.monotonic() + patience_s
        while _status(info := self.client.get_job_info(job)) not in _ENDED:
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"job {job} has not ended within {patience_s:g} s: is the head's node overloaded?"
                )
            time.sleep(_LOOK_S)
        return Ended(_status(info), info.driver_exit_code, info.message or "")


class _Answer:
    """Passes on what comes after _MARK, which may arrive in pieces."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write, self._before, self._begun = write, "", False

    def __call__(self, text: str) -> None:
        if not self._begun:
            self._before, mark, text = (self._before + text).partition(_MARK)
            self._begun = bool(mark)
        if text:
            self._write(text)


def connect(address: str, insecure: bool) -> Cluster:
    """The cluster whose dashboard is at ``address`` (http:// or https://), which must ask for a token.

    Raises as `cluster_token.check_dashboard` does.
    """
    check_dashboard(address, insecure)
    os.environ["RAY_API_SERVER_ADDRESS"] = address  # Ray lets RAY_ADDRESS override what it is given
    from ray.job_submission import JobSubmissionClient

    for logger in _TALKATIVE:
        logging.getLogger(logger).setLevel(logging.ERROR)
    with _answering(address):
        return Cluster(address, JobSubmissionClient(address))


def entrypoint(words: Sequence[str], results: str | None) -> str:
    """The shell command of a job. Its working folder goes with the job, so results must lie elsewhere."""
    place = '"${DMLRAY_RESULTS:-$HOME/results}"' if results is None else shlex.quote(results)
    return f"exec python -m dmlray {shlex.join(words)} --results {place}"


@contextmanager
def stage_project(space: Path | None, package: Path = _PACKAGE) -> Iterator[Path]:
    """A folder with what a job needs: this very package and the search space, as ``space.yaml``.

    Raises UsageError where they exceed 20 MiB, which code does not.
    """
    with tempfile.TemporaryDirectory(prefix="dmlray-project-") as folder:
        project = Path(folder) / "project"
        shutil.copytree(package, project / package.name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        if space is not None:
            shutil.copyfile(space, project / SPACE_FILE)
        sizes = {path: path.stat().st_size for path in project.rglob("*") if path.is_file()}
        check_size({str(path.relative_to(project)): size for path, size in sizes.items()})
        yield project


def check_size(sizes: Mapping[str, int]) -> None:
    """Raise UsageError, naming the largest file, where a project of files of ``sizes`` bytes is no code any more."""
    total = sum(sizes.values())
    if total > PROJECT_BYTES:
        largest = max(sizes, key=lambda name: sizes[name])
        raise UsageError(
            f"the project has {total / 2**20:.0f} MiB, more than the {PROJECT_BYTES >> 20} that are uploaded; the "
            f"largest file is {largest} ({sizes[largest] / 2**20:.0f} MiB): move it out of the package"
        )


@contextmanager
def _answering(address: str, then: str = "") -> Iterator[None]:
    """What Ray's client raises becomes one sentence."""
    try:
        yield
    except Exception as error:
        is_of_client = type(error).__module__.split(".")[0] in ("ray", "aiohttp")
        if isinstance(error, DmlrayError) or not (is_of_client or isinstance(error, RuntimeError | OSError)):
            raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        words = lines[-1 if "Traceback" in lines[0] else 0]  # the head's own
        raise UnavailableError(f"Ray's jobs at {address}: {words}{f' ({then})' if then else ''}") from error


def _status(job: JobInfo) -> str:
    return str(getattr(job.status, "value", job.status))
