"""The choice itself, made on the selection part alone: scales, picks, weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from dmlray.ensemble.bagging import select_bagged
from dmlray.ensemble.candidates import Candidate
from dmlray.ensemble.optimise import optimised_weights
from dmlray.ensemble.pairs import PairBlock, pair_blocks
from dmlray.ensemble.parts import Rows
from dmlray.ensemble.precision import Precision
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
    ``report_split`` of the validation videos is kept from the selection; ``resamples`` of the bootstrap. Members'
    parameters are stored in ``precision``.
    """

    top: int = 5
    size: int = 25
    weights: str = "gap"
    scale: Scale = "temperature"
    bags: int = 0
    report_split: float = 0.5
    resamples: int = 200
    seed: int = 0
    precision: Precision = "float32"

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
class Scaled:
    """``candidates`` with their scores as they are blended, the ``temperatures`` (E,) that made them so, and their
    pairs on the videos of the selection.
    """

    candidates: Sequence[Candidate]
    temperatures: Sequence[float]
    blocks: Sequence[PairBlock]


@dataclass(frozen=True)
class Choice:
    """What was picked from ``scaled``, with weights that sum to 1 by place among the candidates."""

    scaled: Scaled
    selection: Selection
    weights: Mapping[int, float]


def put_on_scale(candidates: Sequence[Candidate], rows: Rows, scale: Scale) -> Scaled:
    """Candidates in order, ready to be chosen from on videos ``rows``."""
    fitted = [fit_temperature(one.validation, rows) if scale == "temperature" else 1.0 for one in candidates]
    on_scale = [_scaled(candidate, temperature) for candidate, temperature in zip(candidates, fitted, strict=True)]
    return Scaled(on_scale, fitted, list(pair_blocks([one.validation for one in on_scale], rows)))


def choose(
    candidates: Scaled, gaps: Sequence[float], settings: EnsembleSettings, budgets: Sequence[Budget] = ()
) -> Choice:
    """Choose among candidates of GAP (E,) of their own. Raises UsageError when none fits the budgets."""
    blocks, top, size = candidates.blocks, settings.top, settings.size
    try:
        if settings.bags:
            bags, seed = settings.bags, settings.seed
            selection = select_bagged(blocks, bags=bags, seed=seed, top=top, size=size, budgets=budgets)
        else:
            selection = select(blocks, top=top, size=size, budgets=budgets)
    except ValueError as error:
        raise UsageError(f"{error}: raise --max-mb or --max-ms-per-video, or search smaller models") from error
    counts = selection.counts
    if settings.weights == OPTIMISED:
        shares = optimised_weights(blocks, counts)
    else:
        shares = member_weights(settings.weights, list(counts.values()), [gaps[place] for place in counts])
    return Choice(candidates, selection, dict(zip(counts, shares, strict=True)))


def _scaled(candidate: Candidate, temperature: float) -> Candidate:
    test = candidate.test
    return replace(
        candidate,
        validation=scaled(candidate.validation, temperature),
        test=None if test is None else scaled(test, temperature),
    )
