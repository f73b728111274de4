"""Which head goes on with the sweep of a storage path: one, as far as a storage without conditional writes allows.

Each head that begins takes the next epoch with a file of its own, ``owners/<epoch>-<token>.json``, and adds a beat to
it every few seconds. Where another's beats go on, a head is refused; one without beats for EXPIRY_S, or of a process
that is known to be dead, is followed. Who sees a later epoch than his own stops. What heads write carries their epoch,
and the highest counts, so a head that was cut off and comes back overwrites nothing.

Two heads that begin in the same moment both wait SETTLE_S before they look again, and the one with the lower token
goes on. That holds while a file that was written is listed within SETTLE_S, which S3 and Google Cloud Storage promise
(strong consistency) as long as the write itself takes no longer; otherwise both run until the next beat, and the
epoch's copies of one of them are ignored. Clocks are not compared.
"""

import secrets
import time
from collections.abc import Callable
from typing import Any

from pydantic import NonNegativeInt

from dmlray.config import Config
from dmlray.errors import BusyError, LeaseLostError
from dmlray.remote import Remote
from dmlray.sweep.holder import Holder

BEAT_S = 5.0
EXPIRY_S = 30.0
SETTLE_S = 1.5
_LOOK_S = 0.5
_FOLDER = "owners"


class Claim(Config):
    """A head's file: ``began`` once it has looked again, ``released`` once it has ended."""

    epoch: NonNegativeInt
    token: str
    beat: NonNegativeInt = 0
    began: bool = False
    released: bool = False
    holder: str

    @property
    def name(self) -> str:
        """Its file."""
        return f"{_FOLDER}/{self.epoch:08d}-{self.token}.json"

    @property
    def who(self) -> Holder:
        """The process. Raises ValueError or TypeError where the file says something else."""
        return Holder.parse(self.holder)

    def outranks(self, other: "Claim") -> bool:
        """Whether ``other`` must give way to this one."""
        if self.epoch != other.epoch:
            return self.epoch > other.epoch
        return self.token != other.token and ((self.began, other.token) > (other.began, self.token))


def claims(remote: Remote) -> list[Claim]:
    """All that are there, by epoch; files that are none are passed over."""
    found = []
    for name in remote.names(_FOLDER):
        try:
            claim = Claim.model_validate_json(remote.get(name) or b"")
            assert claim.who
        except (ValueError, TypeError):
            continue
        found.append(claim)
    return sorted(found, key=lambda claim: (claim.epoch, claim.token))


class Ownership:
    """This process's claim on a sweep's storage. Made by ``take``; used by one thread at a time."""

    def __init__(self, remote: Remote, claim: Claim) -> None:
        self._remote, self._claim = remote, claim

    @classmethod
    def take(cls, remote: Remote, say: Callable[[str], None]) -> "Ownership":
        """Become the sweep's only head. Raises BusyError naming the one that there is."""
        before = claims(remote)
        last = before[-1] if before else None
        if last is not None and not last.released:
            _outwait(remote, last, say)
        holder = Holder.this_process().to_json()
        claim = Claim(epoch=last.epoch + 1 if last else 1, token=secrets.token_hex(4), holder=holder)
        own = cls(remote, claim)
        own._write()
        time.sleep(SETTLE_S)
        for other in claims(remote):
            if other.outranks(claim):
                remote.delete(claim.name)
                raise BusyError(f"{remote} is being taken by {other.who}: wait for it")
        own._write(began=True)
        for old in before:
            remote.delete(old.name)
        return own

    @property
    def epoch(self) -> int:
        """Higher than that of any head before this one."""
        return self._claim.epoch

    @property
    def token(self) -> str:
        """Tells this claim from another of the same epoch."""
        return self._claim.token

    def check(self) -> None:
        """Raise LeaseLostError if another head has taken over."""
        if any(other.outranks(self._claim) for other in claims(self._remote)):
            raise LeaseLostError(
                f"another process goes on with {self._remote} since this one was silent: nothing more is written there"
            )

    def beat(self) -> None:
        """A sign of life. Raises as ``check`` does."""
        self.check()
        self._write(beat=self._claim.beat + 1)

    def release(self, forget: bool = False) -> None:
        """Let others go on at once; ``forget`` leaves nothing of a sweep that never began."""
        if forget:
            self._remote.delete(self._claim.name)
        else:
            self._write(released=True)

    def _write(self, **changes: Any) -> None:
        self._claim = self._claim.model_copy(update=changes)
        self._remote.put(self._claim.name, self._claim.model_dump_json().encode())


def _outwait(remote: Remote, last: Claim, say: Callable[[str], None]) -> None:
    """Return once ``last`` shows no life. Raises BusyError if it does."""
    if last.who.fate() == "dead":
        return
    say(f"looking for up to {EXPIRY_S:g} s whether {last.who} still runs this sweep")
    deadline = time.monotonic() + EXPIRY_S
    while time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        now = claims(remote)
        if not now or (now[-1].token == last.token and now[-1].released):
            return
        if now[-1] != last:
            raise BusyError(f"{remote} is being run by {now[-1].who}: wait for it")
