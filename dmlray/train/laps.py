"""What a trial's seconds were spent on."""

import time


class Laps:
    """A stopwatch that never stops: ``lap`` says what the time since the last lap was spent on."""

    def __init__(self) -> None:
        self._last, self._seconds = time.perf_counter(), dict[str, float]()

    def lap(self, what: str | None = None) -> None:
        """Count the time since the last lap as ``what``; as nothing, where somebody else has timed it."""
        now = time.perf_counter()
        if what is not None:
            self._seconds[what] = self._seconds.get(what, 0.0) + now - self._last
        self._last = now

    def take(self) -> dict[str, float]:
        """Seconds by what they were spent on, since they were last taken."""
        taken, self._seconds = self._seconds, {}
        return taken
