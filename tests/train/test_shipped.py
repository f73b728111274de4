"""Trials whose folders are copied to a storage path: any node goes on with them; what is damaged there is refused."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dmlray import failpoints
from dmlray.copies import LIST, Copies, FolderCopy, bring, check, copied_files, newest_list
from dmlray.errors import DmlrayError, StorageError, TrainingError, UnavailableError
from dmlray.remote import Remote
from dmlray.train.resume import checkpoint_name
from dmlray.train.shipped import Shipped
from dmlray.train.task import EpochReport, TrialTask
from dmlray.train.trial import run_trial
from tests.train.trials import CPU, LOGISTIC, Ran, files, log_lines, make_task

pytestmark = pytest.mark.thorough


class PowerCutError(Exception):
    """The node is gone."""


@pytest.fixture
def storage(tmp_path: Path) -> Remote:
    return Remote(str(tmp_path / "storage"))


@pytest.fixture
def node(tmp_path: Path, data: Path) -> Callable[..., TrialTask]:
    """The same trial on another node, whose disk is its own; the study knows of its first ``told`` epochs."""

    def make(name: str, told: list[EpochReport] = [], config: Mapping[str, Any] = LOGISTIC) -> TrialTask:  # noqa: B006
        task = make_task(data, tmp_path / name / "trials/0000", config)
        return replace(task, checkpoint=told[-1].checkpoint, checkpoint_digest=told[-1].digest) if told else task

    return make


def train(task: TrialTask, storage: Remote, cut_after: int | None = None, stop_after: int | None = None) -> Ran:
    """The power is cut when epoch ``cut_after`` has been reported, or ``stop_after`` is the last to be asked for."""
    reports: list[EpochReport] = []

    def report(epoch: EpochReport) -> bool:
        reports.append(epoch)
        if epoch.epoch == cut_after:
            raise PowerCutError
        return epoch.epoch != stop_after

    try:
        return Ran(task, Shipped(run_trial, storage)(task, report, CPU), reports)
    except PowerCutError:
        return Ran(task, None, reports)  # type: ignore[arg-type]


def listed(storage: Remote) -> Copies:
    return Copies.model_validate_json(storage.get(list_name(storage)) or b"")


def list_name(storage: Remote) -> str:
    return f"0000/{newest_list(storage.below('0000'))[0]}"


def place(storage: Remote, name: str) -> Path:
    return Path(storage.uri) / "0000" / listed(storage).place(name)


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data if how == "altered" else data[: len(data) // 2])
    if how == "gone":
        path.unlink()


def test_another_node_goes_on_where_the_last_report_was(
    node: Callable[..., TrialTask], storage: Remote, whole: Ran
) -> None:
    """The study may know less than was copied, when its driver was lost with it: it is told first."""
    before = train(node("a"), storage, cut_after=3)
    after = train(node("b", before.reports[:1]), storage)
    assert [epoch.epoch for epoch in after.reports] == [2, 3, 4, 5]
    assert [epoch.digest for epoch in after.reports] == [epoch.digest for epoch in whole.reports[1:]]
    assert after.outcome.resumed_from == checkpoint_name(3)
    assert (after.outcome.value, after.outcome.metrics) == (whole.outcome.value, whole.outcome.metrics)
    assert not after.task.directory.exists(), "this node has room for others"
    assert check(listed(storage)) == {}
    places = set(map(listed(storage).place, listed(storage).files))
    assert set(storage.below("0000").names()) == {newest_list(storage.below("0000"))[0], *places}
    FolderCopy(node("c").directory, storage.below("0000")).pull()
    assert files(node("c")).keys() - {LIST} == files(whole.task).keys()
    assert {name: data for name, data in files(node("c")).items() if name != LIST} == files(whole.task)


def test_the_heads_folder_keeps_everything(node: Callable[..., TrialTask], storage: Remote, tmp_path: Path) -> None:
    (tmp_path / "head").mkdir()
    (tmp_path / "head/sweep.yaml").touch()
    ran = train(node("head"), storage, stop_after=2)
    (ran.task.directory / "checkpoints" / checkpoint_name(2)).unlink()
    bring(ran.task.directory, ran.reports[1].digest)
    assert (ran.task.directory / "checkpoints" / checkpoint_name(2)).exists()


def test_a_verdict_that_was_lost_is_given_again(node: Callable[..., TrialTask], storage: Remote) -> None:
    before = train(node("a"), storage, cut_after=3)
    after = train(node("b"), storage, stop_after=2)
    assert [epoch.epoch for epoch in after.reports] == [1, 2]
    gaps = [epoch.metrics["val_gap"] for epoch in before.reports[:2]]
    assert (after.outcome.status, after.outcome.value) == ("stopped", max(gaps))


@pytest.mark.parametrize("how", ["altered", "cut", "gone"])
def test_a_damaged_checkpoint_is_passed_over(
    node: Callable[..., TrialTask], storage: Remote, whole: Ran, how: str
) -> None:
    before = train(node("a"), storage, cut_after=3)
    damage(place(storage, f"checkpoints/{checkpoint_name(3)}"), how)
    (tmp := node("b").directory.parents[1]).mkdir()
    (tmp / "sweep.yaml").touch()
    after = train(node("b", before.reports), storage)
    assert [epoch.epoch for epoch in after.reports] == [3, 4, 5]
    assert after.reports[-1].digest == whole.reports[-1].digest
    assert check(listed(storage)) == {}, "what was damaged is copied again"
    assert any("passed over a copy: " in line.get("warning", "") for line in log_lines(after.task))


@pytest.mark.parametrize(
    "text", ["", "{", json.dumps({"uri": "x", "files": {"../../canary": {"bytes": 1, "sha256": "0" * 64}}})]
)
def test_a_damaged_list_means_that_nothing_was_copied(
    node: Callable[..., TrialTask], storage: Remote, whole: Ran, text: str
) -> None:
    before = train(node("a"), storage, cut_after=1)
    storage.put(list_name(storage), text.encode())
    after = train(node("b", before.reports), storage)
    assert [epoch.epoch for epoch in after.reports] == [1, 2, 3, 4, 5]
    assert after.reports[-1].digest == whole.reports[-1].digest


def test_another_trial_that_had_the_number_is_no_beginning(
    node: Callable[..., TrialTask], storage: Remote, whole: Ran
) -> None:
    """The head that asked for it was lost before its study was copied, and another asked for something else."""
    train(node("a", config={**LOGISTIC, "batch_size": 8}), storage, cut_after=2)
    after = train(node("b"), storage)
    assert after.reports[0].epoch == 1
    assert after.reports[-1].digest == whole.reports[-1].digest
    assert check(listed(storage)) == {}


@pytest.mark.parametrize("point", ["before-upload", "before-list"])
@pytest.mark.parametrize("epoch", [1, 3])
def test_a_copy_that_was_cut_short_is_of_no_consequence(
    node: Callable[..., TrialTask], storage: Remote, whole: Ran, point: str, epoch: int
) -> None:
    reports: list[EpochReport] = []

    def cut(name: str, **details: object) -> None:
        if name == point and len(reports) == epoch - 1:
            raise PowerCutError

    failpoints.observe(cut)
    try:
        with pytest.raises(PowerCutError):
            Shipped(run_trial, storage)(node("a"), lambda report: not reports.append(report), CPU)
    finally:
        failpoints._observers.clear()
    assert epoch == 1 or check(listed(storage)) == {}
    after = train(node("b", reports), storage)
    assert [epoch.epoch for epoch in after.reports] == list(range(epoch, 6))
    assert after.reports[-1].digest == whole.reports[-1].digest


def test_who_was_cut_off_changes_nothing_that_counts(
    node: Callable[..., TrialTask], storage: Remote, whole: Ran
) -> None:
    """The node could not reach the storage at the end of its second epoch; meanwhile the trial ended on another."""
    elsewhere: list[Ran] = []
    reports: list[EpochReport] = []

    def cut(name: str, **details: object) -> None:
        if name == "before-upload" and len(reports) == 1:
            failpoints._observers.clear()
            elsewhere.append(train(node("b", reports), storage))

    failpoints.observe(cut)
    try:
        with pytest.raises(TrainingError, match="another process goes on with") as failed:
            Shipped(run_trial, storage)(node("a"), lambda report: not reports.append(report), CPU)
    finally:
        failpoints._observers.clear()
    assert failed.value.reason == "storage"
    assert len(reports) == 1
    assert [epoch.digest for epoch in elsewhere[0].reports] == [epoch.digest for epoch in whole.reports[1:]]
    assert check(listed(storage)) == {}
    FolderCopy(node("c").directory, storage.below("0000")).pull()
    assert {name: data for name, data in files(node("c")).items() if name != LIST} == files(whole.task)


def test_copies_of_before_lists_had_turns_are_gone_on_from(
    node: Callable[..., TrialTask], storage: Remote, whole: Ran
) -> None:
    before = train(node("a"), storage, cut_after=3)
    name = list_name(storage)
    storage.put(f"0000/{LIST}", storage.get(name) or b"")
    storage.delete(name)
    after = train(node("b", before.reports), storage)
    assert [epoch.epoch for epoch in after.reports] == [4, 5]
    assert after.reports[-1].digest == whole.reports[-1].digest
    assert list_name(storage).startswith("0000/copies-00000001-")


@pytest.mark.parametrize(
    "error", [UnavailableError("s3://bucket does not answer"), StorageError("/mnt/storage", "does not answer")]
)
@pytest.mark.parametrize("method", ["put", "names"])
def test_a_storage_path_that_does_not_answer_fails_the_trial_for_that(
    node: Callable[..., TrialTask], storage: Remote, monkeypatch: pytest.MonkeyPatch, error: DmlrayError, method: str
) -> None:
    """When the copy is taken, and when an epoch is copied."""

    def refuse(*_: object) -> None:
        raise error

    def break_storage(name: str, **details: object) -> None:
        monkeypatch.setattr(Remote, method, refuse)

    failpoints.observe(break_storage)
    try:
        for name in ("copied", "taken"):
            with pytest.raises(TrainingError, match="does not answer") as failed:
                train(node(name), storage)
            assert failed.value.reason == "storage"
    finally:
        failpoints._observers.clear()


def test_a_disk_that_refuses_is_no_damaged_copy(
    node: Callable[..., TrialTask], storage: Remote, whole: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the node would start again and forget, in the list, what is there."""
    before = train(node("a"), storage, cut_after=3)
    known = listed(storage)

    def refuse(*_: object) -> None:
        raise StorageError("x", "could not be written: No space left on device") from OSError(28, "No space left")

    with monkeypatch.context() as then:
        then.setattr(Remote, "fetch", refuse)
        with pytest.raises(TrainingError, match="No space left") as failed:
            train(node("b"), storage)
        assert failed.value.reason == "storage"
    assert listed(storage) == known
    after = train(node("c", before.reports), storage)
    assert [epoch.epoch for epoch in after.reports] == [4, 5]
    assert after.reports[-1].digest == whole.reports[-1].digest


def test_who_kept_the_copy_changes_nothing_once_another_reads_it(
    node: Callable[..., TrialTask], storage: Remote, whole: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder has changed, so that it would delete files that the other has yet to read."""
    before = train(node("a"), storage, cut_after=3)
    keeper = FolderCopy(before.task.directory, storage.below("0000"))
    keeper.take()
    keeper.pull()
    (before.task.directory / "log.jsonl").write_text("")
    fetch = Remote.fetch

    def fetch_late(remote: Remote, name: str, path: Path) -> str:
        with pytest.raises(UnavailableError, match="another process goes on with"):
            keeper.push()
        return fetch(remote, name, path)

    monkeypatch.setattr(Remote, "fetch", fetch_late)
    after = train(node("b", before.reports), storage)
    assert [epoch.epoch for epoch in after.reports] == [4, 5]
    assert after.reports[-1].digest == whole.reports[-1].digest
    assert check(listed(storage)) == {}


def test_what_is_kept_of_an_epoch_is_copied_before_the_node_goes(
    node: Callable[..., TrialTask], storage: Remote
) -> None:
    def leave(task: TrialTask, *rest: object, **options: object) -> None:
        (task.directory / "checkpoints").mkdir()
        (task.directory / "checkpoints/epoch-0000-step.safetensors").write_bytes(b"part")
        raise TrainingError("preempted", "the node is about to go")

    with pytest.raises(TrainingError, match="about to go"):
        Shipped(leave, storage)(node("a"), lambda epoch: True, CPU)  # type: ignore[arg-type]
    assert list(listed(storage).files) == ["checkpoints/epoch-0000-step.safetensors"]
    assert copied_files(node("a").directory) == listed(storage)
