"""The choice itself, made on the selection part alone: scales, picks, weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from dmlray.ensemble.bagging import select_bagged
from dmlray.ensemble.candidates import Candidate
from dmlray.ensemble.optimise import optimised_weights
from dmlray.ensemble.pairs import pair_blocks
from dmlray.ensemble.parts import Rows
from dmlray.ensemble.scale import fit_temperature, scaled
from dmlray.ensemble.selection import Budget, Selection, select
from dmlray.ensemble.weights import RULES, member_weights
from dmlray.errors import ConfigError, UsageError

Scale = Literal["temperature", "none"]
OPTIMISED = "optimised"
WEIGHTS = (*RULES, OPTIMISED)


@dataclass(frozen=True)
class EnsembleSettings:
    """At most ``top`` distinct members in ``size`` picks, weighted by one of WEIGHTS; scores put on one scale by a
    temperature per member, or left; ``bags`` > 0 pools that many selections of half the candidates; a share
    ``report_split`` of the validation videos is kept from the selection; ``resamples`` of the bootstrap.
    """

    top: int = 5
    size: int = 25
    weights: str = "gap"
    scale: Scale = "temperature"
    bags: int = 0
    report_split: float = 0.5
    resamples: int = 200
    seed: int = 0

    def check(self) -> None:
        """Raises UsageError for a number out of range, ConfigError for an unknown rule."""
        for name, least in (("top", 1), ("size", 1), ("resamples", 2), ("bags", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 <= self.report_split < 1:
            raise UsageError(f"report split must be at least 0 and below 1, got {self.report_split}")
        if self.weights not in WEIGHTS:
            raise ConfigError("weights", self.weights, "one of " + ", ".join(WEIGHTS))


@dataclass(frozen=True)
class Choice:
    """``candidates`` with their scores as they are blended, their ``temperatures`` (1.0: as they were), the selection,
    and weights that sum to 1 by place among the candidates.
    """

    candidates: Sequence[Candidate]
    temperatures: Sequence[float]
    selection: Selection
    weights: Mapping[int, float]


def choose(
    candidates: Sequence[Candidate],
    gaps: Sequence[float],
    rows: Rows,
    settings: EnsembleSettings,
    budgets: Sequence[Budget] = (),
) -> Choice:
    """Choose on videos ``rows`` among candidates in order, of GAP (E,) of their own there.

    Raises UsageError when no candidate fits the budgets.
    """
    temperatures = [
        fit_temperature(candidate.validation, rows) if settings.scale == "temperature" else 1.0
        for candidate in candidates
    ]
    on_scale = [_scaled(*pair) for pair in zip(candidates, temperatures, strict=True)]
    blocks = list(pair_blocks([candidate.validation for candidate in on_scale], rows))
    try:
        if settings.bags:
            bags, seed = settings.bags, settings.seed
            selection = select_bagged(
                blocks, bags=bags, seed=seed, top=settings.top, size=settings.size, budgets=budgets
            )
        else:
            selection = select(blocks, top=settings.top, size=settings.size, budgets=budgets)
    except ValueError as error:
        raise UsageError(f"{error}: raise --max-mb or --max-ms-per-video, or search smaller models") from error
    counts = selection.counts
    if settings.weights == OPTIMISED:
        shares = optimised_weights(blocks, counts)
    else:
        shares = member_weights(settings.weights, list(counts.values()), [gaps[place] for place in counts])
    return Choice(on_scale, temperatures, selection, dict(zip(counts, shares, strict=True)))


def _scaled(candidate: Candidate, temperature: float) -> Candidate:
    test = candidate.test
    return replace(
        candidate,
        validation=scaled(candidate.validation, temperature),
        test=None if test is None else scaled(test, temperature),
    )
