"""One driver per sweep: a lease in the study's own database, by which every write of the driver is fenced.

The lease counts epochs, and beats within an epoch. Its holder adds a beat every few seconds; whoever wants it takes the
next epoch once the holder is known to be dead, or once no beat has come for EXPIRY_S on the challenger's own
monotonic clock. Wall clocks decide nothing. A write commits only in a transaction that finds its own epoch in the table
(a fencing token: Kleppmann, "How to do distributed locking", 2016), so a driver that was suspended past its lease
cannot write.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Column, ColumnElement, Connection, Engine, Integer, MetaData, Table, Text, insert, select, update

from dmlray.errors import BusyError, DmlrayError, LeaseLostError
from dmlray.sweep.holder import Holder
from dmlray.sweep.study_file import storage_errors

HEARTBEAT_S = 2.0
EXPIRY_S = 20.0
_LOOK_S = 0.2

LEASES = Table(
    "dmlray_leases",
    MetaData(),
    Column("study_id", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Integer, nullable=False),
    Column("beat", Integer, nullable=False),
    Column("holder", Text),  # Holder as JSON; NULL once it was given back
)


@dataclass(frozen=True)
class LeaseState:
    """The lease as the table has it."""

    epoch: int
    beat: int
    holder: Holder | None


class Leases:
    """The lease of one study, whose file ``path`` names it in errors. All methods raise as `storage_errors` does."""

    def __init__(self, engine: Engine, study_id: int, path: Path) -> None:
        self._engine, self._study_id, self._path = engine, study_id, path

    def create(self) -> None:
        """Make the table and this study's row where they are not there yet; a study of format 1 has neither."""
        with self._transaction() as connection:
            LEASES.create(connection, checkfirst=True)
            if connection.execute(select(LEASES).where(self._mine)).first() is None:
                connection.execute(insert(LEASES).values(study_id=self._study_id, epoch=0, beat=0, holder=None))

    def state(self) -> LeaseState:
        """Read it now."""
        with self._transaction() as connection:
            row = connection.execute(select(LEASES).where(self._mine)).one()
        return LeaseState(row.epoch, row.beat, Holder.parse(row.holder) if row.holder else None)

    def check(self, connection: Connection, epoch: int) -> None:
        """Raise LeaseLostError, which ends the transaction, unless ``epoch`` is still the lease's.

        To be called last, when the transaction holds its locks: SQLite lets one writer in at a time, and elsewhere the
        row stays locked against a takeover until the commit.
        """
        query = select(LEASES.c.epoch, LEASES.c.holder).where(self._mine).with_for_update(read=True)
        row = connection.execute(query).one()
        if row.epoch != epoch:
            raise LeaseLostError(self._lost(row.holder))

    @contextmanager
    def hold(self, on_lost: Callable[[LeaseLostError], None], say: Callable[[str], None]) -> Iterator[int]:
        """Be the study's only driver for the block, which gets the epoch; ``on_lost`` is called from another thread.

        Raises BusyError naming the holder while there is a living one.
        """
        epoch = self._acquire(say)
        stop = threading.Event()
        beats = threading.Thread(target=self._beat, args=(epoch, stop, on_lost), name="dmlray-lease", daemon=True)
        beats.start()
        try:
            yield epoch
        finally:
            stop.set()
            beats.join()
            with suppress(DmlrayError):  # this process ends, which is as good
                self._release(epoch)

    def is_held(self) -> bool:
        """Whether some process drives the study now; for one on another machine this waits for a beat."""
        first = self.state()
        fate = "dead" if first.holder is None else first.holder.fate()
        deadline = time.monotonic() + 2 * HEARTBEAT_S
        while fate == "unknown" and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
            if self.state() != first:
                fate = "alive"
        return fate == "alive"

    def _acquire(self, say: Callable[[str], None]) -> int:
        first = self.state()
        deadline = time.monotonic() + EXPIRY_S
        if first.holder is not None and first.holder.fate() != "dead":
            say(f"looking for up to {EXPIRY_S:g} s whether {first.holder} still runs this sweep")
        while not self._is_free(first, deadline):
            time.sleep(_LOOK_S)
            if (state := self.state()) != first:
                raise BusyError(f"{self._path.parent} is being run by {state.holder or first.holder}: wait for it")
        return self._take(first)

    def _is_free(self, state: LeaseState, deadline: float) -> bool:
        return state.holder is None or state.holder.fate() == "dead" or time.monotonic() >= deadline

    def _take(self, seen: LeaseState) -> int:
        """The next epoch, unless another was faster than this process."""
        unchanged = self._mine & (LEASES.c.epoch == seen.epoch) & (LEASES.c.beat == seen.beat)
        new = {"epoch": seen.epoch + 1, "beat": 0, "holder": Holder.this_process().to_json()}
        with self._transaction() as connection:
            taken = connection.execute(update(LEASES).where(unchanged).values(new)).rowcount
        if not taken:
            raise BusyError(f"{self._path.parent} is being run by {self.state().holder}: wait for it")
        return seen.epoch + 1

    def _beat(self, epoch: int, stop: threading.Event, on_lost: Callable[[LeaseLostError], None]) -> None:
        while not stop.wait(HEARTBEAT_S):
            try:
                self._add_beat(epoch)
            except LeaseLostError as error:
                on_lost(error)
                return
            except DmlrayError:  # a full disk, a server that restarts: the driver's own writes will tell
                continue

    def _add_beat(self, epoch: int) -> None:
        with self._transaction() as connection:
            mine = self._mine & (LEASES.c.epoch == epoch)
            if not connection.execute(update(LEASES).where(mine).values(beat=LEASES.c.beat + 1)).rowcount:
                self.check(connection, epoch)

    def _release(self, epoch: int) -> None:
        mine = self._mine & (LEASES.c.epoch == epoch)
        with self._transaction() as connection:
            connection.execute(update(LEASES).where(mine).values(holder=None))

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with storage_errors(self._path), self._engine.begin() as connection:
            yield connection

    @property
    def _mine(self) -> ColumnElement[bool]:
        return LEASES.c.study_id == self._study_id

    def _lost(self, holder: str | None) -> str:
        by = f"{Holder.parse(holder)} has" if holder else "another process has since"
        return (
            f"{by} taken over {self._path.parent} while this process was suspended or cut off: nothing more is written"
        )
