"""Ray Tune as the hands of a sweep: it starts trials and carries events; what to do is decided by a `Director`."""

import os
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from dmlray.sweep.retries import Reason, cause_of_loss, reason_of_loss
from dmlray.sweep.slot import Slot, SlotSettings
from dmlray.train.carried import Carried
from dmlray.train.channel import Event
from dmlray.train.task import TrialTask

_FAILURE = re.compile(r"^Failure # \d+ \(occurred at .*\)$", re.MULTILINE)  # Tune's heading of an error


class Director(Protocol):
    """What decides: see `sweep.director.StudyDirector`. All calls come from one thread of the driver."""

    def next_task(self) -> TrialTask | None:
        """The next trial to train, or None when the sweep wants no more."""

    def on_event(self, event: Event) -> bool:
        """Take in a report or an end; True to train on."""

    def on_lost(self, number: int, cause: str, reason: Reason = "worker_lost") -> None:
        """The slot of a trial died."""

    def wants_to_stop(self) -> bool:
        """True once the whole sweep must end now."""


class _Stays:
    """Tune pickles snapshots of what it was given, which nobody reads: they carry ``stand_in``, not the study."""

    stand_in: type

    def __reduce__(self) -> tuple[Any, ...]:
        return self.stand_in, ()


class _Search(_Stays, Searcher):
    stand_in = Searcher

    def __init__(self, director: Director, slot: SlotSettings) -> None:
        super().__init__(metric=None, mode=None)
        self._director, self._slot = director, replace(slot, runner=Carried(slot.runner))

    def suggest(self, trial_id: str) -> Any:  # a configuration, or FINISHED, which Tune's own annotation leaves out
        task = self._director.next_task()
        return Searcher.FINISHED if task is None else {"task": task, "slot": self._slot}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: ends come as events, losses to `_Losses`."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: Tune's snapshots are never read, the study is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a sweep resumes from its study, never from Tune's snapshots")


class _Decide(_Stays, tune.Stopper):
    stand_in = tune.stopper.NoopStopper

    def __init__(self, director: Director) -> None:
        self._director = director

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return not self._director.on_event(result["event"])

    def stop_all(self) -> bool:
        return self._director.wants_to_stop()


class _Losses(_Stays, tune.Callback):
    stand_in = tune.Callback

    def __init__(self, director: Director) -> None:
        self._director = director

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        error = _last_error(trial)
        self._director.on_lost(trial.config["task"].number, cause_of_loss(error), reason_of_loss(error))


def _last_error(trial: Trial) -> str:
    """What Tune has noted of the trial's newest error. It pickles only some, and copies them too late to be read."""
    try:
        text = Path(trial.error_file or "").read_text(encoding="utf-8", errors="replace")
    except OSError:  # an error here would end the whole sweep
        return ""
    return _FAILURE.split(text)[-1]


def run_trials(director: Director, slot: SlotSettings, concurrency: int) -> None:
    """Run trials in ``concurrency`` warm slots until the director has no more, or wants to stop."""
    os.environ |= {
        "RAY_AIR_NEW_OUTPUT": "0",  # the old output is silent with verbose=0, the new one is not
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        "TUNE_GLOBAL_CHECKPOINT_S": "86400",
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    }
    trainable = tune.with_resources(Slot, tune.PlacementGroupFactory([{"memory": 1}]))
    with tempfile.TemporaryDirectory(prefix="dmlray-tune-") as scratch:
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=_Search(director, slot),
                num_samples=-1,
                max_concurrent_trials=concurrency,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=str(Path(scratch)),
                stop=_Decide(director),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # no node but this one sees scratch
                callbacks=[_Losses(director)],
                verbose=0,
            ),
        ).fit()
