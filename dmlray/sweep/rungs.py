"""The levels at which stopping is decided, in integers only: in floats log(243) / log(3) is just under 5."""


def rung_levels(min_epochs: int, max_epochs: int, eta: int) -> tuple[int, ...]:
    """Epochs at which a trial may be stopped (Li et al., 2020, arXiv:1810.05934, alg. 2)."""
    levels = []
    level = min_epochs
    while level <= max_epochs:
        levels.append(level)
        level *= eta
    return tuple(levels)


def bracket_sizes(min_epochs: int, max_epochs: int, eta: int) -> tuple[int, ...]:
    """How many trials each bracket of Hyperband takes in one round, the most aggressive first; at least one bracket.

    Bracket s of s_max, ..., 0 takes ceil((s_max + 1) / (s + 1) * eta^s) (Li et al., 2018, arXiv:1603.06560, alg. 1).
    """
    s_max = max(1, len(rung_levels(min_epochs, max_epochs, eta))) - 1
    return tuple(-(-(s_max + 1) * eta**s // (s + 1)) for s in range(s_max, -1, -1))


def bracket_of(number: int, sizes: tuple[int, ...]) -> int:
    """The bracket of trial ``number``, counted from the most aggressive: they fill up in turn, round after round."""
    place = number % sum(sizes)
    for bracket, size in enumerate(sizes):
        if place < size:
            return bracket
        place -= size
    raise AssertionError("a place within one round lies in a bracket")
