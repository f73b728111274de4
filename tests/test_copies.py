"""Many copies are read together, and what is wrong with them is told in their order."""

import os
from pathlib import Path
from threading import Barrier

import pytest

from dmlray.copies import check, copy_of, download, upload
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
