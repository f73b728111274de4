"""A sweep's copies: the newest good one is taken up whatever befell the others, and never stands behind an old one."""

import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from dmlray.copies import check, read_list
from dmlray.errors import (
    BusyError,
    DmlrayError,
    LeaseLostError,
    MissingInputError,
    StorageError,
    SweepExistsError,
    UnavailableError,
)
from dmlray.remote import Remote
from dmlray.sweep import ownership, shipping
from dmlray.sweep.director import Change
from dmlray.sweep.fetching import FILES, check_new, fetch_sweep, newest_copies
from dmlray.sweep.ownership import Claim
from dmlray.sweep.settings import SweepConfig, SweepFolder, load_settings, save_settings
from dmlray.sweep.space import load_space
from dmlray.sweep.study import Study
from dmlray.tracking import default_uri

pytestmark = pytest.mark.thorough
SPACE = "space: {epochs: 4, optimizer: {kind: adam, learning_rate: {float: [1e-4, 1e-1], log: true}}}"


class Head:
    """A machine with a results folder, which drives the sweep while it is entered."""

    def __init__(self, folder: Path, storage: Path) -> None:
        self.folder = SweepFolder(folder / "results", "toy")
        self.remote = Remote(str(storage / "toy"))
        self.storage, self.said, self.lost = storage, list[str](), list[LeaseLostError]()

    def create(self) -> "Head":
        self.folder.path.mkdir(parents=True)
        self.folder.space.write_text(SPACE)
        tracking = default_uri(self.folder.path.parent)
        data, path = self.folder.path.parent / "data", str(self.storage)
        config = SweepConfig(name="toy", data=data, storage_path=path, fingerprints={}, trials=9, tracking_uri=tracking)
        Study.create(self.folder.study, "toy", seed=0).close()
        save_settings(self.folder, config)
        return self

    def fetch(self) -> "Head":
        fetch_sweep(self.folder, self.remote, self.said.append)
        return self

    def __enter__(self) -> "Head":
        self._stack = ExitStack()
        config = load_settings(self.folder)
        self._tell = self._stack.enter_context(
            shipping.shipping(self.folder, config, self.lost.append, self.said.append)
        )
        self.study = self._stack.enter_context(Study.driven(self.folder.study, self.lost.append, self.said.append))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def finish_a_trial(self) -> None:
        number = self.study.ask(load_space(self.folder.space)).number
        self._tell(Change("started", self.study.start(number)))
        self.study.report(number, 1, {"val_gap": 0.5}, "epoch-0001", "d")
        self._tell(Change("complete", self.study.complete(number, 0.5, 1, {"val_gap": 0.5})))

    def finished(self) -> int:
        with closing(Study.open(self.folder.study, read_only=True)) as study:
            return sum(trial.state.is_finished for trial in study.trials())


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Head]:
    for name, seconds in {"SETTLE_S": 0.0, "EXPIRY_S": 0.1, "_LOOK_S": 0.02}.items():
        monkeypatch.setattr(ownership, name, seconds)
    monkeypatch.setattr(shipping, "BEAT_S", 0.02)
    monkeypatch.setattr(shipping, "_LAST_PATIENCE_S", 0.1)
    return lambda name: Head(tmp_path / name, tmp_path / "storage")


@pytest.fixture
def begun(head: Callable[[str], Head]) -> Head:
    """Two trials were finished by head a."""
    with head("a").create() as first:
        first.finish_a_trial()
        wait_until(lambda: lists(first.remote))
        first.finish_a_trial()
    return first


def lists(remote: Remote) -> list[str]:
    return [name for _, name in newest_copies(remote)]


def wait_until(claim: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_another_machine_goes_on_from_the_storage_alone(begun: Head, head: Callable[[str], Head]) -> None:
    shutil.rmtree(begun.folder.path.parent)
    with head("b").fetch() as second:
        assert second.finished() == 2
        assert load_settings(second.folder).tracking_uri == default_uri(second.folder.path.parent)
        second.finish_a_trial()
    assert head("c").fetch().finished() == 3
    assert second.said == begun.said == []


def test_only_what_the_newest_lists_name_is_kept(begun: Head) -> None:
    with begun:
        for _ in range(3):
            begun.finish_a_trial()
    kept = [read_list(begun.remote.get(name) or b"", begun.remote.below(FILES).uri) for name in lists(begun.remote)]
    assert len(kept) == 2
    assert [check(copies) for copies in kept] == [{}, {}]
    assert set(begun.remote.names(FILES)) == {f"{FILES}/{each.place(file)}" for each in kept for file in each.files}


@pytest.mark.parametrize("how", ["altered", "cut", "gone", "list"])
def test_a_damaged_copy_is_passed_over(begun: Head, head: Callable[[str], Head], how: str) -> None:
    newest, older = (
        read_list(begun.remote.get(name) or b"", begun.remote.below(FILES).uri) for name in lists(begun.remote)
    )
    assert newest.files["study.db"] != older.files["study.db"]
    damage(begun.remote, lists(begun.remote)[0] if how == "list" else f"{FILES}/{newest.place('study.db')}", how)
    second = head("b").fetch()
    assert second.finished() in (1, 2)
    assert second.said[0].startswith("passed over a newer copy: ")
    damage(begun.remote, f"{FILES}/{older.place('study.db')}", how)
    with pytest.raises(StorageError, match="holds no good copy of the sweep"):
        head("c").fetch()
    assert not head("c").folder.path.exists()


def test_a_damaged_list_goes_like_the_others(begun: Head) -> None:
    damaged = lists(begun.remote)[0]
    damage(begun.remote, damaged, "cut")
    with begun:
        for _ in range(3):
            begun.finish_a_trial()
    assert damaged not in lists(begun.remote)


def damage(remote: Remote, name: str, how: str) -> None:
    data = bytearray(remote.get(name) or b"")
    data[len(data) // 2] ^= 1
    remote.put(name, bytes(data if how == "altered" else data[: len(data) // 2]))
    if how == "gone":
        remote.delete(name)


def test_a_head_that_was_replaced_copies_nothing(begun: Head, head: Callable[[str], Head]) -> None:
    """It was suspended, or cut off from the storage; the other went on; it wakes and has finished a trial meanwhile."""
    with begun:
        before = lists(begun.remote)
        later = Claim(epoch=99, token="aa", holder=ownership.Holder.this_process().to_json(), began=True)
        begun.remote.put(later.name, later.model_dump_json().encode())
        begun.finish_a_trial()
        wait_until(lambda: begun.lost)
    assert lists(begun.remote) == before
    assert "another process goes on" in str(begun.lost[0])
    assert head("b").fetch().finished() == 2


def test_two_machines_at_once(begun: Head, head: Callable[[str], Head]) -> None:
    second = head("b").fetch()
    with begun:
        with pytest.raises(BusyError, match="is being run by process"):
            second.__enter__()
        begun.finish_a_trial()
    with second:  # it had an older copy, and takes the newest when its turn has come
        assert second.finished() == 3


def test_a_folder_that_others_have_left_behind_is_not_gone_on_with(begun: Head, head: Callable[[str], Head]) -> None:
    with head("b").fetch() as second:
        second.finish_a_trial()
    with pytest.raises(SweepExistsError, match="another machine has gone on with"):
        begun.__enter__()
    shutil.rmtree(begun.folder.path)
    assert begun.fetch().finished() == 3


def test_storage_that_fails_meanwhile_is_made_up_for(begun: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise UnavailableError("s3://bucket does not answer")

    with begun:
        with monkeypatch.context() as patch:
            patch.setattr(Remote, "put", refuse)
            begun.finish_a_trial()
            wait_until(lambda: begun.said)
        assert begun.said == ["the copy of the study is behind and will be made later: s3://bucket does not answer"]
        before = lists(begun.remote)
        wait_until(lambda: lists(begun.remote) != before)
    monkeypatch.setattr(shipping.Shipper, "_ship", refuse)
    with pytest.raises(UnavailableError), begun:
        begun.finish_a_trial()


def test_a_name_is_taken_once(begun: Head, head: Callable[[str], Head], tmp_path: Path) -> None:
    with pytest.raises(SweepExistsError, match="go on with it by --resume toy --storage-path"):
        check_new(begun.remote)
    check_new(Remote(str(tmp_path / "storage/other")))
    with pytest.raises(MissingInputError, match="other: no copy of a sweep here"):
        fetch_sweep(SweepFolder(tmp_path / "x", "other"), Remote(str(tmp_path / "storage/other")), print)


def test_a_sweep_that_never_began_leaves_nothing(head: Callable[[str], Head]) -> None:
    first = head("a").create()

    def fail() -> None:
        with first:
            raise DmlrayError("Ray does not start")

    with pytest.raises(DmlrayError, match="Ray does not start"):
        fail()
    assert first.remote.names() == {}


def test_a_copy_reaches_no_further_than_the_sweeps_own_files(
    begun: Head, head: Callable[[str], Head], tmp_path: Path
) -> None:
    for name in lists(begun.remote):
        copies = read_list(begun.remote.get(name) or b"", begun.remote.below(FILES).uri)
        text = copies.model_dump_json().replace('"space.yaml"', '"../../canary"')
        begun.remote.put(name, text.encode())
    with pytest.raises(StorageError, match="holds a damaged list of copies"):
        head("b").fetch()
    assert not list(tmp_path.rglob("canary*"))
