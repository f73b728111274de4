"""Brings MLflow runs up to date by sending what the server lacks."""

import logging
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dmlray.atomic import atomic_path
from dmlray.errors import UnavailableError
from dmlray.tracking.audit import differences
from dmlray.tracking.known import KnownRun, stamp
from dmlray.tracking.record import RunRecord
from dmlray.tracking.store import SQLITE, artifact_root, creation_lock, database_of, prepare_environment

if TYPE_CHECKING:  # importing MLflow takes 2 s
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

KEY_TAG = "dmlray.key"
_PARENT_TAG, _NAME_TAG = "mlflow.parentRunId", "mlflow.runName"
_TAGS, _PARAMS, _METRICS = 50, 50, 500  # of each in a request, which MLflow limits to 1,000,000 bytes
_REFUSALS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"}
_STRANGER = "is not in the study"
_NOISE = ("alembic", "mlflow", "urllib3.connectionpool")

_CAUSE = re.compile(r"\(Caused by \w+\(.*?\): (.+?)[\"']?\)\)$")  # of what urllib3 has given up, within its words

Item = TypeVar("Item")


class RefusedRunError(UnavailableError):
    """The server answers, but does not take this run."""


class Tracker:
    """The runs of one experiment, written from one process. Nothing is asked of the server before the first sync."""

    def __init__(self, uri: str, experiment: str) -> None:
        self.uri, self.experiment = uri, experiment
        self._client: MlflowClient | None = None
        self._experiment_id = ""
        self._known: dict[str, KnownRun] = {}

    def sync(self, records: Sequence[RunRecord]) -> None:
        """Send what the server lacks, parents first. After an error, however it came about, sync again.

        Raises UnavailableError when the server does not answer, RefusedRunError when it does not take a record; the
        other records are then sent all the same.
        """
        with self._errors_told("cannot be used"):
            client = self._connect()
        refusals = []
        for record in parents_first(records):
            try:
                with self._errors_told(f"did not take run {record.key}"):
                    self._sync(client, record)
            except UnavailableError as error:
                self._known.pop(record.key, None)  # how much of it arrived is unknown: ask next time
                if not isinstance(error, RefusedRunError):
                    raise
                refusals.append(error)
        if refusals:
            raise refusals[0]

    def run_id(self, key: str) -> str:
        """The server's id of a run that has been synced."""
        return self._known[key].run_id

    def audit(self, records: Sequence[RunRecord], prefix: str) -> dict[str, list[str]]:
        """By key, what differs between ``records`` and the runs that are there, with any other key ``prefix``N.

        Raises UnavailableError when the server does not answer.
        """
        with self._errors_told("cannot be used"):
            client = self._connect()
        with self._errors_told("could not be read"):
            runs = self._runs_by_key(client)
            found = {record.key: list(differences(client, runs.get(record.key, []), record)) for record in records}
        strangers = [
            key for key in runs if key.startswith(prefix) and key[len(prefix) :].isdigit() and key not in found
        ]
        return {key: said for key, said in found.items() if said} | {key: [_STRANGER] for key in strangers}

    def rebuild(self, records: Sequence[RunRecord], keys: Iterable[str]) -> None:
        """Remove the runs of ``keys``, then send what the server lacks. Raises as ``sync`` does.

        Runs that lay under a removed one, such as a sweep's ensembles, come under its successor.
        """
        with self._errors_told("cannot be used"):
            client = self._connect()
        with self._errors_told("could not be cleaned"):
            runs = self._runs_by_key(client)
            removed = {run.info.run_id: key for key in keys for run in runs.get(key, [])}
            for run_id, key in removed.items():
                self._known.pop(key, None)
                for model in client.search_logged_models([self._experiment_id], f"source_run_id = '{run_id}'"):
                    client.delete_logged_model(model.model_id)
                client.delete_run(run_id)
        self.sync(records)
        with self._errors_told("could not be cleaned"):
            for run in (run for same in runs.values() for run in same if run.info.run_id not in removed):
                key = removed.get(run.data.tags.get(_PARENT_TAG, ""), "")
                if key in self._known:
                    client.set_tag(run.info.run_id, _PARENT_TAG, self._known[key].run_id)

    def _runs_by_key(self, client: "MlflowClient") -> dict[str, list["Run"]]:
        found: dict[str, list[Run]] = defaultdict(list)
        token: str | None = None
        while True:
            page = client.search_runs([self._experiment_id], max_results=1000, page_token=token)
            for run in page:
                found[run.data.tags.get(KEY_TAG, "")].append(run)
            token = page.token
            if not token:
                return found

    def _connect(self) -> "MlflowClient":
        if self._client is None:
            prepare_environment()
            from mlflow.tracking import MlflowClient

            for name in _NOISE:
                logging.getLogger(name).setLevel(logging.CRITICAL)  # errors are raised too, and told in one sentence
            database = database_of(self.uri)
            with creation_lock(database):
                if database is not None and not database.exists():
                    _create_whole(database)
                client = MlflowClient(tracking_uri=self.uri)
                self._experiment_id = self._find_experiment(client)
            self._client = client
        return self._client

    def _find_experiment(self, client: "MlflowClient") -> str:
        found = client.get_experiment_by_name(self.experiment)
        if found is not None:
            return str(found.experiment_id)
        database = database_of(self.uri)
        location = (artifact_root(database) / self.experiment).as_uri() if database else None
        return str(client.create_experiment(self.experiment, artifact_location=location))

    def _sync(self, client: "MlflowClient", record: RunRecord) -> None:
        tags = self._wanted_tags(client, record)
        run = self._find(client, record.key) or self._create(client, record, tags)
        self._send_values(client, run, record, tags)
        for path in run.new_artifacts(record):
            sent = stamp(path)
            if path.is_dir():
                client.log_artifacts(run.run_id, str(path), path.name)
            else:
                client.log_artifact(run.run_id, str(path))
            run.artifacts[path] = sent
        self._send_status(client, run, record)
        self._send_lineage(client, run, record)  # last: a server of an older MLflow refuses it

    def _send_lineage(self, client: "MlflowClient", run: KnownRun, record: RunRecord) -> None:
        from dmlray.tracking.lineage import send_datasets, send_members, send_model

        send_datasets(client, run, record)
        send_model(client, self._experiment_id, run, record)
        if record.members:
            found = (self._find(client, key) for key in record.members)
            send_members(client, run, [member for member in found if member is not None])

    def _wanted_tags(self, client: "MlflowClient", record: RunRecord) -> dict[str, str]:
        parent = self._find(client, record.parent_key) if record.parent_key is not None else None
        nested = {_PARENT_TAG: parent.run_id} if parent else {}
        return {**record.tags, KEY_TAG: record.key, _NAME_TAG: record.name, **nested}

    def _find(self, client: "MlflowClient", key: str) -> KnownRun | None:
        """What is known of a run: from memory, or on first contact from the server."""
        if key not in self._known:
            assert "'" not in key, key
            query = f"tags.`{KEY_TAG}` = '{key}'"
            found = client.search_runs([self._experiment_id], query, order_by=["attributes.start_time ASC"])
            if not found:
                return None
            self._known[key] = _read(client, found[0])
        return self._known[key]

    def _create(self, client: "MlflowClient", record: RunRecord, tags: dict[str, str]) -> KnownRun:
        start = record.start_time_ms or int(time.time() * 1000)
        run = client.create_run(self._experiment_id, start_time=start, tags=tags, run_name=record.name)
        self._known[record.key] = _read(client, run)
        return self._known[record.key]

    def _send_values(self, client: "MlflowClient", run: KnownRun, record: RunRecord, wanted: dict[str, str]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        tags, params, metrics = run.new_tags(wanted), run.new_params(record), run.new_metrics(record)
        batches = zip_longest(
            _chunks([RunTag(*tag) for tag in tags.items()], _TAGS),
            _chunks([Param(*param) for param in params.items()], _PARAMS),
            _chunks([Metric(*value) for value in metrics], _METRICS),
            fillvalue=(),
        )
        for some_tags, some_params, some_metrics in batches:
            client.log_batch(run.run_id, metrics=some_metrics, params=some_params, tags=some_tags)
        run.tags |= tags
        run.params |= params.keys()
        run.metrics |= {(value.name, value.step) for value in metrics}

    def _send_status(self, client: "MlflowClient", run: KnownRun, record: RunRecord) -> None:
        status, end = record.status.upper(), record.end_time_ms
        is_same_end = end is None or status == "RUNNING" or end == run.end_time_ms
        if status == run.status and is_same_end:
            return
        if status == "RUNNING":
            client.update_run(run.run_id, status=status)
        else:
            client.set_terminated(run.run_id, status=status, end_time=end)
        run.status, run.end_time_ms = status, end

    @contextmanager
    def _errors_told(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # MLflow lets through whatever its database and network libraries raise
            first, *_ = str(error).strip().splitlines() or [type(error).__name__]
            cause = _CAUSE.search(first)
            kind = RefusedRunError if _is_refusal(error) else UnavailableError
            raise kind(f"MLflow at {self.uri} {what}: {cause[1] if cause else first}") from error


def _create_whole(database: Path) -> None:
    """Make a SQLite store under another name first: one whose making was cut short would be broken for ever."""
    from mlflow.tracking import MlflowClient

    with atomic_path(database) as temporary:
        MlflowClient(tracking_uri=f"{SQLITE}{temporary}").search_experiments(max_results=1)


def parents_first(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Records in an order in which no run comes before its parent; runs nest one level deep."""
    return sorted(records, key=lambda record: record.parent_key is not None)


def _read(client: "MlflowClient", run: "Run") -> KnownRun:
    """Ask the server for the steps of every metric that a run has."""
    steps = {
        (name, past.step) for name in run.data.metrics for past in client.get_metric_history(run.info.run_id, name)
    }
    return KnownRun(
        run_id=run.info.run_id,
        start_time_ms=run.info.start_time,
        status=run.info.status,
        end_time_ms=run.info.end_time,
        tags=dict(run.data.tags),
        params=set(run.data.params),
        metrics=steps,
        datasets={
            (each.dataset.name, each.dataset.digest) for each in (run.inputs.dataset_inputs if run.inputs else ())
        },
        models=[model.model_id for model in (run.outputs.model_outputs if run.outputs else ())],
    )


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, FileNotFoundError) or getattr(error, "error_code", None) in _REFUSALS


def _chunks(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[first : first + size] for first in range(0, len(items), size)]
