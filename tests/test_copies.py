"""Many copies are read together, and what is wrong with them is told in their order; one process keeps them."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from dmlray.copies import FolderCopy, check, copy_of, download, newest_list, read_list, upload
from dmlray.errors import UnavailableError
from dmlray.remote import Remote

NAMES = tuple(f"file-{number}" for number in range(6))


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """Holds the copies of six files of 1 KiB."""
    for name in NAMES:
        (tmp_path / name).write_bytes(os.urandom(1024))
    return Remote(str(tmp_path / "copies"))


def test_files_are_read_together(remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = upload(tmp_path, {name: copy_of(tmp_path / name) for name in NAMES}, remote, None)
    everybody = Barrier(len(NAMES), timeout=20)  # whoever reads alone waits for it in vain
    digest, fetch = Remote.digest, Remote.fetch

    def read(self: Remote, name: str) -> str:
        everybody.wait()
        return digest(self, name)

    def bring(self: Remote, name: str, path: Path) -> str:
        everybody.wait()
        return fetch(self, name, path)

    monkeypatch.setattr(Remote, "digest", read)
    monkeypatch.setattr(Remote, "fetch", bring)
    assert check(copies) == {}
    assert download(copies, tmp_path / "elsewhere", lambda name: True) == {}
    for name in NAMES:
        assert (tmp_path / "elsewhere" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_what_is_wrong_is_told_in_order(remote: Remote, tmp_path: Path) -> None:
    copies = upload(tmp_path, {name: copy_of(tmp_path / name) for name in NAMES}, remote, None)
    remote.put(copies.place(NAMES[4]), b"other bytes")
    remote.delete(copies.place(NAMES[1]))
    places = [f"{remote}/{copies.place(NAMES[place])}" for place in (1, 4)]
    altered = "is altered or damaged: its SHA-256 is not the list's"
    assert list(check(copies).items()) == [(places[0], "is missing"), (places[1], altered)]
    problems = download(copies, tmp_path / "elsewhere", lambda name: True)
    assert list(problems.items()) == [(NAMES[1], f"{places[0]}: is missing"), (NAMES[4], f"{places[1]} {altered}")]
    assert not {NAMES[1], NAMES[4]} & {path.name for path in (tmp_path / "elsewhere").iterdir()}


class PowerCutError(Exception):
    """The node is gone."""


class Watched(Remote):
    """Calls ``before`` with the count of its requests, from 0, before each."""

    def __init__(self, remote: Remote, before: Callable[[int], None]) -> None:
        super().__init__(remote.uri)
        self.before, self.count = before, -1

    def _try(self, work: Callable[[], Any]) -> Any:
        self.count += 1
        self.before(self.count)
        return super()._try(work)


TAKING = range(8)  # a listing, the claim, a listing, a listing, two lists read, the list written, the old one deleted


@pytest.fixture
def storage(tmp_path: Path) -> Remote:
    return Remote(str(tmp_path / "storage"))


@pytest.fixture
def keeper(tmp_path: Path, storage: Remote) -> FolderCopy:
    """Keeps the copy of a folder with one file."""
    keeper = keep(tmp_path / "keeper", storage)
    write(keeper, "first")
    return keeper


def keep(folder: Path, remote: Remote) -> FolderCopy:
    folder.mkdir()
    copy = FolderCopy(folder, remote)
    copy.take()
    copy.pull()
    return copy


def write(copy: FolderCopy, content: str) -> None:
    """Change the file in the folder, and copy it: the former copy is deleted."""
    (copy.folder / "file").write_text(content)
    copy.push()


def content(storage: Remote, scratch: Path) -> str:
    """What the file's copy holds."""
    scratch.mkdir()
    assert FolderCopy(scratch, storage).pull() == []
    return (scratch / "file").read_text()


@pytest.mark.parametrize("when", TAKING)
def test_nothing_is_lost_where_the_keeper_copies_while_another_takes(
    storage: Remote, keeper: FolderCopy, tmp_path: Path, when: int
) -> None:
    """However far the other has come: before its claim the keeper's copy counts, after it the keeper is told."""
    copied: list[bool] = []

    def write_late(count: int) -> None:
        if count == when:
            try:
                write(keeper, "second")
                copied.append(True)
            except UnavailableError:
                copied.append(False)

    after = keep(tmp_path / "after", Watched(storage, write_late))
    assert copied == [when < 2]
    name, data = newest_list(storage)
    assert name == after._own
    assert check(read_list(data, storage.uri)) == {}
    found = (after.folder / "file").read_text()
    assert found == "second" if copied[0] else found in {"first", "second"}
    write(after, "third")
    assert content(storage, tmp_path / "scratch") == "third"


@pytest.mark.parametrize("when", TAKING)
def test_who_is_lost_while_it_takes_a_copy_is_of_no_consequence(
    storage: Remote, keeper: FolderCopy, tmp_path: Path, when: int
) -> None:
    def cut(count: int) -> None:
        if count == when:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        keep(tmp_path / "lost", Watched(storage, cut))
    with nullcontext() if when < 2 else pytest.raises(UnavailableError, match="another process goes on with"):
        write(keeper, "second")
    after = keep(tmp_path / "after", storage)
    assert (after.folder / "file").read_text() == ("second" if when < 7 else "first")
    for word in ("third", "fourth"):
        write(after, word)
    assert content(storage, tmp_path / "scratch") == "fourth"
    assert len(storage.names()) <= 3, "its list, its file, and the one that the keeper copied in vain"


def test_of_two_that_claim_a_copy_at_once_the_first_by_name_keeps_it(
    storage: Remote, keeper: FolderCopy, tmp_path: Path
) -> None:
    both = Barrier(2, timeout=20)

    def meet(count: int) -> None:
        if count in (1, 2):  # both have listed before either claims; both have claimed before either lists again
            both.wait()

    def take(name: str) -> FolderCopy | None:
        try:
            return keep(tmp_path / name, Watched(storage, meet))
        except UnavailableError:
            return None

    with ThreadPoolExecutor(2) as pool:
        kept = [copy for copy in pool.map(take, ("a", "b")) if copy is not None]
    assert len(kept) == 1
    write(kept[0], "second")
    assert content(storage, tmp_path / "scratch") == "second"
    with pytest.raises(UnavailableError, match="another process goes on with"):
        write(keeper, "third")


@pytest.mark.parametrize(("token", "is_lower"), [("00000000", True), ("ffffffff", False)])
def test_of_one_turn_the_list_that_sorts_first_counts(
    storage: Remote, keeper: FolderCopy, token: str, is_lower: bool
) -> None:
    """Such as one leaves that is lost between its claim and its second look."""
    storage.put(f"copies-00000001-{token}.json", b"")
    if is_lower:
        with pytest.raises(UnavailableError, match="another process goes on with"):
            write(keeper, "second")
    else:
        write(keeper, "second")
    assert newest_list(storage)[0] == keeper._own


def test_a_list_that_goes_while_it_is_read_is_looked_for_again(
    storage: Remote, keeper: FolderCopy, tmp_path: Path
) -> None:
    def take(count: int) -> None:
        if count == 1:  # it has listed, and is about to read
            keep(tmp_path / "after", storage)

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert FolderCopy(scratch, Watched(storage, take)).pull() == []
    assert (scratch / "file").read_text() == "first"
