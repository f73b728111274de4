"""How trials stand in Optuna's tables: rows read and written in bulk, every attribute sealed with a checksum.

Optuna's own storage reads a study of 5,000 trials in more than 10 s, and spreads a report over several transactions.
"""

import json
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages._rdb import models
from optuna.trial import TrialState as Stored
from sqlalchemy import Connection, Table, delete, insert, select

from dmlray.sweep.records import ASKED, TrialRecord, TrialState, attributes_of, record_of

STUDIES: Table = models.StudyModel.__table__
STUDY_ATTRIBUTES: Table = models.StudyUserAttributeModel.__table__
TRIALS: Table = models.TrialModel.__table__
ATTRIBUTES: Table = models.TrialUserAttributeModel.__table__
PARAMS: Table = models.TrialParamModel.__table__
VALUES: Table = models.TrialValueModel.__table__
INTERMEDIATE: Table = models.TrialIntermediateValueModel.__table__

STORED = {
    TrialState.waiting: Stored.WAITING,
    TrialState.running: Stored.RUNNING,
    TrialState.complete: Stored.COMPLETE,
    TrialState.pruned: Stored.PRUNED,
    TrialState.failed: Stored.FAIL,
}
_SEALED = re.compile(r'\{"crc32": (\d+), "value": (.*)\}')
STATES = {stored: state for state, stored in STORED.items()}


@dataclass(frozen=True)
class TrialRow:
    """A trial with its key in the tables and the distributions that its parameters were drawn from."""

    trial_id: int
    record: TrialRecord
    distributions: Mapping[str, BaseDistribution]


@dataclass(frozen=True)
class TableValues:
    """What Optuna's own tables hold of a trial's values: the final one, and those by epoch."""

    value: float | None
    intermediate: Mapping[int, float]


def seal(number: int, key: str, value: object) -> str:
    """An attribute as JSON with a CRC-32 over it, its key and its trial."""
    body = json.dumps(value)
    return f'{{"crc32": {_checksum(number, key, body)}, "value": {body}}}'


def unseal(number: int, key: str, text: str) -> Any:
    """The value of an attribute. Raises ValueError for one that is not as it was written."""
    found = _SEALED.fullmatch(text)
    if found is None or int(found[1]) != _checksum(number, key, found[2]):
        raise ValueError(f"attribute {key} of trial {number} does not fit its checksum")
    return json.loads(found[2])


def read_rows(
    connection: Connection, study_id: int, number: int | None = None, *, sealed: bool = True
) -> list[TrialRow]:
    """All trials of a study by number, or the one. Studies of format 1 are not ``sealed``.

    Raises LookupError, TypeError or ValueError for what cannot be understood.
    """
    wanted = TRIALS.c.study_id == study_id
    if number is not None:
        wanted &= TRIALS.c.number == number
    trials = connection.execute(select(TRIALS).where(wanted).order_by(TRIALS.c.number)).all()
    numbers = {trial.trial_id: trial.number for trial in trials}
    attributes: dict[int, dict[str, Any]] = defaultdict(dict)
    for row in _of_trials(connection, ATTRIBUTES, wanted):
        if row.trial_id in numbers:  # else it was added since
            attributes[row.trial_id][row.key] = (
                unseal(numbers[row.trial_id], row.key, row.value_json) if sealed else json.loads(row.value_json)
            )
    drawn: dict[int, dict[str, BaseDistribution]] = defaultdict(dict)
    chosen: dict[int, dict[str, Any]] = defaultdict(dict)
    for row in _of_trials(connection, PARAMS, wanted):
        distribution = drawn[row.trial_id][row.param_name] = _distribution(row.distribution_json)
        chosen[row.trial_id][row.param_name] = distribution.to_external_repr(row.param_value)
    if not sealed:
        for trial_id, each in attributes.items():
            each[ASKED] = {"config": each.pop("config"), "params": dict(chosen[trial_id])}
    found = [_row(trial, attributes[trial.trial_id], drawn[trial.trial_id], chosen[trial.trial_id]) for trial in trials]
    if number is None and [row.record.number for row in found] != list(range(len(found))):
        raise ValueError(f"the {len(found)} trials are not numbered from 0 to {len(found) - 1}, each once")
    return found


def read_values(connection: Connection, study_id: int) -> list[TableValues]:
    """Of all trials by number, for comparison with their records."""
    wanted = TRIALS.c.study_id == study_id
    values = {row.trial_id: row.value for row in _of_trials(connection, VALUES, wanted)}
    epochs: dict[int, dict[int, float]] = defaultdict(dict)
    for row in _of_trials(connection, INTERMEDIATE, wanted):
        epochs[row.trial_id][row.step] = row.intermediate_value
    ids = connection.execute(select(TRIALS.c.trial_id).where(wanted).order_by(TRIALS.c.number)).scalars()
    return [TableValues(values.get(trial_id), epochs[trial_id]) for trial_id in ids]


def seal_rows(connection: Connection, study_id: int) -> None:
    """Bring the trials of a study of format 1 to format 2."""
    of_study = select(TRIALS.c.trial_id).where(TRIALS.c.study_id == study_id)
    found = read_rows(connection, study_id, sealed=False)
    connection.execute(delete(ATTRIBUTES).where(ATTRIBUTES.c.trial_id.in_(of_study)))
    for row in found:
        put_attributes(connection, row.trial_id, row.record.number, attributes_of(row.record))


def put_attributes(connection: Connection, trial_id: int, number: int, attributes: Mapping[str, object]) -> None:
    """Set attributes of a trial; None removes one."""
    connection.execute(delete(ATTRIBUTES).where(ATTRIBUTES.c.trial_id == trial_id, ATTRIBUTES.c.key.in_(attributes)))
    kept = [
        {"trial_id": trial_id, "key": key, "value_json": seal(number, key, value)}
        for key, value in attributes.items()
        if value is not None
    ]
    if kept:
        connection.execute(insert(ATTRIBUTES), kept)


def put_params(
    connection: Connection, trial_id: int, params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]
) -> None:
    """What a new trial's parameters are, as Optuna has them."""
    rows = [
        {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": distributions[name].to_internal_repr(value),
            "distribution_json": distribution_to_json(distributions[name]),
        }
        for name, value in params.items()
    ]
    if rows:
        connection.execute(insert(PARAMS), rows)


def put_value(connection: Connection, trial_id: int, value: float) -> None:
    """The final value of a trial."""
    finite = models.TrialValueModel.TrialValueType.FINITE
    connection.execute(delete(VALUES).where(VALUES.c.trial_id == trial_id))
    connection.execute(insert(VALUES).values(trial_id=trial_id, objective=0, value=value, value_type=finite))


def put_intermediate(connection: Connection, trial_id: int, epoch: int, value: float) -> None:
    """What a trial reached after ``epoch``."""
    table, finite = INTERMEDIATE, models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
    connection.execute(delete(table).where(table.c.trial_id == trial_id, table.c.step == epoch))
    row = {"trial_id": trial_id, "step": epoch, "intermediate_value": value, "intermediate_value_type": finite}
    connection.execute(insert(table).values(row))


def utc_now() -> datetime:
    """As Optuna stores times: naive, in UTC."""
    return datetime.now(UTC).replace(tzinfo=None)


def _row(
    trial: Any, attributes: Mapping[str, Any], drawn: Mapping[str, BaseDistribution], chosen: Mapping[str, Any]
) -> TrialRow:
    started, finished = (_aware(moment) for moment in (trial.datetime_start, trial.datetime_complete))
    record = record_of(trial.number, STATES[trial.state], attributes, started, finished)
    if dict(chosen) != record.params:
        raise ValueError(f"the parameters of trial {trial.number} are not those of its attribute {ASKED}")
    return TrialRow(trial.trial_id, record, drawn)


def _of_trials(connection: Connection, table: Table, wanted: Any) -> Iterator[Any]:
    joined = table.join(TRIALS, table.c.trial_id == TRIALS.c.trial_id)
    key = next(iter(table.primary_key))
    yield from connection.execute(select(table).select_from(joined).where(wanted).order_by(key))


@lru_cache(maxsize=4096)
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)


def _checksum(number: int, key: str, body: str) -> int:
    return zlib.crc32(f"{number} {key} {body}".encode())


def _aware(utc: datetime | None) -> datetime | None:
    return None if utc is None else utc.replace(tzinfo=UTC).astimezone()
