"""Which parameters mattered, as far as the trials tell."""

from contextlib import closing
from pathlib import Path

import pytest

from dmlray.sweep.study import MIN_IMPORTANCE_TRIALS, Study
from tests.sweep.spaces import load_text

SPACE = """
space:
  encoder: {choice: {none: {}, gru: {dropout: {float: [0.0, 0.5]}}}}
  optimizer: {kind: adam, learning_rate: {float: [1e-4, 1.0], log: true}}
"""


@pytest.mark.thorough
def test_what_decides_ranks_first(tmp_path: Path) -> None:
    space = load_text(tmp_path, SPACE)
    with closing(Study.create(tmp_path / "study.db", "sweep", seed=1, sampler="random")) as study:
        for number in range(3 * MIN_IMPORTANCE_TRIALS):
            if number == MIN_IMPORTANCE_TRIALS - 1:
                assert study.importances() == {}
            rate = study.start(study.ask(space).number).config["optimizer"]["learning_rate"]
            study.complete(number, 1 - rate, 1, {})
    with closing(Study.open(tmp_path / "study.db", read_only=True)) as study:
        found = study.importances()
    assert set(found) == {"encoder", "encoder.gru.dropout", "optimizer.learning_rate"}
    assert next(iter(found)) == "optimizer.learning_rate"
    assert abs(sum(found.values()) - 1) < 1e-9
    assert list(found.values()) == sorted(found.values(), reverse=True)
