"""The function that Ray Train runs on each slot's workers: one trial after another, for the life of the sweep."""

import gc
import threading
import traceback
from contextlib import suppress
from typing import Any, Protocol

import ray
import ray.train.torch
import torch
from ray.train.collective import broadcast_from_rank_zero

from dmlray.errors import DmlrayError
from dmlray.process import Process
from dmlray.train.channel import Presence, TrialEnd
from dmlray.train.distributed import Peers
from dmlray.train.limits import ERROR_FILE, Overdue, Watch, cause_of_death, guarded
from dmlray.train.task import EpochReport, TrialOutcome, TrialTask

_TOGETHER = ("nan", "bad_config")  # reasons for which several workers end a trial at the same step


class Report(Protocol):
    """Hands a report over; True to train on."""

    def __call__(self, report: EpochReport, /) -> bool: ...


class Runner(Protocol):
    """Trains a task on one worker, such as `train.trial.run_trial`."""

    def __call__(
        self, task: TrialTask, report: Report, device: torch.device, *, peers: Peers, watch: Watch
    ) -> TrialOutcome: ...


def serve_trials(settings: dict[str, Any]) -> None:
    """Ray Train's worker function: take tasks from ``settings["channel"]`` and train each with ``settings["runner"]``.

    A user error ends its trial and the worker goes on. Anything else (a CUDA error poisons its process), or a node that
    is about to go, ends the trial and the process; Ray Train starts a clean one. An error that one of several workers
    meets alone ends all of them, since the others wait for it.
    """
    channel = settings["channel"]
    context = ray.train.get_context()
    peers = Peers(context.get_world_rank(), context.get_world_size())
    here = ray.get_runtime_context()
    ray.get(channel.arrive.remote(Presence(peers.rank, Process.this(), here.get_node_id(), here.current_actor)))
    notice = _listen(channel)
    gc.freeze()  # of what is imported nothing goes: looking through it took a quarter of a second after each trial
    while (task := _next_task(channel, peers)) is not None:
        end, error = _train(task, settings["runner"], channel, peers, notice)
        if peers.is_first or (end.outcome is None and end.reason != "preempted"):
            ray.get(channel.end.remote(task.number, end, Process.this()))
        if error is not None and not (isinstance(error, DmlrayError) and _goes_on(end, peers)):
            raise error
        del error  # its traceback holds the trial's model and batches
        _forget_trial()


def _goes_on(end: TrialEnd, peers: Peers) -> bool:
    """Whether a worker is good for another trial after a user error; not where its node is about to go."""
    return end.reason != "preempted" and (peers.size == 1 or end.reason in _TOGETHER)


def _listen(channel: Any) -> threading.Event:
    """Set once the slot says that this worker must leave."""
    notice = threading.Event()

    def wait() -> None:
        with suppress(ray.exceptions.RayError):  # the slot ends first
            ray.get(channel.notice.remote(Process.this()))
            notice.set()

    threading.Thread(target=wait, name="notice", daemon=True).start()
    return notice


def _next_task(channel: Any, peers: Peers) -> TrialTask | None:
    """The first worker's next task, for all of them; None when there will be no more."""
    task: TrialTask | None = ray.get(channel.next_task.remote(Process.this())) if peers.is_first else None
    if peers.size > 1 and broadcast_from_rank_zero(task is None):  # waits for ever, as torch.distributed would not
        return None
    return peers.agree(task)


def _train(
    task: TrialTask, runner: Runner, channel: Any, peers: Peers, notice: threading.Event
) -> tuple[TrialEnd, Exception | None]:
    """How the trial ended, and the error that ended it."""
    if overdue := cause_of_death(task.limits, task.directory) if peers.is_first else None:
        return TrialEnd(reason=overdue.reason, message=overdue.message), None
    watch = Watch(task.limits, must_leave=notice.is_set)

    def report(epoch: EpochReport) -> bool:
        with watch.paused():
            verdict: bool = ray.get(channel.report.remote(task.number, epoch, Process.this()))
            return verdict

    def tell(overdue: Overdue) -> None:
        end = TrialEnd(reason=overdue.reason, message=overdue.message)
        ray.get(channel.end.remote(task.number, end, Process.this()))

    try:
        with guarded(watch, task.directory, tell):
            outcome = runner(task, report, ray.train.torch.get_device(), peers=peers, watch=watch)
            return TrialEnd(outcome=outcome), None
    except DmlrayError as error:
        return TrialEnd(reason=getattr(error, "reason", "error"), message=str(error)), error
    except Exception as error:
        reason = "host_oom" if isinstance(error, MemoryError) else "error"
        return TrialEnd(reason=reason, message=_keep_traceback(task, error)), error


def _keep_traceback(task: TrialTask, error: Exception) -> str:
    """One sentence for the study; the whole traceback goes to the trial's folder, if that can be written."""
    sentence = "".join(traceback.format_exception_only(error)).strip()
    with suppress(OSError):
        task.directory.mkdir(parents=True, exist_ok=True)
        (task.directory / ERROR_FILE).write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return f"{sentence} (see {ERROR_FILE} in the trial's folder)"


def _forget_trial() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
