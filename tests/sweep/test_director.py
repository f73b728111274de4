"""What the director hands out and writes down, with a real study and no Ray."""

from pathlib import Path

import pytest

from dmlray.config import TrialConfig
from dmlray.errors import ConfigError, DmlrayError, LeaseLostError, StorageError, UnavailableError
from dmlray.sweep.director import MAX_LOSSES, Change, StudyDirector
from dmlray.sweep.records import TrialState
from dmlray.sweep.retries import cause_of_loss, known_reason, reason_of_loss
from dmlray.sweep.settings import SweepConfig, SweepFolder
from dmlray.sweep.space import load_space
from dmlray.sweep.study import Study
from dmlray.train.channel import Event, TrialEnd
from dmlray.train.task import EpochReport, TrialOutcome, TrialTask

SPACE = """
stopping: {rule: asha, min_epochs: 1, eta: 2}
space:
  epochs: 4
  optimizer: {kind: adam, learning_rate: {float: [1e-4, 1e-1], log: true}}
"""


class Sweep:
    """A sweep's folder with a director on it that can be thrown away and made again, as a crash does."""

    def __init__(self, results: Path, trials: int) -> None:
        self.folder = SweepFolder(results, "toy")
        self.folder.path.mkdir()
        self.folder.space.write_text(SPACE)
        self.config = SweepConfig(name="toy", data=results, fingerprints={}, trials=trials, tracking_uri="")
        Study.create(self.folder.study, "toy", seed=0).close()
        self.changes: list[Change] = []

    def start(self, check: object = None) -> StudyDirector:
        self.study = Study.open(self.folder.study)
        director = StudyDirector(
            self.config, self.folder, load_space(self.folder.space), self.study, check or (lambda config: None)
        )
        director.listen(self.changes.append)
        return director


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path, trials=3)


def report(director: StudyDirector, number: int, epoch: int, gap: float) -> bool:
    return director.on_event(Event(number, EpochReport(epoch, {"val_gap": gap}, f"e{epoch}", "d")))


def finish(director: StudyDirector, number: int, gap: float) -> None:
    outcome = TrialOutcome("complete", 4, gap, {"val_gap": gap, "test_gap": gap - 0.01})
    assert not director.on_event(Event(number, TrialEnd(outcome=outcome)))


def numbers(director: StudyDirector) -> list[int]:
    tasks: list[TrialTask] = []
    while (task := director.next_task()) is not None:
        tasks.append(task)
    return [task.number for task in tasks]


def test_it_hands_out_the_budget_and_no_more(sweep: Sweep) -> None:
    assert numbers(sweep.start()) == [0, 1, 2]


def test_after_a_crash_what_had_begun_comes_first_under_its_own_number(sweep: Sweep) -> None:
    director = sweep.start()
    first, second = director.next_task(), director.next_task()
    assert first is not None
    assert second is not None
    report(director, 0, 1, 0.5)
    report(director, 0, 2, 0.6)
    finish(director, 0, 0.7)
    report(director, 1, 1, 0.6)
    sweep.study.close()

    again = sweep.start()
    resumed = again.next_task()
    assert resumed is not None
    assert (resumed.number, resumed.checkpoint, resumed.seed) == (1, "e1", second.seed)
    assert resumed.config == second.config
    assert numbers(again) == [2]
    assert [change.what for change in sweep.changes if change.trial.number == 1] == ["started", "epoch", "continued"]


def test_a_stopped_trial_is_pruned_with_its_best_value(sweep: Sweep) -> None:
    director = sweep.start()
    numbers(director)
    assert report(director, 0, 1, 0.9)
    assert not report(director, 1, 1, 0.1)
    pruned = sweep.study.trials()[1]
    assert (pruned.state, pruned.value, pruned.best_epoch) == (TrialState.pruned, 0.1, 1)


def test_a_verdict_that_a_crash_swallowed_is_given_at_the_resume(sweep: Sweep) -> None:
    director = sweep.start()
    numbers(director)
    assert report(director, 0, 1, 0.9)
    sweep.study.report(1, 1, {"val_gap": 0.1}, "e1", "d")  # and the driver dies before it decides
    sweep.study.close()
    assert numbers(sweep.start()) == [0, 2]
    pruned = sweep.study.trials()[1]
    assert (pruned.state, pruned.value) == (TrialState.pruned, 0.1)


def test_the_last_epoch_is_never_stopped(sweep: Sweep) -> None:
    director = sweep.start()
    numbers(director)
    assert report(director, 0, 4, 0.9)
    assert report(director, 1, 4, 0.8)  # 4 is a rung, and the last epoch: there is nothing left to save
    finish(director, 1, 0.8)
    assert sweep.study.trials()[1].state is TrialState.complete


def test_failures_keep_their_reason(sweep: Sweep) -> None:
    director = sweep.start()
    numbers(director)
    assert not director.on_event(Event(0, TrialEnd(reason="nan", message="the loss is nan")))
    failed = sweep.study.trials()[0]
    assert (failed.state, failed.reason, failed.message) == (TrialState.failed, "nan", "the loss is nan")


def test_a_trial_whose_slot_died_is_tried_again_then_given_up(sweep: Sweep) -> None:
    director = sweep.start()
    numbers(director)
    for _ in range(2):
        report(director, 0, 1, 0.5)  # others still report: it is this trial
        director.on_lost(1, "out of memory")
        assert numbers(director) == [1]
    report(director, 2, 1, 0.5)
    director.on_lost(1, "out of memory")
    assert numbers(director) == []
    lost = sweep.study.trials()[1]
    assert (lost.reason, lost.message) == ("worker_lost", "out of memory")
    assert director.failure is None


@pytest.mark.parametrize(("reason", "budget"), [("nan", 0), ("out_of_memory", 1), ("storage", 3), ("preempted", 20)])
def test_each_reason_has_its_own_retries_from_the_last_checkpoint(sweep: Sweep, reason: str, budget: int) -> None:
    director = sweep.start()
    numbers(director)
    for attempt in range(budget):
        report(director, 0, 1, 0.5)  # something gets through
        director.on_event(Event(0, TrialEnd(reason=reason, message="again")))
        assert sweep.study.trials()[0].retries == {reason: attempt + 1}
        task = director.next_task()
        assert task is not None
        assert (task.number, task.checkpoint) == (0, "e1")
    report(director, 0, 1, 0.5)
    director.on_event(Event(0, TrialEnd(reason=reason, message="again")))
    assert numbers(director) == []
    assert (sweep.study.trials()[0].reason, sweep.changes[-1].what) == (reason, "failed")


def test_a_storage_that_takes_nothing_ends_the_sweep_not_trial_after_trial(sweep: Sweep) -> None:
    director = sweep.start()
    numbers(director)
    refused = TrialEnd(reason="storage", message="s3://b refuses access")
    for _ in range(3):
        director.on_event(Event(0, refused))
        assert numbers(director) == [0]
    director.on_event(Event(0, refused))
    remedy = f"dmlray search --resume {sweep.folder.as_typed}"
    assert str(director.error) == f"s3://b refuses access; once that is mended: {remedy}"
    assert isinstance(director.error, UnavailableError)
    sweep.study.close()
    again = sweep.start()
    assert numbers(again) == [0, 1, 2], "all of them go on"
    again.on_event(Event(0, refused))
    assert again.error is None, "the others may fare better now"
    assert sweep.study.trials()[0].reason == "storage"


def test_retries_are_counted_across_drivers(sweep: Sweep) -> None:
    director = sweep.start()
    numbers(director)
    director.on_event(Event(0, TrialEnd(reason="hang", message="silent")))
    sweep.study.close()
    again = sweep.start()
    assert numbers(again) == [0, 1, 2]
    again.on_event(Event(0, TrialEnd(reason="hang", message="silent")))
    assert sweep.study.trials()[0].reason == "hang"


def test_nodes_that_are_taken_away_do_not_end_the_sweep(sweep: Sweep) -> None:
    director = sweep.start()
    numbers(director)
    for _ in range(MAX_LOSSES + 1):
        director.on_lost(0, "the node was preempted", "preempted")
        assert numbers(director) == [0]
    assert director.failure is None


@pytest.mark.parametrize("error", [StorageError("study.db", "is full"), LeaseLostError("taken over")])
def test_a_study_that_takes_nothing_more_ends_the_sweep_without_a_word(
    sweep: Sweep, error: DmlrayError, monkeypatch: pytest.MonkeyPatch
) -> None:
    director = sweep.start()
    numbers(director)
    told = len(sweep.changes)

    def refuse(*_: object, **__: object) -> None:
        raise error

    for write in ("report", "complete", "fail", "forgive", "ask", "start"):
        monkeypatch.setattr(sweep.study, write, refuse)
    assert not report(director, 0, 1, 0.5)
    assert director.error is error
    assert director.wants_to_stop()
    finish(director, 1, 0.5)
    director.on_lost(2, "gone")
    assert director.next_task() is None
    assert len(sweep.changes) == told


DIED = """The actor died unexpectedly before finishing this task.
\tclass_name: Slot
\tactor_id: 0f1e2d
\tpid: 4711
\tnamespace: 7a
\tip: 10.0.0.4
"""
TAKEN = "The actor died because its node has died. Node Id: 5c\n\tthe actor's node was preempted: spot"
NO_MODULE = """The actor died because of an error raised in its creation task, ray::Slot.__init__() (pid=7)
  File "python/ray/_raylet.pyx", line 1908, in ray._raylet.execute_task
ModuleNotFoundError: No module named 'dmlray'
"""


@pytest.mark.parametrize(
    ("error", "reason", "cause"),
    [
        (DIED + TAKEN, "preempted", " ".join(map(str.strip, TAKEN.splitlines()))),
        ("Task was killed due to the node running low on memory.", "host_oom", None),
        ("Worker exit type: NODE_OUT_OF_MEMORY", "host_oom", None),
        (DIED + "Its worker process has died.\n", "worker_lost", "Its worker process has died."),
        (NO_MODULE, "worker_lost", "ModuleNotFoundError: No module named 'dmlray'"),
        (
            "Failed to set up runtime environment.\nno pip\n",
            "worker_lost",
            "Failed to set up runtime environment. no pip",
        ),
        ("This can happen if the node was preempted, had a hardware failure", "worker_lost", None),
        ("", "worker_lost", "Ray gave no cause"),
    ],
)
def test_ray_says_why_a_slot_was_lost(error: str, reason: str, cause: str | None) -> None:
    assert reason_of_loss(error) == reason
    assert cause_of_loss(error) == (cause or error)


def test_reasons_are_known_by_their_names() -> None:
    assert known_reason("hang") == "hang"
    assert known_reason("whatever") == known_reason(None) == "error"


def test_a_sweep_whose_slots_keep_dying_is_given_up_and_can_be_resumed(sweep: Sweep) -> None:
    director = sweep.start()
    numbers(director)
    for number in (0, 1, 2):
        director.on_lost(number, "no route to host")
    assert director.wants_to_stop()
    assert director.failure == "no route to host"
    sweep.study.close()
    assert numbers(sweep.start()) == [0, 1, 2]


def test_configurations_that_cannot_be_built_do_not_use_up_the_budget(sweep: Sweep) -> None:
    refused = iter([True, False, False, True, False])

    def check(config: TrialConfig) -> None:
        if next(refused):
            raise ConfigError("encoder", "lstm", "none")

    assert numbers(sweep.start(check)) == [1, 2, 4]


def test_nothing_is_handed_out_after_stop(sweep: Sweep) -> None:
    director = sweep.start()
    director.stop()
    assert director.next_task() is None
    assert director.wants_to_stop()
