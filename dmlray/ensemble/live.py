"""The best small ensemble of a sweep that still runs, brought up to date by each trial that finishes.

A finished trial competes with the present members alone, on at most MOST_VIDEOS videos, so that an update takes well
under a second at any size of sweep; `dmlray ensemble` chooses among all trials and all videos.
"""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dmlray.atomic import write_text
from dmlray.data.predictions import Predictions, load_predictions
from dmlray.ensemble.candidates import VALIDATION_FILE, Candidate, ordered_candidates
from dmlray.ensemble.live_steps import LiveStep, describe_live, read_live
from dmlray.ensemble.pairs import pair_blocks
from dmlray.ensemble.parts import Rows, split_videos
from dmlray.ensemble.selection import blend_gap, select
from dmlray.errors import DmlrayError
from dmlray.sweep.runs import EnsembleSoFar

MOST_VIDEOS = 4_000  # in the selection, and as many in the measurement
TOP, SIZE = 5, 10


class LiveEnsemble:
    """``path`` keeps every step, so that a resumed sweep goes on from the last. Used by one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.steps = read_live(path)
        self._known: dict[int, Candidate] = {}
        self._parts: tuple[Rows, Rows] | None = None

    def add(self, trial: int, folder: Callable[[int], Path]) -> LiveStep:
        """Let a finished trial in, if it helps; ``folder`` gives the folder of a trial.

        Raises StorageError and DataError where predictions are missing, damaged or of other videos.
        """
        before = self.steps[-1].picks if self.steps else {}
        candidates = ordered_candidates([self._candidate(number, folder(number)) for number in {*before, trial}])
        self._known = {candidate.trial: candidate for candidate in candidates}
        stores = [candidate.validation for candidate in candidates]
        if self._parts is None:  # of every trial the same, since `ordered_candidates` has compared their videos
            self._parts = _parts(stores[0])
        chosen, reported = self._parts
        counts = select(list(pair_blocks(stores, chosen)), top=TOP, size=SIZE).counts
        picks = {candidates[place].trial: count for place, count in counts.items()}
        members = list(pair_blocks([stores[place] for place in counts], reported))
        gap = blend_gap(members, dict(enumerate(counts.values())))
        step = LiveStep(trial=trial, picks=picks, gap=gap, changed=set(picks) != set(before))
        self.steps.append(step)
        write_text(self._path, json.dumps([step.model_dump(mode="json") for step in self.steps]) + "\n")
        return step

    def _candidate(self, number: int, directory: Path) -> Candidate:
        if number in self._known:
            return self._known[number]
        return Candidate(number, str(number), directory, load_predictions(directory / VALIDATION_FILE))


class LiveUpdates:
    """Brings a LiveEnsemble up to date beside the driver, which never waits for it."""

    def __init__(self, live: LiveEnsemble, folder: Callable[[int], Path]) -> None:
        self._live, self._folder = live, folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="live-ensemble")
        self._seen = {step.trial for step in live.steps}

    def add(self, numbers: Sequence[int]) -> None:
        """Trials that have finished, in that order; those known already are left out."""
        for number in numbers:
            if number not in self._seen:
                self._seen.add(number)
                self._thread.submit(self._add, number)

    def so_far(self) -> EnsembleSoFar | None:
        """As the sweep's run shows it."""
        steps = list(self._live.steps)
        return EnsembleSoFar({step.trial: step.gap for step in steps}, describe_live(steps)) if steps else None

    def close(self) -> None:
        """Wait for what was added."""
        self._thread.shutdown(wait=True)

    def _add(self, number: int) -> None:
        try:
            self._live.add(number, self._folder)
        except (DmlrayError, OSError):
            return  # a trial whose predictions cannot be read is no member; `dmlray ensemble` and `fsck` say why


def _parts(store: Predictions) -> tuple[Rows, Rows]:
    """Videos to select on and videos to measure on; the same where there are too few for both."""
    chosen, reported = (_fewer(rows) for rows in split_videos(store.ids, 0.5))
    return chosen, reported if reported.size else chosen


def _fewer(rows: Rows) -> Rows:
    return rows[:: -(-len(rows) // MOST_VIDEOS)] if len(rows) > MOST_VIDEOS else rows
