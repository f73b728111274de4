"""Why trials fail, and which failures are forgiven how often: pure."""

from collections.abc import Mapping
from typing import Literal, get_args

from pydantic import NonNegativeInt

from dmlray.config import Config

Reason = Literal[
    "bad_config",  # cannot be built
    "nan",  # the loss, or every val_gap, is no number; samplers are told the worst GAP
    "out_of_memory",  # of the GPU
    "host_oom",  # the node's
    "timeout",  # longer than a trial may take
    "hang",  # no sign of life
    "worker_lost",  # its process or its node died
    "preempted",  # its node was taken away
    "storage",  # its folder could not be read or written
    "data",  # the data set is damaged
    "error",  # anything else that the training code raised
]
# Ray's words, but for the last three in lower case.
PREEMPTED = "the actor's node was preempted"
_HOST_OOM = ("running low on memory", "out_of_memory", "outofmemory")
_TRACEBACK = ("Traceback (", 'File "')
_WHO = ("The actor died unexpectedly", "class_name:", "actor_id:", "pid:", "name:", "namespace:", "ip:")
_CAUSE_LENGTH = 600


class RetryConfig(Config):
    """How often a trial that failed is tried again from its last checkpoint, for each reason, within one sweep.

    ``worker_lost`` counts whole slots; a worker that dies three times within its slot has had its chances.
    """

    bad_config: Literal[0] = 0
    nan: NonNegativeInt = 0
    out_of_memory: NonNegativeInt = 1
    host_oom: NonNegativeInt = 1
    timeout: NonNegativeInt = 0
    hang: NonNegativeInt = 1
    worker_lost: NonNegativeInt = 2
    preempted: NonNegativeInt = 20
    storage: NonNegativeInt = 3
    data: NonNegativeInt = 0
    error: NonNegativeInt = 0

    def forgives(self, reason: Reason, retries: Mapping[str, int]) -> bool:
        """Whether a trial that had these ``retries`` (reason -> count) is tried again after failing by ``reason``."""
        budget: int = getattr(self, reason)
        return retries.get(reason, 0) < budget


def known_reason(word: str | None) -> Reason:
    """``word`` as a Reason; any other is ``error``."""
    return next((reason for reason in get_args(Reason) if reason == word), "error")


def reason_of_loss(error: str) -> Reason:
    """Why Ray lost a slot, by what its ``error`` says."""
    text = error.lower()
    if PREEMPTED in text:
        return "preempted"
    return "host_oom" if any(phrase in text for phrase in _HOST_OOM) else "worker_lost"


def cause_of_loss(error: str) -> str:
    """One line of Ray's ``error``: of a traceback its last, of a dead actor why it died."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(_WHO)]
    if any(line.startswith(_TRACEBACK) for line in lines):
        told = lines[-1:]
    return " ".join(told)[:_CAUSE_LENGTH] or "Ray gave no cause"
