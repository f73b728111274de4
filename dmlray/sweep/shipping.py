"""A sweep's settings and study, copied to its storage path whenever a trial begins or ends, by its one head.

The study is copied by SQLite's own backup, which gives one moment of it. A study in PostgreSQL stays there; its copy is
the file that names it. What is copied where: `sweep.fetching`.
"""

import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from dmlray.copies import Copies, copy_of, upload
from dmlray.errors import DmlrayError, LeaseLostError
from dmlray.failpoints import reach
from dmlray.remote import Remote
from dmlray.sweep.director import Change
from dmlray.sweep.fetching import (
    COPIES,
    FILES,
    SHIPPED,
    Origin,
    fetch_sweep,
    note_origin,
    past_copies,
    sweep_remote,
)
from dmlray.sweep.ownership import BEAT_S, Ownership
from dmlray.sweep.settings import STUDY_FILE, SweepConfig, SweepFolder
from dmlray.sweep.study_file import connector, storage_errors

_KEPT = 2  # of the newest copies: one of them may turn out to be damaged
_PATIENCE_S, _LAST_PATIENCE_S = 20.0, 60.0
_TELLING = {"started", "complete", "pruned", "failed", "retried"}  # changes after which the study is copied


@contextmanager
def shipping(
    folder: SweepFolder, config: SweepConfig, on_lost: Callable[[LeaseLostError], None], say: Callable[[str], None]
) -> Iterator[Callable[[Change], None]]:
    """Be the sweep's head on its storage path for the block, which gets what is to be told of every change.

    A sweep without a storage path has none of this. Raises BusyError while another head is at work, SweepExistsError
    where this folder is not the newest copy's past, UnavailableError where the last copy cannot be made.
    """
    if config.storage_path is None:
        yield lambda change: None
        return
    remote = sweep_remote(config.storage_path, config.name)
    remote.probe()
    owner = Ownership.take(remote, say)
    try:
        past = past_copies(remote)
        if past:
            fetch_sweep(folder, remote, say)
        note_origin(folder, Origin(rank=(owner.epoch, 0, owner.token), is_head=True))
    except BaseException:
        with suppress(DmlrayError):
            owner.release()
        raise
    shipper = Shipper(folder, remote, owner, past, on_lost, say)
    try:
        yield shipper.on_change
    except Exception:  # who interrupts twice does not wait for a last copy
        with suppress(DmlrayError):
            shipper.close()
        raise
    shipper.close()


class Shipper:
    """Copies one sweep's study as its head, from a thread of its own, and beats. Training never waits for it."""

    def __init__(
        self,
        folder: SweepFolder,
        remote: Remote,
        owner: Ownership,
        past: list[tuple[str, Copies]],
        on_lost: Callable[[LeaseLostError], None],
        say: Callable[[str], None],
    ) -> None:
        self._folder, self._remote, self._owner, self._past = folder, remote.patient(_PATIENCE_S), owner, past
        self._on_lost, self._say = on_lost, say
        self._wake = threading.Event()
        self._is_over = self._is_lost = self._is_behind = False
        self._has_begun = bool(past)
        self._changes = self._copied = self._number = 0
        self._there: Copies | None = None
        self._thread = threading.Thread(target=self._run, name="dmlray-shipper", daemon=True)
        self._thread.start()

    def on_change(self, change: Change) -> None:
        """Copy the study soon, if more has changed than an epoch's figures."""
        if change.what in _TELLING:
            self._has_begun = True
            self._changes += 1
            self._wake.set()

    def close(self) -> None:
        """Make the last copy and let others go on; nothing of that if another head has taken over.

        Raises UnavailableError where the copy cannot be made: then the newest is an older one.
        """
        self._is_over = True
        self._wake.set()
        self._thread.join()
        if self._is_lost:
            return
        self._remote = self._remote.patient(_LAST_PATIENCE_S)
        if self._has_begun:
            try:
                self._ship()
            except LeaseLostError as error:
                self._on_lost(error)
                return
        self._owner.release(forget=not self._has_begun)

    def _run(self) -> None:
        while not self._is_over:
            self._wake.wait(BEAT_S)
            self._wake.clear()
            changes = self._changes
            try:
                self._owner.beat()
                if changes != self._copied and not self._is_over:
                    self._ship()
                    self._copied = changes
                self._is_behind = False
            except LeaseLostError as error:
                self._is_lost = True
                self._on_lost(error)
                return
            except (DmlrayError, OSError) as error:
                if not self._is_behind:
                    self._say(f"the copy of the study is behind and will be made later: {error}")
                self._is_behind = True

    def _ship(self) -> None:
        with tempfile.TemporaryDirectory(prefix="dmlray-ship-") as scratch:
            _stage(self._folder, Path(scratch))
            files = {path.name: copy_of(path) for path in Path(scratch).iterdir()}
            copies = upload(Path(scratch), files, self._remote.below(FILES), self._there)
        if copies == self._there:
            return  # the list before it shall stay one of other content
        name = f"{COPIES}/{self._owner.epoch:08d}-{self._number:08d}-{self._owner.token}.json"
        self._owner.check()
        reach("before-list", file=name)
        self._remote.put(name, copies.model_dump_json(indent=1).encode())
        reach("after-list", file=name)
        self._number, self._there = self._number + 1, copies
        self._past.append((name, copies))
        while len(self._past) > _KEPT:
            self._forget(*self._past.pop(0))

    def _forget(self, name: str, copies: Copies) -> None:
        """Remove an old list, and those of its files that no kept one has."""
        kept = {each.place(file) for _, each in self._past for file in each.files}
        self._remote.delete(name)
        for place in {copies.place(file) for file in copies.files} - kept:
            self._remote.below(FILES).delete(place)


def _stage(folder: SweepFolder, scratch: Path) -> None:
    """Put what is to be copied where nobody changes it meanwhile."""
    for name in SHIPPED:
        path = folder.path / name
        if name == STUDY_FILE and path.exists():
            _backup(path, scratch / name)
        elif path.exists():
            shutil.copyfile(path, scratch / name)


def _backup(study: Path, target: Path) -> None:
    """One moment of the study (https://sqlite.org/backup.html), in one file, held by nobody."""
    with (
        storage_errors(study),
        closing(connector(study, read_only=True)()) as source,
        closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
        copy.execute("UPDATE dmlray_leases SET holder = NULL")
        copy.commit()
