"""Tracking that never makes the sweep wait."""

import threading
from collections.abc import Sequence

from dmlray.errors import UnavailableError
from dmlray.tracking.record import RunRecord
from dmlray.tracking.tracker import RefusedRunError, Tracker, parents_first

PAUSE_S = 1.0  # between rounds: what changes often is sent in its newest state only
RETRY_S = 30.0  # until what failed is tried again where nothing new has come


class BackgroundTracker:
    """A Tracker on a thread of its own, with a mailbox that holds the newest record of each run.

    A slow or dead server costs the caller nothing. What failed is tried again at the next ``submit``, after RETRY_S,
    and at ``close``.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self._tracker = Tracker(uri, experiment)
        self._changed = threading.Condition()
        self._waiting: dict[str, RunRecord] = {}
        self._error: UnavailableError | None = None
        self._is_new = self._is_closing = False
        self._thread = threading.Thread(target=self._work, name="dmlray-mlflow", daemon=True)
        self._thread.start()

    def submit(self, records: Sequence[RunRecord]) -> None:
        """Hand over the newest state of some runs; returns at once."""
        with self._changed:
            self._waiting |= {record.key: record for record in records}
            self._is_new = True
            self._changed.notify()

    @property
    def is_failing(self) -> bool:
        """Whether the server did not take what was sent last."""
        with self._changed:
            return self._error is not None

    def abandon(self) -> None:
        """Send nothing more, but for what is on its way: another process writes these runs now."""
        with self._changed:
            self._waiting.clear()
            self._is_closing = True
            self._changed.notify()

    def close(self, timeout_s: float) -> str | None:
        """Send what is left, for at most ``timeout_s`` seconds. One sentence if the server still lacks something."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        with self._changed:
            missed, error = len(self._waiting), self._error
        if not missed:
            return None
        reason = error or f"MLflow at {self._tracker.uri} did not answer within {timeout_s:g} s"
        return f"{missed} run{'s are' if missed > 1 else ' is'} not up to date in MLflow: {reason}"

    def _work(self) -> None:
        is_last = False
        while not is_last:
            with self._changed:
                self._changed.wait_for(self._has_work, RETRY_S if self._waiting else None)
                self._is_new, is_last = False, self._is_closing
                batch = list(self._waiting.values())
            self._send(batch)
            with self._changed:
                self._changed.wait_for(lambda: self._is_closing, PAUSE_S)

    def _has_work(self) -> bool:
        return self._is_new or self._is_closing

    def _send(self, batch: Sequence[RunRecord]) -> None:
        for record in parents_first(batch):
            try:
                self._tracker.sync([record])
            except RefusedRunError as error:
                self._error = error
            except UnavailableError as error:
                self._error = error
                return  # the server would answer the others no better
            else:
                self._forget(record)

    def _forget(self, record: RunRecord) -> None:
        with self._changed:
            self._error = None
            if self._waiting.get(record.key) is record:  # else there is a newer one already
                del self._waiting[record.key]
