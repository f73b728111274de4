"""An ensemble whose members nobody selects: all of some trials, as a space file names them."""

from collections.abc import Sequence

import numpy as np

from dmlray.ensemble.candidates import Candidate, ordered_candidates
from dmlray.ensemble.compare import blend
from dmlray.ensemble.parts import gap_on
from dmlray.ensemble.weights import member_weights


def fixed_ensemble_gaps(candidates: Sequence[Candidate]) -> tuple[float, float | None]:
    """GAP@20 of all ``candidates`` together, on validation and, where all have it, on test.

    Weights are proportional to validation GAP (Zhao, 2018, Algorithm 2). Raises as `candidates.ordered_candidates`.
    """
    members = ordered_candidates(candidates)
    rows = np.arange(len(members[0].validation))
    gaps = [gap_on(member.validation, rows) for member in members]
    together = blend(members, dict(enumerate(member_weights("gap", [1] * len(members), gaps))))
    on_test = None if together.test is None else gap_on(together.test, np.arange(len(together.test)))
    return gap_on(together.validation, rows), on_test
