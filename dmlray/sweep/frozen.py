"""The trials as Optuna's samplers and importances take them: made from the study's records, not read again."""

import math
import warnings
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as Stored

from dmlray.sweep.records import TrialRecord, TrialState
from dmlray.sweep.rows import STORED, TrialRow
from dmlray.sweep.sampler import Proposal

__all__ = ["WORST_GAP", "FrozenTrial", "FrozenTrials", "frozen", "frozen_point", "importances_of"]

WORST_GAP = 0.0


class FrozenTrials:
    """Keeps each trial's FrozenTrial until its record changes."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[TrialRecord, FrozenTrial]] = {}

    def of(self, rows: Sequence[TrialRow]) -> list[FrozenTrial]:
        """One for each row, in their order; not to be changed."""
        return [self._of(row) for row in rows]

    def _of(self, row: TrialRow) -> FrozenTrial:
        record, made = self._made.get(row.record.number, (None, None))
        if made is None or record is not row.record:
            made = frozen(row)
            self._made[row.record.number] = row.record, made
        return made


def frozen(row: TrialRow) -> FrozenTrial:
    """A trial as Optuna would read it from its tables, but that one which ended in NaN has the worst GAP there is.

    Optuna's samplers pass failed trials over, and would ask for the same again.
    """
    record = row.record
    is_nan = record.state is TrialState.failed and record.reason == "nan"
    return FrozenTrial(
        number=record.number,
        state=Stored.COMPLETE if is_nan else STORED[record.state],
        value=WORST_GAP if is_nan else record.value,
        datetime_start=record.started.replace(tzinfo=None) if record.started else None,
        datetime_complete=record.finished.replace(tzinfo=None) if record.finished else None,
        params=dict(record.params),
        distributions=dict(row.distributions),
        user_attrs={},
        system_attrs={},
        intermediate_values={epoch: value for epoch, value in record.history if math.isfinite(value)},
        trial_id=row.trial_id,
    )


def frozen_point(
    number: int,
    state: TrialState,
    proposal: Proposal,
    value: float | None = None,
    history: Sequence[tuple[int, float]] = (),
) -> FrozenTrial:
    """A trial that is no row of the study: ``value`` and ``history``, (epoch, val_gap), of what ``proposal`` names."""
    return FrozenTrial(
        number=number,
        state=STORED[state],
        value=value,
        datetime_start=None,
        datetime_complete=None,
        params=proposal.params,
        distributions=proposal.distributions,
        user_attrs={},
        system_attrs={},
        intermediate_values={epoch: value for epoch, value in history if math.isfinite(value)},
        trial_id=number,
    )


def importances_of(rows: Sequence[TrialRow], best_share: float) -> dict[str, float]:
    """How much each parameter decided whether a complete trial is among the best ``best_share`` of them."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances  # which import scikit-learn

    study = optuna.create_study(direction="maximize")
    study.add_trials([frozen(row) for row in rows if row.record.state is TrialState.complete])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about few trials, of which the caller knows
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=best_share))
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
