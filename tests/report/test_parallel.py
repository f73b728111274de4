"""Parallel coordinates: who is drawn, and what the sentence claims."""

from dataclasses import replace

import pytest

from dmlray.report.content import Content, read_content
from dmlray.report.parallel import parallel_figure
from dmlray.report.plot import draw
from tests.report.sweeps import make_sweep, trained
from tests.sweep.spaces import SPACE

pytestmark = pytest.mark.thorough  # pictures


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Content:
    return read_content(make_sweep(tmp_path_factory.mktemp("results"), trained, trials=12, space=SPACE))


def test_the_sentence_counts_the_trials_that_it_speaks_of(content: Content) -> None:
    figure = parallel_figure(content)
    assert figure is not None
    assert f"one of {len(content.complete)} complete trials" in figure.sentence
    best = sorted(content.complete, key=lambda trial: -(trial.best_so_far or 0))[: -(-len(content.complete) // 4)]
    grus = sum(trial.params["encoder"] == "gru" for trial in best)
    if "encoder gru" in figure.sentence:
        assert f"Of the best {len(best)}, {grus} have encoder gru" in figure.sentence
    assert draw(figure.paint, figure.size, "png").startswith(b"\x89PNG")


def test_too_few_trials_or_parameters_are_not_drawn(content: Content) -> None:
    assert parallel_figure(replace(content, trials=content.trials[:2])) is None
    assert parallel_figure(replace(content, parameters=content.parameters[:1])) is None


def test_one_value_alone_is_drawn_too(content: Content) -> None:
    same = [replace(trial, params={**content.complete[0].params}) for trial in content.complete]
    figure = parallel_figure(replace(content, trials=same))
    assert figure is not None
    assert "No option is much more frequent" in figure.sentence
    assert draw(figure.paint, figure.size)
