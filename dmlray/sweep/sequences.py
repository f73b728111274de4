"""Suggestions that need no model: points of a quasi-random sequence, and of an evolving normal distribution."""

import warnings
from collections.abc import Sequence

SIGMA = 1 / 6  # of CMA-ES's first distribution: the whole unit cube lies within three of it

Point = Sequence[float]


def sobol_point(dimensions: int, seed: int, index: int) -> list[float]:
    """Point ``index`` of a scrambled Sobol' sequence in [0, 1)^dimensions (Owen, 1998, doi:10.1006/jcom.1998.0487)."""
    from scipy.stats.qmc import Sobol

    engine = Sobol(dimensions, scramble=True, rng=seed % 2**32)
    if index:
        engine.fast_forward(index)  # which takes no zero
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # one point is no balanced set; the sequence is
        return [float(place) for place in engine.random(1)[0]]


def cmaes_point(dimensions: int, told: Sequence[tuple[Point, float]], seed: int) -> list[float]:
    """A point of the unit cube drawn after ``told``: (point, value to maximise), in the order of their numbers.

    CMA-ES (Hansen, 2016, arXiv:1604.00772), replayed from the start: each full generation of ``told`` moves the
    distribution once. With one trial at a time the generations are exactly those that were drawn; with c at once up to
    c - 1 trials count for the generation after theirs. ``dimensions`` is at least 2.
    """
    import numpy as np
    from cmaes import CMA

    bounds = np.tile([0.0, 1.0], (dimensions, 1))
    strategy = CMA(mean=np.full(dimensions, 0.5), sigma=SIGMA, bounds=bounds, seed=seed % 2**32)
    size = strategy.population_size
    for start in range(0, len(told) - size + 1, size):
        strategy.tell([(np.asarray(point), -value) for point, value in told[start : start + size]])
    return [min(max(float(place), 0.0), 1.0) for place in strategy.ask()]
