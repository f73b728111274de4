"""The levels at which stopping is decided."""


def rung_levels(min_epochs: int, max_epochs: int, eta: int) -> tuple[int, ...]:
    """Epochs at which a trial may be stopped (Li et al., 2020, arXiv:1810.05934, alg. 2).

    Integers only: in floats log(243) / log(3) is just under 5, which loses a rung.
    """
    levels = []
    level = min_epochs
    while level <= max_epochs:
        levels.append(level)
        level *= eta
    return tuple(levels)
