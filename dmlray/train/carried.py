"""The work of a slot's workers, as those hand it on who need not import what it needs: torch takes two seconds."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from ray import cloudpickle

if TYPE_CHECKING:
    from dmlray.train.task import TrialOutcome
    from dmlray.train.worker import Runner


class Carried:
    """A runner that is loaded where it is first called."""

    def __init__(self, runner: "Runner") -> None:
        pickle: Any = cloudpickle  # Ray's has no annotations
        self._pickled: bytes = pickle.dumps(runner)

    def __call__(self, *arguments: Any, **options: Any) -> "TrialOutcome":
        return self._runner(*arguments, **options)

    @cached_property
    def _runner(self) -> "Runner":
        runner: Runner = cloudpickle.loads(self._pickled)
        return runner


def serve(settings: dict[str, Any]) -> None:
    """`train.worker.serve_trials`."""
    from dmlray.train.worker import serve_trials

    serve_trials(settings)
