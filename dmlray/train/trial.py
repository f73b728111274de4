"""One trial, from its task to its outcome: train, evaluate, keep, report; go on where it was cut off."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import TypeVar

import torch

from dmlray.atomic import write_text
from dmlray.data.predictions import load_predictions, save_predictions
from dmlray.errors import ConfigError, DataError, MissingInputError, StorageError, TrainingError, UnavailableError
from dmlray.failpoints import reach
from dmlray.model.build import build_model
from dmlray.seeding import derive_seed
from dmlray.train.averaging import mean_of
from dmlray.train.checkpoint import (
    Best,
    checkpoint_digest,
    load_checkpoint,
    restore_checkpoint,
    save_checkpoint,
)
from dmlray.train.compiled import compile_forward, compile_problem
from dmlray.train.distributed import ALONE, Peers
from dmlray.train.evaluate import SplitResult, evaluate
from dmlray.train.inputs import TrainingStream, TrialInputs
from dmlray.train.laps import Laps
from dmlray.train.limits import UNWATCHED, Watch
from dmlray.train.log import TrialLog
from dmlray.train.loop import EpochStats, Training, device_memory_watched, train_epochs
from dmlray.train.optim import build_optimizer
from dmlray.train.part import LeavingError, Part
from dmlray.train.resume import (
    ResumePoint,
    best_epochs,
    checkpoint_name,
    find_resume_point,
    furthest,
    part_name,
    prune_checkpoints,
)
from dmlray.train.state import capture, restore
from dmlray.train.task import EpochReport, TrialOutcome, TrialTask
from dmlray.train.teacher import Teacher
from dmlray.train.threads import cpu_threads, seeded

Value = TypeVar("Value")

State = dict[str, torch.Tensor]

PREDICTIONS = {"validation": "predictions.arrow", "test": "test_predictions.arrow"}  # a split's file


def run_trial(
    task: TrialTask,
    report: Callable[[EpochReport], bool],
    device: torch.device,
    stream: TrainingStream | None = None,
    *,
    peers: Peers = ALONE,
    watch: Watch = UNWATCHED,
) -> TrialOutcome:
    """Train ``task`` to its last epoch, or until ``report`` answers False ("stopped"); on ``stream``, if there is one.

    With ``peers`` every worker makes this call; the first one alone reports and writes. ``watch`` hears of every batch.

    ``task.directory`` then holds config.json, log.jsonl, checkpoints/ (the newest 2, or those to be averaged, and the
    best ``snapshots``), predictions.arrow (validation, best epoch) and, once complete and where there is a test split,
    test_predictions.arrow.

    On a CPU all of it (but for timings) depends on the task and its data only, not on what else ran in the process or
    how often the trial was cut off. Raises TrainingError, whose ``reason`` names the kind of failure.
    """
    try:
        with cpu_threads(task.threads):
            return _Trial(task, device, stream, peers, watch).run(report)
    except ConfigError as error:
        raise TrainingError("bad_config", str(error)) from error
    except (DataError, MissingInputError) as error:
        raise TrainingError("data", str(error)) from error
    except (StorageError, UnavailableError) as error:
        raise TrainingError("storage", str(error)) from error
    except RuntimeError as error:
        if problem := compile_problem(error):
            raise problem from error
        raise


class _Trial:
    def __init__(
        self, task: TrialTask, device: torch.device, stream: TrainingStream | None, peers: Peers, watch: Watch
    ) -> None:
        self._task, self._device, self._config = task, device, task.config
        self._peers, self._watch, self._laps = peers, watch, Laps()
        self._inputs = TrialInputs(task, device, stream, peers, watch)
        self._schema, self._fingerprint = self._inputs.schema, self._inputs.fingerprint
        with seeded(derive_seed(task.seed, "init"), device):
            model = build_model(task.config, self._schema).to(device)
        if task.config.compile:
            compile_forward(model)
        optimizer = build_optimizer(model, task.config.optimizer)
        seed = derive_seed(task.seed, "train")
        self._training = Training(
            model,
            optimizer,
            task.config,
            seed,
            device,
            epoch_videos=self._inputs.videos,
            teacher=self._teacher(),
            peers=peers,
            must_leave=watch.must_leave,
        )
        self._checkpoints = task.directory / "checkpoints"
        if peers.is_first:
            write_text(task.directory / "config.json", task.config.model_dump_json(indent=2) + "\n")
        self._log = TrialLog(task.directory / "log.jsonl")
        self._best: Best | None = None
        self._origin = self._resume()

    def _teacher(self) -> Teacher | None:
        """What there is to distil from; a trial that began with another teacher starts again."""
        distillation = self._config.loss.distillation
        if distillation is None:
            return None
        teacher = Teacher(distillation, self._schema.classes)
        self._fingerprint = hashlib.sha256(f"{self._fingerprint} {teacher.digest}".encode()).hexdigest()
        return teacher

    def run(self, report: Callable[[EpochReport], bool]) -> TrialOutcome:
        try:
            return self._run(report)
        except LeavingError as leaving:
            kept = self._keep_part(leaving.part)
            raise TrainingError("preempted", f"the node is about to go; {kept}", self._training.epoch + 1) from None

    def _run(self, report: Callable[[EpochReport], bool]) -> TrialOutcome:
        self._laps.lap("startup_s")
        for stats in train_epochs(self._training, self._inputs.batches("train")):
            self._laps.lap()  # it has timed itself
            finished = self._finish_epoch(stats)
            if not self._agree(report(finished) if finished else None):
                return self._outcome("stopped", {})
        return self._outcome("complete", self._test() if "test" in self._inputs.splits else {})

    def _agree(self, value: Value) -> Value:
        """The first worker's value; the others wait for as long as that takes."""
        with self._watch.paused():
            return self._peers.agree(value)

    def _finish_epoch(self, stats: EpochStats) -> EpochReport | None:
        """Evaluate and keep; the first worker has something to report."""
        result, average, compared = self._best_of_last(stats.epoch, self._evaluate("validation", stats.epoch))
        metrics = result.named("val") | {"train_loss": stats.loss} | compared
        previous, gap = self._best, metrics["val_gap"]
        if previous is None or gap > previous.value or self._config.keep == "last":
            self._best = Best(epoch=stats.epoch, value=gap, metrics=metrics)
        self._laps.lap("evaluation_s")
        if not self._peers.is_first:
            return None
        best = self._known_best()
        name, digest = checkpoint_name(stats.epoch), self._save(best, average)
        reach("checkpoint-saved", epoch=stats.epoch)
        if best.epoch == stats.epoch:
            self._keep_predictions("validation", result, digest)
        # The checkpoint before this one keeps its best too, so that a trial can go on from either.
        newest = range(stats.epoch + 1 - max(2, self._config.average_last), stats.epoch + 1)
        before = self._log.history()
        bests = (self._best_epochs(history) for history in (before, [*before, (stats.epoch, gap)]))
        prune_checkpoints(self._checkpoints, {*newest, best.epoch, (previous or best).epoch}.union(*bests))
        self._laps.lap("checkpoint_s")
        report = EpochReport(stats.epoch, metrics | stats.metrics() | self._laps.take(), name, digest)
        self._note_memory(stats)
        self._log.append(epoch=stats.epoch, metrics=report.metrics, checkpoint=name, digest=digest)
        reach("epoch-logged", epoch=stats.epoch)
        return report

    def _best_epochs(self, history: list[tuple[int, float]]) -> set[int]:
        return best_epochs(history, self._config.snapshots, self._config.keep)

    def _best_of_last(self, epoch: int, own: SplitResult) -> tuple[SplitResult, State | None, dict[str, float]]:
        """After the last epoch, the better one of its model and of the mean of the last checkpoints' models; the mean
        where the last is to be kept.

        Gives its result, its parameters where it is the mean, and how both did.
        """
        if epoch < self._config.epochs or self._config.average_last == 1:
            return own, None, {}
        mean = self._agree(self._mean_of_last(epoch) if self._peers.is_first else None)
        if mean is None:
            return own, None, {}
        model = self._training.predicting
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.load_state_dict(mean)
        averaged = self._evaluate("validation", epoch)
        model.load_state_dict(before)
        compared = {"val_gap_last": own.metrics["gap"], "val_gap_averaged": averaged.metrics["gap"]}
        if averaged.metrics["gap"] > own.metrics["gap"] or self._config.keep == "last":
            return averaged, mean, compared
        return own, None, compared

    def _mean_of_last(self, epoch: int) -> State | None:
        """None, with a warning, where a checkpoint is lost."""
        digests = self._log.digests()
        names = [checkpoint_name(epoch - before) for before in range(1, self._config.average_last)]
        states = (
            load_checkpoint(self._checkpoints / name, digests.get(name), self._config, self._fingerprint).model
            for name in names
        )
        try:
            return mean_of(chain([self._training.predicting.state_dict()], states))
        except StorageError as error:
            self._log.append(warning=f"the last checkpoints are not averaged: {error}")
            return None

    def _save(self, best: Best, average: State | None) -> str:
        training = self._training
        state = capture(training, self._fingerprint, best, average)
        return save_checkpoint(self._checkpoints / checkpoint_name(training.epoch), state)

    def _keep_part(self, part: Part | None) -> str:
        """Keep what is done of an epoch; says where the trial goes on."""
        if part is None:
            return "the trial goes on with this epoch elsewhere"
        generators = self._peers.gather(part.generators[0])
        if self._peers.is_first:
            whole = replace(part, generators=tuple(generators))
            state = capture(self._training, self._fingerprint, self._best, part=whole)
            name = part_name(state.epoch, part.steps)
            self._log.append(checkpoint=name, digest=save_checkpoint(self._checkpoints / name, state))
        return f"the trial goes on after step {part.steps} elsewhere"

    def _note_memory(self, stats: EpochStats) -> None:
        """A line in the log when memory has run out in this epoch."""
        known = [line["metrics"].get("micro_batch") for line in self._log.lines if "metrics" in line]
        if stats.micro_batch not in {known[-1] if known else None, self._config.micro_batch}:
            now = f"{stats.micro_batch} videos at a time, in batches of {self._config.batch_size} as before"
            self._log.append(warning=f"memory ran out in epoch {stats.epoch}: the model sees {now}")

    def _resume(self) -> ResumePoint:
        point = self._agree(self._find_resume_point() if self._peers.is_first else ResumePoint())
        if point.state is not None and point.name is not None:
            self._best = point.state.best
            if self._best is not None:
                self._restore_predictions(self._best)
            restore(self._checkpoints / point.name, point.state, self._training)
        if self._peers.is_first:
            self._log.rewind(self._training.epoch)
            for warning in point.warnings:
                self._log.append(warning=warning)
        return point

    def _find_resume_point(self) -> ResumePoint:
        told, digests = self._task.checkpoint, dict[str, str | None](self._log.digests())
        if told is not None:
            digests[told] = self._task.checkpoint_digest
        newest = furthest(told, digests)
        if newest is None:
            return ResumePoint()
        config, data, workers = self._config, self._fingerprint, self._peers.size
        return find_resume_point(self._checkpoints, newest, digests, config, data, workers)

    def _restore_predictions(self, best: Best) -> None:
        """Rewrite them if a kill, or a checkpoint passed over, left those of another epoch."""
        if not self._agree(self._peers.is_first and self._has_predictions(best)):
            self._evaluate_best("validation", best.epoch)

    def _has_predictions(self, best: Best) -> bool:
        try:
            found = load_predictions(self._task.directory / PREDICTIONS["validation"]).meta.get("checkpoint")
        except StorageError:
            return False
        return found == checkpoint_digest(self._checkpoints / checkpoint_name(best.epoch))

    def _test(self) -> dict[str, float]:
        self._laps.lap()
        result = self._evaluate_best("test", self._known_best().epoch)
        self._laps.lap("test_s")
        return result.named("test")

    def _evaluate_best(self, split: str, epoch: int) -> SplitResult:
        path = self._checkpoints / checkpoint_name(epoch)
        digest = self._log.digests().get(path.name)
        own = load_checkpoint(path, digest, self._config, self._fingerprint) if self._peers.is_first else None
        state = self._agree(own)
        assert state is not None, "the first worker has loaded it"
        restore_checkpoint(path, state, self._training.predicting, None)
        result = self._evaluate(split, epoch)
        if self._peers.is_first:
            self._keep_predictions(split, result, digest or checkpoint_digest(path))
        return result

    def _evaluate(self, split: str, epoch: int) -> SplitResult:
        training, batches = self._training, self._inputs.batches(split)
        try:
            with device_memory_watched(self._config, epoch):
                return evaluate(
                    training.predicting, batches, self._schema.classes, self._device, self._peers, training.micro_batch
                )
        except FloatingPointError as error:
            raise TrainingError("nan", f"on the {split} split {error}", epoch) from error

    def _keep_predictions(self, split: str, result: SplitResult, digest: str) -> None:
        task = self._task
        assert result.predictions is not None, "this is the first worker"
        meta = {"sweep": task.sweep, "trial": str(task.number), "split": split, "checkpoint": digest}
        meta["data"] = self._inputs.splits[split].fingerprint
        save_predictions(task.directory / PREDICTIONS[split], replace(result.predictions, meta=meta))

    def _known_best(self) -> Best:
        assert self._best is not None, "an epoch has been finished"
        return self._best

    def _outcome(self, status: str, test_metrics: dict[str, float]) -> TrialOutcome:
        best = self._known_best()
        metrics = best.metrics | test_metrics
        test_s, origin = self._laps.take().get("test_s", 0.0), self._origin
        return TrialOutcome(status, best.epoch, best.value, metrics, origin.name, origin.warnings, test_s)
