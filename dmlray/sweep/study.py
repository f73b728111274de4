"""The study: the only truth of a sweep, written by one process, the driver.

A trial appears whole, and its final state is the last thing written about it. A crash therefore leaves it waiting,
running (to be continued) or finished, never in between.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from dmlray.errors import ConfigError, DmlrayError, StorageError
from dmlray.failpoints import reach
from dmlray.seeding import derive_seed
from dmlray.sweep.asking import Candidate, Check, fingerprint, next_candidate
from dmlray.sweep.records import TrialRecord, TrialState, epoch_attribute, json_numbers, with_epoch
from dmlray.sweep.sampler import Proposal, SamplerName, propose
from dmlray.sweep.space import Space
from dmlray.sweep.store import Store

__all__ = ["Study", "TrialRecord", "TrialState"]

FORMAT = 1
MIN_IMPORTANCE_TRIALS = 10
MAX_REFUSALS = 50  # in a row; then the space is to blame


class Study:
    """The trials of one sweep. Made by ``create`` or ``open``; all methods raise StorageError where the file fails."""

    def __init__(self, store: Store, *, read_only: bool) -> None:
        header = store.attributes().get("dmlray", {})
        if header.get("format") != FORMAT:
            problem = f"the study has format {header.get('format')!r}; this dmlray reads format {FORMAT}"
            raise StorageError(store.path, problem)
        self.path, self.name = store.path, store.name
        self.seed: int = header["seed"]
        self.sampler: SamplerName = header["sampler"]
        self._store, self._read_only = store, read_only
        self._records = {record.number: record for record in store.records()}
        self._tried = {fingerprint(record.config) for record in self._records.values()}

    @classmethod
    def create(cls, path: Path, name: str, seed: int, sampler: SamplerName = "tpe") -> "Study":
        """Make the file of a new study, whole or not at all. Raises SweepExistsError if there is one already."""
        if sampler not in get_args(SamplerName):
            raise ConfigError("sampler", sampler, f"one of {', '.join(get_args(SamplerName))}")
        header = {"format": FORMAT, "seed": seed, "sampler": sampler}
        Store.create(path, name, {"dmlray": header, "space": None})
        return cls.open(path)

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> "Study":
        """Open a study; ``read_only`` for any number of watchers beside the one process that writes."""
        store = Store(path, read_only=read_only)
        try:
            return cls(store, read_only=read_only)
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._store.close()

    def trials(self) -> list[TrialRecord]:
        """All trials by number; a read-only study looks again each time."""
        if self._read_only:
            self._records = {record.number: record for record in self._store.records()}
        return list(self._records.values())

    def waiting(self) -> list[TrialRecord]:
        """Trials asked for and never started: after a restart they come before any new one."""
        return [record for record in self.trials() if record.state == TrialState.waiting]

    def interrupted(self) -> list[TrialRecord]:
        """Trials that the store believes running: after a restart, those to continue."""
        return [record for record in self.trials() if record.state == TrialState.running]

    def histories(self) -> dict[int, tuple[tuple[int, float], ...]]:
        """What stopping rules read: (finished epochs, val_gap) of all trials but failed ones."""
        return {record.number: record.history for record in self.trials() if record.state != TrialState.failed}

    def importances(self) -> dict[str, float]:
        """How much each parameter mattered, descending, summing to 1: conditional PED-ANOVA (arXiv:2601.20800).

        It compares the best tenth of the complete trials, but at least 5 of them, with the rest; empty where fewer than
        MIN_IMPORTANCE_TRIALS are complete.
        """
        complete = sum(record.state == TrialState.complete for record in self.trials())
        if complete < MIN_IMPORTANCE_TRIALS:
            return {}
        return self._store.importances(max(0.1, 5 / complete))

    def ask(self, space: Space, check: Check | None = None) -> TrialRecord:
        """A new waiting trial. What it is depends on the seed and the trials so far alone.

        ``check`` raises ConfigError for what cannot be built: that trial is kept as failed (bad_config), and the next
        number is asked. Raises ConfigError after 50 of these in a row, or if the study began with another space.
        """
        self._remember(space)
        for _ in range(MAX_REFUSALS):
            candidate = self._next_candidate(space, check)
            record = self._add(candidate)
            if candidate.refusal is None:
                return record
        raise ConfigError("space", candidate.refusal, f"one whose trials can be built, unlike {MAX_REFUSALS} in a row")

    def start(self, number: int) -> TrialRecord:
        """Count an attempt at a waiting or interrupted trial; it is running from now on."""
        record = self._unfinished(number)
        self._store.set_trial_attribute(number, "attempts", record.attempts + 1)
        reach("amid-start", trial=number)
        if record.state == TrialState.waiting:
            self._store.set_state(number, TrialState.running)
        return self._reread(number)

    def report(
        self, number: int, epoch: int, metrics: Mapping[str, float], checkpoint: str, digest: str
    ) -> TrialRecord:
        """Record a finished epoch (from 1). The same again changes nothing; an epoch trained again replaces the first.

        Numbers that are not finite stand in the curve as NaN and are never told to the sampler.
        """
        record = self._records[number]
        changed = with_epoch(record, epoch, metrics, checkpoint, digest)
        if changed == record:
            return record
        self._unfinished(number)
        reach("before-report", trial=number, epoch=epoch)
        if math.isfinite(metrics["val_gap"]):
            self._store.set_intermediate_value(number, epoch, metrics["val_gap"])
        reach("amid-report", trial=number, epoch=epoch)
        # Last, so that a crash between the two leaves an epoch that is trained and told again, not one without a value.
        self._store.set_trial_attribute(number, *epoch_attribute(epoch, metrics, checkpoint, digest))
        self._records[number] = changed
        reach("after-report", trial=number, epoch=epoch)
        return changed

    def complete(self, number: int, value: float, best_epoch: int, metrics: Mapping[str, float]) -> TrialRecord:
        """The trial trained all its epochs; ``value`` is its best val_gap. One that is not finite fails it (nan)."""
        return self._end(number, TrialState.complete, value, best_epoch, metrics)

    def prune(self, number: int, value: float, best_epoch: int, metrics: Mapping[str, float]) -> TrialRecord:
        """The trial was stopped early; ``value`` is its best val_gap so far. One that is not finite fails it (nan)."""
        return self._end(number, TrialState.pruned, value, best_epoch, metrics)

    def fail(self, number: int, reason: str, message: str) -> TrialRecord:
        """The trial cannot go on: a typed ``reason``, and a sentence for the user. A failed trial stays as it is."""
        if self._records[number].state == TrialState.failed:
            return self._records[number]
        self._unfinished(number)
        self._store.set_trial_attribute(number, "failure", {"reason": reason, "message": message})
        self._store.set_state(number, TrialState.failed)
        return self._reread(number)

    def _end(
        self, number: int, state: TrialState, value: float, best_epoch: int, metrics: Mapping[str, float]
    ) -> TrialRecord:
        record = self._records[number]
        if (record.state, record.value) == (state, value):
            return record
        if not math.isfinite(value):
            return self.fail(number, "nan", f"the best val_gap is {value}")
        self._unfinished(number)
        outcome = {"value": value, "best_epoch": best_epoch, "metrics": json_numbers(metrics)}
        reach("before-tell", trial=number)
        self._store.set_trial_attribute(number, "outcome", outcome)
        reach("amid-tell", trial=number)
        self._store.set_state(number, state, value)
        reach("after-tell", trial=number)
        return self._reread(number)

    def _unfinished(self, number: int) -> TrialRecord:
        record = self._records[number]
        if record.state.is_finished:
            raise DmlrayError(f"trial {number} of {self.name} is {record.state.value} and takes nothing more")
        return record

    def _reread(self, number: int) -> TrialRecord:
        self._records[number] = self._store.record(number)
        return self._records[number]

    def _next_candidate(self, space: Space, check: Check | None) -> Candidate:
        past, number = self._store.trials(), len(self._records)

        def attempt(index: int) -> Proposal:
            again = (index,) if index else ()
            return propose(space, self.sampler, derive_seed(self.seed, "sampler", number, *again), past)

        return next_candidate(attempt, self._tried, check)

    def _add(self, candidate: Candidate) -> TrialRecord:
        attributes: dict[str, object] = {"config": candidate.config}
        state = TrialState.waiting
        if candidate.refusal is not None:
            attributes["failure"] = {"reason": "bad_config", "message": candidate.refusal}
            state = TrialState.failed
        number = self._store.add(candidate.proposal, attributes, state)
        self._tried.add(fingerprint(candidate.config))
        return self._reread(number)

    def _remember(self, space: Space) -> None:
        known = self._store.attributes()["space"]
        if known is None:
            self._store.set_attribute("space", space.fingerprint)
        elif known != space.fingerprint:
            raise ConfigError("space", space.fingerprint, f"the one that this study began with, {known}")
