"""Which proposal becomes the next trial: resolved, not tried before where that can be helped, and buildable."""

import json
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from dmlray.config import TrialConfig
from dmlray.config.problem import first_problem
from dmlray.errors import ConfigError
from dmlray.sweep.sampler import Proposal

Check = Callable[[TrialConfig], None]


@dataclass(frozen=True)
class Candidate:
    """A proposal with its configuration in full, as JSON; ``refusal`` says why it cannot be trained, if so."""

    proposal: Proposal
    config: dict[str, Any]
    refusal: str | None


class SpaceExhaustedError(Exception):
    """The space holds no configuration that was not tried: the sweep is over."""


def next_candidate(proposals: Iterable[Proposal], tried: Container[str], check: Check | None) -> Candidate:
    """The first of ``proposals`` whose configuration has no fingerprint in ``tried``.

    ``check`` raises ConfigError for a configuration that cannot be built. Raises SpaceExhaustedError where there is
    none.
    """
    for proposal in proposals:
        candidate = _resolve(proposal, check)
        if fingerprint(candidate.config) not in tried:
            return candidate
    raise SpaceExhaustedError


def fingerprint(config: Mapping[str, Any]) -> str:
    """Equal for equal configurations."""
    return json.dumps(config, sort_keys=True)


def _resolve(proposal: Proposal, check: Check | None) -> Candidate:
    try:
        config = TrialConfig.model_validate(proposal.config)
    except ValidationError as error:
        found = first_problem(error)
        return Candidate(proposal, proposal.config, f"{found.field}: {found.said}, got {found.value!r}")
    resolved = config.model_dump(mode="json")
    try:
        if check is not None:
            check(config)
    except ConfigError as error:
        return Candidate(proposal, resolved, str(error))
    return Candidate(proposal, resolved, None)
