"""The study: the only truth of a sweep, written by one process, the driver.

A trial appears whole, and its final state is the last thing written about it. A crash therefore leaves it waiting,
running (to be continued) or finished, never in between.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import get_args

from dmlray.config import in_full
from dmlray.errors import ConfigError, DmlrayError, LeaseLostError, StorageError
from dmlray.failpoints import reach
from dmlray.sweep.asking import Candidate, Check, fingerprint, next_candidate
from dmlray.sweep.frozen import FrozenTrial, FrozenTrials, importances_of
from dmlray.sweep.names import SamplerName
from dmlray.sweep.records import ASKED, TrialRecord, TrialState, asked_for, epoch_attribute, json_numbers, with_epoch
from dmlray.sweep.rows import TableValues
from dmlray.sweep.sampler import suggestions
from dmlray.sweep.space import Space
from dmlray.sweep.store import Store
from dmlray.sweep.warm_start import Observation, told

__all__ = ["Study", "TrialRecord", "TrialState"]

FORMAT = 2
_MIGRATED = (1,)  # older formats that are read as they are, and brought up to date by whoever writes
MIN_IMPORTANCE_TRIALS = 10
MAX_REFUSALS = 50  # in a row; then the space is to blame


class Study:
    """The trials of one sweep. Made by ``create`` or ``open``; all methods raise StorageError where the file fails."""

    def __init__(self, store: Store, *, read_only: bool) -> None:
        header = store.attributes().get("dmlray", {})
        _check_format(header.get("format"), store.path)
        self.path, self.name = store.path, store.name
        self.seed: int = header["seed"]
        self.sampler: SamplerName = header["sampler"]
        self._store, self._read_only = store, read_only
        self._sealed = header["format"] == FORMAT
        if not read_only:
            if self._sealed:
                store.allow_writing()
            else:
                store.prepare({"dmlray": header | {"format": FORMAT}})
                self._sealed = True
        self._frozen = FrozenTrials()
        self._prior: list[FrozenTrial] | None = None
        self._tried: set[str] | None = None
        self._load()

    @classmethod
    def create(
        cls,
        path: Path,
        name: str,
        seed: int,
        sampler: SamplerName = "tpe",
        storage: str | None = None,
        prior: Sequence[Observation] = (),
    ) -> "Study":
        """Make a new study, whole or not at all: in the file ``path``, or in ``storage``, which ``path`` then names.

        ``prior`` is what the sampler knows from elsewhere; it never counts as trials.
        Raises SweepExistsError if there is one already.
        """
        if sampler not in get_args(SamplerName):
            raise ConfigError("sampler", sampler, f"one of {', '.join(get_args(SamplerName))}")
        header = {"format": FORMAT, "seed": seed, "sampler": sampler}
        known = [observation.as_json() for observation in prior]
        Store.create(path, name, {"dmlray": header, "space": None, "prior": known}, storage)
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

    @classmethod
    @contextmanager
    def driven(
        cls, path: Path, on_lost: Callable[[LeaseLostError], None], say: Callable[[str], None]
    ) -> Iterator["Study"]:
        """Open a study as its only driver for the block. Raises BusyError naming the process that drives it.

        ``on_lost`` is called, from another thread, when another process has become its driver.
        """
        with closing(cls.open(path)) as study, study._store.driving(on_lost, say):
            study._load()  # another driver may have written until now
            study._past()  # else the first suggestion would wait for it, and for what was tried
            study._known()
            yield study

    def is_driven(self) -> bool:
        """Whether some process drives the study now; may wait some seconds for one on another machine."""
        return self._sealed and self._store.is_driven()

    def _load(self) -> None:
        self._rows = {row.record.number: row for row in self._store.read(sealed=self._sealed)}
        self._tried = None

    def close(self) -> None:
        """Let go of the file."""
        self._store.close()

    def trials(self) -> list[TrialRecord]:
        """All trials by number; a read-only study looks again each time."""
        if self._read_only:
            self._load()
        return [row.record for row in self._rows.values()]

    def table_values(self) -> list[TableValues]:
        """What Optuna's tables hold of all trials' values, by number, for comparison with ``trials``."""
        return self._store.table_values()

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
        return importances_of(list(self._rows.values()), max(0.1, 5 / complete))

    def ask(self, space: Space, check: Check | None = None) -> TrialRecord:
        """A new waiting trial. What it is depends on the seed and the trials so far alone.

        ``check`` raises ConfigError for what cannot be built: that trial is kept as failed (bad_config), and the next
        number is asked. Raises ConfigError after 50 of these in a row, or if the study began with another space;
        SpaceExhaustedError where the space holds nothing that was not tried.
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
        attempts = {"attempts": record.attempts + 1}
        if record.state is TrialState.waiting:
            self._store.move(number, TrialState.running, attempts)
        else:
            self._store.note(number, attempts)
        return self._reread(number)

    def report(
        self, number: int, epoch: int, metrics: Mapping[str, float], checkpoint: str, digest: str
    ) -> TrialRecord:
        """Record a finished epoch (from 1). The same again changes nothing; an epoch trained again replaces the first.

        Numbers that are not finite stand in the curve as NaN and are never told to the sampler.
        """
        record = self._rows[number].record
        changed = with_epoch(record, epoch, metrics, checkpoint, digest)
        if changed == record:
            return record
        self._unfinished(number)
        reach("before-report", trial=number, epoch=epoch)
        value = metrics["val_gap"]
        point = (epoch, float(value)) if math.isfinite(value) else None
        self._store.note(number, dict([epoch_attribute(epoch, metrics, checkpoint, digest)]), point)
        self._rows[number] = replace(self._rows[number], record=changed)
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
        record = self._rows[number].record
        if record.state is TrialState.failed:
            return record
        self._unfinished(number)
        self._store.move(number, TrialState.failed, {"failure": {"reason": reason, "message": message}})
        return self._reread(number)

    def forgive(self, number: int, reason: str) -> TrialRecord:
        """Count a failure of an unfinished trial that is to be tried again."""
        record = self._unfinished(number)
        self._store.note(number, {"retries": record.retries | {reason: record.retries.get(reason, 0) + 1}})
        return self._reread(number)

    def retry_failed(self) -> list[TrialRecord]:
        """Let every failed trial wait again, under its number, with its parameters, checkpoints and new retries.

        Not those that could never be built.
        """
        failed = [record for record in self.trials() if record.state is TrialState.failed]
        again = [record.number for record in failed if record.reason != "bad_config"]
        for number in again:
            self._store.move(number, TrialState.waiting, {"failure": None, "retries": None})
        return [self._reread(number) for number in again]

    def _end(
        self, number: int, state: TrialState, value: float, best_epoch: int, metrics: Mapping[str, float]
    ) -> TrialRecord:
        record = self._rows[number].record
        if (record.state, record.value) == (state, value):
            return record
        if not math.isfinite(value):
            return self.fail(number, "nan", f"the best val_gap is {value}")
        self._unfinished(number)
        outcome = {"value": value, "best_epoch": best_epoch, "metrics": json_numbers(metrics)}
        reach("before-tell", trial=number)
        self._store.move(number, state, {"outcome": outcome}, float(value))
        reach("after-tell", trial=number)
        return self._reread(number)

    def _unfinished(self, number: int) -> TrialRecord:
        record = self._rows[number].record
        if record.state.is_finished:
            raise DmlrayError(f"trial {number} of {self.name} is {record.state.value} and takes nothing more")
        return record

    def _reread(self, number: int) -> TrialRecord:
        self._rows[number] = self._store.read_one(number)
        return self._rows[number].record

    def _past(self) -> list[FrozenTrial]:
        return self._frozen.of(list(self._rows.values()))

    def _next_candidate(self, space: Space, check: Check | None) -> Candidate:
        if self._prior is None:
            self._prior = told(space, self._store.attributes().get("prior", []))
        past = [*self._prior, *self._past()]
        return next_candidate(suggestions(space, self.sampler, self.seed, len(self._rows), past), self._known(), check)

    def _known(self) -> set[str]:
        """Fingerprints of what was tried, also by an older version, of which configurations had fewer fields."""
        if self._tried is None:
            self._tried = {fingerprint(in_full(row.record.config)) for row in self._rows.values()}
        return self._tried

    def _add(self, candidate: Candidate) -> TrialRecord:
        number = len(self._rows)
        name, params = candidate.proposal.name, candidate.proposal.params
        attributes: dict[str, object] = {ASKED: asked_for(candidate.config, params, name)}
        state = TrialState.waiting
        if candidate.refusal is not None:
            attributes["failure"] = {"reason": "bad_config", "message": candidate.refusal}
            state = TrialState.failed
        self._store.add(number, candidate.proposal, attributes, state)
        self._known().add(fingerprint(candidate.config))
        return self._reread(number)

    def _remember(self, space: Space) -> None:
        known = self._store.attributes()["space"]
        if known is None:
            self._store.set_attribute("space", space.fingerprint)
        elif known != space.fingerprint:
            raise ConfigError("space", space.fingerprint, f"the one that this study began with, {known}")


def _check_format(found: object, path: Path) -> None:
    if found in (FORMAT, *_MIGRATED):
        return
    if isinstance(found, int) and found > FORMAT:
        raise StorageError(
            path, f"the study has format {found}, of a newer dmlray than this, which knows {FORMAT}: update"
        )
    raise StorageError(path, f"the study has format {found!r}; this dmlray reads {FORMAT} and older")
