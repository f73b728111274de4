"""The trials so far as a sampler sees them: an Optuna storage that holds them without copying them."""

import copy
from collections.abc import Container, Sequence

from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState


class Seen(InMemoryStorage):
    """The trials so far, and after them trial ``number``, which is being asked for.

    Failed trials teach nothing and neither do configurations that are no points of the space (they have no parameters).
    Trials that wait or run are treated alike, so that the next is not asked to repeat them.
    """

    def __init__(self, past: Sequence[FrozenTrial], number: int) -> None:
        super().__init__()
        self._past = [_as_seen(trial) for trial in past if trial.state != TrialState.FAIL and trial.params]
        self._number = number

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial_id = super().create_new_trial(study_id, template_trial)
        self.get_trial(trial_id).number = self._number
        return trial_id

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        past = [trial for trial in self._past if states is None or trial.state in states]
        return [*(copy.deepcopy(past) if deepcopy else past), *super().get_all_trials(study_id, deepcopy, states)]


def _as_seen(trial: FrozenTrial) -> FrozenTrial:
    if trial.state != TrialState.WAITING:
        return trial
    seen = copy.copy(trial)
    seen.state = TrialState.RUNNING
    return seen
