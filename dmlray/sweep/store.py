"""One study in a database: each method is one transaction, fenced by the lease and durable when it returns."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from dmlray.errors import LeaseLostError, StorageError
from dmlray.failpoints import reach
from dmlray.sweep import rows
from dmlray.sweep.database import create_database, delete_study, open_database
from dmlray.sweep.lease import Leases
from dmlray.sweep.records import TrialState
from dmlray.sweep.rows import STUDIES, STUDY_ATTRIBUTES, TRIALS, TrialRow
from dmlray.sweep.sampler import Proposal
from dmlray.sweep.study_file import identity, storage_errors


class Store:
    """The study of a file, or the one that the file names. Trials are named by number.

    All methods raise StorageError where the database fails, UnavailableError where its server does not answer, and
    writing ones LeaseLostError once another process has taken the lease.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._file = identity(path)
        self._engine, name = open_database(path, read_only=read_only)
        with storage_errors(path), self._engine.begin() as connection:
            query = select(STUDIES.c.study_id, STUDIES.c.study_name)
            studies = connection.execute(query if name is None else query.where(STUDIES.c.study_name == name)).all()
        if len(studies) != 1:
            raise StorageError(path, f"the database holds {len(studies)} studies instead of one")
        self._id, self.name = studies[0]
        self._leases = Leases(self._engine, self._id, path)
        self._epoch: int | None = None  # of the lease by which this process writes
        self._ids: dict[int, int] = {}  # trial number -> its key in the tables

    @staticmethod
    def create(path: Path, name: str, attributes: Mapping[str, Any], storage: str | None = None) -> None:
        """Make the study, whole or not at all. Raises SweepExistsError if there is one already."""
        create_database(path, name, storage)
        try:
            with closing(Store(path)) as store:
                store.prepare(attributes)
        except BaseException:
            delete_study(path)
            raise

    def prepare(self, attributes: Mapping[str, Any]) -> None:
        """Give a study its lease and the ``attributes`` of the newest format, to which older trials are brought."""
        self._leases.create()
        self.allow_writing()
        with self._writing() as connection:
            rows.seal_rows(connection, self._id)
            for key, value in attributes.items():
                self._put_attribute(connection, key, value)

    def allow_writing(self) -> None:
        """Write from now on, until a process takes the lease."""
        self._epoch = self._leases.state().epoch

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    @contextmanager
    def driving(self, on_lost: Callable[[LeaseLostError], None], say: Callable[[str], None]) -> Iterator[None]:
        """Hold the lease for the block. Raises BusyError naming the process that does."""
        with self._leases.hold(on_lost, say) as self._epoch:
            yield

    def is_driven(self) -> bool:
        """Whether some process holds the lease."""
        return self._leases.is_held()

    def attributes(self) -> dict[str, Any]:
        """The study's own attributes: JSON values."""
        with self._reading() as connection:
            found = connection.execute(select(STUDY_ATTRIBUTES).where(STUDY_ATTRIBUTES.c.study_id == self._id))
            return {row.key: json.loads(row.value_json) for row in found}

    def set_attribute(self, key: str, value: object) -> None:
        """Set one of the study's attributes."""
        with self._writing() as connection:
            self._put_attribute(connection, key, value)

    def read(self, *, sealed: bool = True) -> list[TrialRow]:
        """All trials by number. Raises StorageError for a trial that cannot be understood."""
        with self._reading() as connection:
            found = rows.read_rows(connection, self._id, sealed=sealed)
        self._ids = {row.record.number: row.trial_id for row in found}
        return found

    def read_one(self, number: int) -> TrialRow:
        """One trial, read anew."""
        with self._reading() as connection:
            return rows.read_rows(connection, self._id, number)[0]

    def table_values(self) -> list[rows.TableValues]:
        """What Optuna's tables hold of all trials' values, by number."""
        with self._reading() as connection:
            return rows.read_values(connection, self._id)

    def add(self, number: int, proposal: Proposal, attributes: Mapping[str, object], state: TrialState) -> None:
        """A new trial, waiting or failed already."""
        finished = rows.utc_now() if state.is_finished else None
        values = {"number": number, "study_id": self._id, "state": rows.STORED[state], "datetime_complete": finished}
        with self._writing() as connection:
            trial_id = connection.execute(insert(TRIALS).values(values).returning(TRIALS.c.trial_id)).scalar_one()
            rows.put_params(connection, trial_id, proposal.params, proposal.distributions)
            rows.put_attributes(connection, trial_id, number, attributes)
        self._ids[number] = trial_id

    def note(
        self, number: int, attributes: Mapping[str, object], intermediate: tuple[int, float] | None = None
    ) -> None:
        """Set attributes of a trial, and the value that it reached after an epoch."""
        with self._writing() as connection:
            if intermediate is not None:
                rows.put_intermediate(connection, self._ids[number], *intermediate)
            rows.put_attributes(connection, self._ids[number], number, attributes)

    def move(
        self, number: int, state: TrialState, attributes: Mapping[str, object], value: float | None = None
    ) -> None:
        """Move a trial to ``state``, with its final value and attributes, of which None removes one."""
        trial_id = self._ids[number]
        with self._writing() as connection:
            rows.put_attributes(connection, trial_id, number, attributes)
            if value is not None:
                rows.put_value(connection, trial_id, value)
            connection.execute(update(TRIALS).where(TRIALS.c.trial_id == trial_id).values(_moved(state)))

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with storage_errors(self.path), self._engine.begin() as connection:
            try:
                yield connection
            except (LookupError, TypeError, ValueError) as error:
                raise StorageError(self.path, f"the study is damaged: {error}") from error

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with storage_errors(self.path), self._engine.begin() as connection:
            yield connection
            assert self._epoch is not None, "a writing store has looked at the lease"
            self._leases.check(connection, self._epoch)
            if identity(self.path) != self._file:  # SQLite would go on writing a file that nobody can open any more
                raise StorageError(self.path, "the study is another file than the one that this process opened")
            reach("before-commit")

    def _put_attribute(self, connection: Connection, key: str, value: object) -> None:
        table = STUDY_ATTRIBUTES
        connection.execute(delete(table).where(table.c.study_id == self._id, table.c.key == key))
        connection.execute(insert(table).values(study_id=self._id, key=key, value_json=json.dumps(value)))


def _moved(state: TrialState) -> dict[str, Any]:
    """The columns of a trial's own row that change when it comes to ``state``."""
    started = {"datetime_start": rows.utc_now()} if state is TrialState.running else {}
    finished = rows.utc_now() if state.is_finished else None
    return {"state": rows.STORED[state], "datetime_complete": finished, **started}
