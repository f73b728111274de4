"""Optuna's tables in one SQLite file: each method is one transaction, durable when it returns."""

import warnings
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.storages import RDBStorage, get_storage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, create_trial

from dmlray.atomic import atomic_path
from dmlray.errors import StorageError, SweepExistsError
from dmlray.sweep.records import TrialRecord, TrialState, record_of
from dmlray.sweep.sampler import Proposal
from dmlray.sweep.study_file import check_file, connector, storage_errors

_Stored = optuna.trial.TrialState
_STORED = {
    TrialState.waiting: _Stored.WAITING,
    TrialState.running: _Stored.RUNNING,
    TrialState.complete: _Stored.COMPLETE,
    TrialState.pruned: _Stored.PRUNED,
    TrialState.failed: _Stored.FAIL,
}
_STATES = {stored: state for state, stored in _STORED.items()}


class Store:
    """The one study in a file. All methods raise StorageError where the file fails; trials are named by number."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        check_file(path)
        self.path = path
        with storage_errors(path):
            self._database = _connect(path, read_only=read_only)
            self._storage = get_storage(self._database)
            names = [study.study_name for study in self._storage.get_all_studies()]
            if len(names) != 1:
                raise StorageError(path, f"the file holds {len(names)} studies instead of one")
            self.name = names[0]
            self._id = self._storage.get_study_id_from_name(self.name)

    @staticmethod
    def create(path: Path, name: str, attributes: Mapping[str, Any]) -> None:
        """Make the file, whole or not at all. Raises SweepExistsError if there is one already."""
        for suffix in ("", "-wal", "-shm"):  # a log that lost its database would be played into the new one
            if Path(f"{path}{suffix}").exists():
                raise SweepExistsError(f"{path}{suffix} exists already and belongs to another study")
        with storage_errors(path), atomic_path(path) as temporary:
            temporary.touch()
            database = _connect(temporary, read_only=False, new=True)
            study_id = database.create_new_study([StudyDirection.MAXIMIZE], name)
            for key, value in attributes.items():
                database.set_study_user_attr(study_id, key, value)
            database.engine.dispose()

    def close(self) -> None:
        """Let go of the file."""
        self._database.remove_session()
        self._database.engine.dispose()

    def attributes(self) -> dict[str, Any]:
        """The study's own attributes: JSON values."""
        with storage_errors(self.path):
            return self._storage.get_study_user_attrs(self._id)

    def set_attribute(self, key: str, value: object) -> None:
        """Set one of the study's attributes."""
        with storage_errors(self.path):
            self._storage.set_study_user_attr(self._id, key, value)

    def trials(self) -> list[FrozenTrial]:
        """All trials by number, as Optuna has them; not to be changed."""
        with storage_errors(self.path):
            return self._storage.get_all_trials(self._id, deepcopy=False)

    def importances(self, best_share: float) -> dict[str, float]:
        """How much each parameter decided whether a complete trial is among the best ``best_share`` of them."""
        with storage_errors(self.path), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about few trials, of which the caller knows
            study = optuna.load_study(study_name=self.name, storage=self._storage)
            found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=best_share))
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def record(self, number: int) -> TrialRecord:
        """One trial, read anew."""
        with storage_errors(self.path):
            return self._record(self._storage.get_trial(self._trial_id(number)))

    def records(self) -> list[TrialRecord]:
        """All trials by number. Raises StorageError for a trial that cannot be understood."""
        try:
            return [self._record(trial) for trial in self.trials()]
        except (LookupError, TypeError, ValueError) as error:
            raise StorageError(self.path, f"the study is damaged: {error}") from error

    def add(self, proposal: Proposal, attributes: Mapping[str, object], state: TrialState) -> int:
        """A new trial in one transaction, waiting or failed already; returns its number."""
        trial = create_trial(
            state=_STORED[state],
            params=proposal.params,
            distributions=proposal.distributions,
            user_attrs=dict(attributes),
        )
        with storage_errors(self.path):
            trial_id = self._storage.create_new_trial(self._id, trial)
            return self._storage.get_trial_number_from_id(trial_id)

    def set_trial_attribute(self, number: int, key: str, value: object) -> None:
        """Set one attribute, a JSON value, of an unfinished trial."""
        with storage_errors(self.path):
            self._storage.set_trial_user_attr(self._trial_id(number), key, value)

    def set_intermediate_value(self, number: int, epoch: int, value: float) -> None:
        """Tell what an unfinished trial reached after ``epoch``."""
        with storage_errors(self.path):
            self._storage.set_trial_intermediate_value(self._trial_id(number), epoch, value)

    def set_state(self, number: int, state: TrialState, value: float | None = None) -> None:
        """Move an unfinished trial to ``state``, in the same transaction as its final value."""
        with storage_errors(self.path):
            values = None if value is None else [value]
            self._storage.set_trial_state_values(self._trial_id(number), _STORED[state], values)

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        started, finished = _aware(trial.datetime_start), _aware(trial.datetime_complete)
        return record_of(trial.number, _STATES[trial.state], trial.params, trial.user_attrs, started, finished)


def _aware(local: datetime | None) -> datetime | None:
    return None if local is None else local.astimezone()


def _connect(path: Path, *, read_only: bool, new: bool = False) -> RDBStorage:
    """Raises StorageError if another version of Optuna wrote the file."""
    # The URL only names the dialect: Optuna would expand braces in a path.
    connect = connector(path, read_only=read_only, wal=not new)
    try:
        return RDBStorage("sqlite:///study.db", engine_kwargs={"creator": connect}, skip_table_creation=not new)
    except RuntimeError as error:  # Optuna's words for another schema
        raise StorageError(path, str(error).split(". ")[0]) from error
