"""Sweeps played again on recorded curves, to compare samplers and stopping rules without training."""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dmlray.sweep.frozen import WORST_GAP, FrozenTrial, frozen_point
from dmlray.sweep.names import SamplerName
from dmlray.sweep.pool import Curve, Pool
from dmlray.sweep.records import TrialState
from dmlray.sweep.sampler import Proposal, planned, suggestions
from dmlray.sweep.space import Space
from dmlray.sweep.stopping import StoppingConfig, should_stop


@dataclass(frozen=True)
class Strategy:
    """A sampler with a stopping rule."""

    sampler: SamplerName
    stopping: StoppingConfig

    @property
    def name(self) -> str:
        """For tables: ``tpe+asha``."""
        return f"{self.sampler}+{self.stopping.rule}"


@dataclass(frozen=True)
class Replayed:
    """One sweep on recorded curves. ``points``: after each epoch, epochs spent by all trials, seconds, best val_gap."""

    points: tuple[tuple[int, float, float], ...]
    trials: tuple[int, ...]  # the recorded trials' numbers, in the order in which they were asked for
    distance: float  # of a suggestion from the trial that stood in for it, on average

    def reach(self, gap: float) -> tuple[int, float] | None:
        """Epochs and seconds spent when the best val_gap first was at least ``gap``; None if it never was."""
        return next(((epochs, seconds) for epochs, seconds, best in self.points if best >= gap), None)

    def best_within(self, epochs: float) -> float:
        """The best val_gap after at most so many epochs."""
        return max((best for spent, _, best in self.points if spent <= epochs), default=-math.inf)

    @property
    def best(self) -> float:
        """The best val_gap at the end."""
        return self.points[-1][2]


def replay(space: Space, pool: Pool, strategy: Strategy, seed: int, trials: int, slots: int = 1) -> Replayed:
    """Ask ``trials`` trials, of which ``slots`` run at once, each as long as it was recorded.

    What the strategy suggests becomes the most similar recorded trial that has not run yet, and the strategy is told of
    that one. A trial whose recording ends early is told as stopped there. ``trials`` is at most the pool's.
    """
    sweep = _Sweep(space, pool, strategy, seed)
    points: list[tuple[int, float, float]] = []
    clock: list[tuple[float, int]] = []  # when each running trial ends its epoch
    best = -math.inf
    while clock or len(sweep.past) < trials:
        while len(clock) < slots and len(sweep.past) < trials:
            started = points[-1][1] if points else 0.0
            number = sweep.ask()
            heapq.heappush(clock, (started + sweep.curves[number].seconds[0], number))
        now, number = heapq.heappop(clock)
        value, goes_on = sweep.train(number)
        best = max(best, value) if math.isfinite(value) else best
        points.append((len(points) + 1, now, best))
        if goes_on:
            curve, done = sweep.curves[number], len(sweep.histories[number])
            heapq.heappush(clock, (now + curve.seconds[done], number))
    return Replayed(tuple(points), tuple(curve.number for curve in sweep.curves), sweep.distance / trials)


@dataclass
class _Sweep:
    space: Space
    pool: Pool
    strategy: Strategy
    seed: int
    past: list[FrozenTrial] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    proposals: list[Proposal] = field(default_factory=list)
    histories: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    distance: float = 0.0

    def ask(self) -> int:
        """Suggest a trial and let the most similar recorded one stand in for it; its number in this sweep."""
        number = len(self.past)
        curve, apart = self.pool.nearest(self._suggest(number).params, {curve.number for curve in self.curves})
        self.curves.append(curve)
        self.histories[number] = []
        self.proposals.append(planned(self.space, curve.params))
        self.past.append(frozen_point(number, TrialState.running, self.proposals[number]))
        self.distance += apart
        return number

    def train(self, number: int) -> tuple[float, bool]:
        """Play the next epoch of a trial: its value, and whether the trial goes on."""
        curve, history = self.curves[number], self.histories[number]
        history.append(curve.history[len(history)])
        is_last = len(history) == len(curve.history)
        ends = is_last or should_stop(self.strategy.stopping, self.histories, number, self.space.max_epochs)
        state = TrialState.running
        if ends:
            state = TrialState.complete if is_last and curve.is_whole else TrialState.pruned
        best = max((value for _, value in history if math.isfinite(value)), default=WORST_GAP)
        self.past[number] = frozen_point(number, state, self.proposals[number], best if ends else None, history)
        return history[-1][1], not ends

    def _suggest(self, number: int) -> Proposal:
        """The first suggestion that repeats no trial, as in a sweep; where there is none, the last."""
        for proposal in suggestions(self.space, self.strategy.sampler, self.seed, number, self.past):
            if not self._was_asked(proposal.params):
                break
        return proposal

    def _was_asked(self, params: Mapping[str, Any]) -> bool:
        return any(curve.params == params for curve in self.curves)


def strategies(stopping: StoppingConfig, samplers: Sequence[SamplerName], rules: Sequence[str]) -> list[Strategy]:
    """Random search without stopping, to compare with, then each sampler with each rule at the space's rungs."""
    plain = Strategy("random", stopping.model_copy(update={"rule": "none"}))
    every = [Strategy(name, stopping.model_copy(update={"rule": rule})) for name in samplers for rule in rules]
    return [plain, *(strategy for strategy in every if strategy != plain)]
