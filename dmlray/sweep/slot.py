"""A warm slot: a reused Tune actor that owns one long-lived Ray Train run, whose worker trains trial after trial.

A `TorchTrainer.fit()` per trial costs 23 to 34 s of process start-up; a slot pays it once.
"""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray.train import FailureConfig, RunConfig, ScalingConfig

from dmlray.errors import TrainingError, UnavailableError
from dmlray.sweep.lookout import Lookout
from dmlray.sweep.retries import PREEMPTED
from dmlray.sweep.trainer import SlotTrainer, backend_for
from dmlray.train.carried import serve
from dmlray.train.channel import Channel, Event, TrialEnd

if TYPE_CHECKING:
    from dmlray.train.worker import Runner

_GRACE_S = 10.0  # for a worker in the middle of an epoch, which looks at its channel only after it
_START_S = 90.0  # for workers that are being started again after the last trial had ended them
_PATIENCE_S = 5.0  # between looks at whether the Ray Train run and its workers are still alive


@dataclass(frozen=True)
class SlotSettings:
    """What every slot of a sweep has: resources, the function that trains a trial, a folder for Ray's own files.

    Its ``workers`` share the CPUs and GPUs evenly.
    """

    cpus: float
    gpus: float
    runner: "Runner"
    scratch: Path
    workers: int = 1

    @property
    def per_worker(self) -> dict[str, float]:
        """Ray's resources of one worker."""
        found = {"CPU": self.cpus / self.workers, "GPU": self.gpus / self.workers}
        return {name: count for name, count in found.items() if count}


class Slot(tune.Trainable):
    """Tune's view of a slot. ``config`` is ``{"task": TrialTask, "slot": SlotSettings}``; each result is one Event."""

    def setup(self, config: dict[str, Any]) -> None:
        actor: Any = ray.remote(Channel)
        self._channel = actor.options(num_cpus=0).remote()
        self._lookout = Lookout(self._channel)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._train, args=(config["slot"],), daemon=True)
        self._thread.start()
        ray.get(self._channel.assign.remote(config["task"]))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial; the worker stops the last one if it was cut short.

        Raises TrainingError ``preempted`` where this node is about to go: another slot is to take it.
        """
        if self._lookout.is_leaving():
            raise TrainingError("preempted", f"{PREEMPTED}: it is about to go")
        ray.get(self._channel.assign.remote(new_config["task"]))
        return True

    def step(self) -> dict[str, Any]:
        """Wait for the worker's next word. Being called again is the driver's consent to train on."""
        ray.get(self._channel.go_on.remote())
        while True:
            self._lookout.look()
            event: Event | None = ray.get(self._channel.next_event.remote(_PATIENCE_S))
            if event is not None:
                return {"event": event, "done": isinstance(event.what, TrialEnd)}
            if not self._thread.is_alive():
                cause = " ".join(str(self._failure).split())
                raise UnavailableError(f"the slot's Ray Train run ended: {cause}")

    def cleanup(self) -> None:
        """Let the Ray Train run end by itself: killed, it would leave its placement group and with it the CPUs."""
        is_training = ray.get(self._channel.close.remote())
        self._thread.join(_GRACE_S if is_training else _START_S)

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Nothing: checkpoints belong to the trial's folder, not to Tune."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing, see `save_checkpoint`."""

    def _train(self, settings: SlotSettings) -> None:
        trainer = SlotTrainer(
            serve,
            train_loop_config={"channel": self._channel, "runner": settings.runner},
            backend_config=backend_for(settings.workers, settings.gpus),
            scaling_config=ScalingConfig(
                num_workers=settings.workers, use_gpu=settings.gpus > 0, resources_per_worker=settings.per_worker
            ),
            run_config=RunConfig(
                name=f"slot-{self.trial_id}",
                storage_path=str(settings.scratch),
                failure_config=FailureConfig(max_failures=-1),  # `Channel` bounds the starts of each trial
            ),
        )
        try:
            trainer.fit()
        except BaseException as error:
            self._failure = error
