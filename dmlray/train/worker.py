"""The function that Ray Train runs on each slot's worker: one trial after another, for the life of the sweep."""

import gc
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ray
import ray.train.torch
import torch

from dmlray.errors import DmlrayError
from dmlray.train.channel import TrialEnd
from dmlray.train.task import EpochReport, TrialOutcome, TrialTask

ERROR_FILE = "error.txt"

Report = Callable[[EpochReport], bool]
Runner = Callable[[TrialTask, Report, torch.device], TrialOutcome]


def serve_trials(settings: dict[str, Any]) -> None:
    """Ray Train's worker function: take tasks from ``settings["channel"]`` and train each with ``settings["runner"]``.

    A user error ends its trial and the worker goes on. Anything else (a CUDA error poisons its process) ends the trial
    and the process; Ray Train starts a clean one.
    """
    channel, runner = settings["channel"], settings["runner"]
    device = ray.train.torch.get_device()
    while True:
        task: TrialTask | None = ray.get(channel.next_task.remote())
        if task is None:
            return
        unexpected: Exception | None = None
        try:
            outcome = runner(task, lambda report, n=task.number: ray.get(channel.report.remote(n, report)), device)
            end = TrialEnd(outcome=outcome)
        except DmlrayError as error:
            end = TrialEnd(reason=getattr(error, "reason", "error"), message=str(error))
        except Exception as error:
            unexpected = error
            end = TrialEnd(reason="error", message=_keep_traceback(task, error))
        ray.get(channel.end.remote(task.number, end))
        if unexpected is not None:
            raise unexpected
        _forget_trial()


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
