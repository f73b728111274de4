"""What a sweep may learn from an earlier one: its finished trials, where they are points of the new sweep's space."""

import builtins
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dmlray.sweep.configurations import label_of, value_in
from dmlray.sweep.frozen import FrozenTrial, frozen_point
from dmlray.sweep.ranges import Range, Scalar
from dmlray.sweep.records import TrialRecord, TrialState
from dmlray.sweep.sampler import planned
from dmlray.sweep.settings import WarmStart
from dmlray.sweep.space import Space
from dmlray.sweep.tree import leaves


@dataclass(frozen=True)
class Observation:
    """A finished trial of another sweep in the parameters of this one's space; ``history`` is (epoch, val_gap)."""

    params: dict[str, Scalar]
    value: float
    is_complete: bool  # else it was stopped early
    history: list[tuple[int, float]]

    def as_json(self) -> dict[str, Any]:
        """For the study to keep."""
        return asdict(self)


def warm_start(space: Space, sweep: str, trials: Sequence[TrialRecord]) -> tuple[WarmStart, list[Observation]]:
    """What ``trials`` of ``sweep`` tell about ``space``: those whose configuration gives every parameter a value.

    A value is looked up in the trial's configuration, so that what was fixed there may be searched here. What the
    other sweep varied and this space does not have is left unused.
    """
    found: dict[int, Observation] = {}
    left_out: dict[int, str] = {}
    unused: set[str] = set()
    for trial in trials:
        if trial.value is None:
            left_out[trial.number] = f"has no value, it is {trial.state.value}"
            continue
        reader = _Reader(trial.config, {leaf.name: leaf for leaf in leaves(space.root)})
        try:
            space.suggest(reader)
        except _OutsideError as outside:
            left_out[trial.number] = str(outside)
            continue
        unused |= trial.params.keys() - reader.params.keys()
        is_complete = trial.state is TrialState.complete
        found[trial.number] = Observation(reader.params, trial.value, is_complete, list(trial.history))
    note = WarmStart(sweep=sweep, trials=tuple(found), left_out=left_out, unused=tuple(sorted(unused)))
    return note, list(found.values())


def told(space: Space, observations: Sequence[Mapping[str, Any]]) -> list[FrozenTrial]:
    """Observations, as ``Observation.as_json`` gave them, as trials for a sampler; their numbers lie below 0."""
    return [_frozen(space, each, number - len(observations)) for number, each in enumerate(observations)]


def _frozen(space: Space, observation: Mapping[str, Any], number: int) -> FrozenTrial:
    state = TrialState.complete if observation["is_complete"] else TrialState.pruned
    proposal = planned(space, observation["params"])
    return frozen_point(number, state, proposal, observation["value"], observation["history"])


class _OutsideError(Exception):
    """A configuration is no point of the space."""


class _Reader:
    """Suggests what a configuration has. Raises _OutsideError for a value that the space cannot have."""

    def __init__(self, config: Mapping[str, Any], leaves: Mapping[str, Range]) -> None:
        self.params: dict[str, Scalar] = {}
        self._config, self._leaves = config, leaves

    def choice(self, name: str, options: Sequence[Scalar]) -> Scalar:
        return self._read(name)

    def int(
        self, name: str, low: builtins.int, high: builtins.int, step: builtins.int, log: builtins.bool
    ) -> builtins.int:
        return self._read(name)  # type: ignore[return-value]

    def float(
        self, name: str, low: builtins.float, high: builtins.float, step: builtins.float | None, log: builtins.bool
    ) -> builtins.float:
        return self._read(name)  # type: ignore[return-value]

    def _read(self, name: str) -> Scalar:
        leaf = self._leaves[name]
        value = value_in(self._config, leaf.keys)
        label = label_of(leaf, value)
        if label is None:
            raise _OutsideError(f"{name}: {value!r} lies outside this space")
        self.params[name] = label[0]
        return label[0]
