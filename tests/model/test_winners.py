"""The published winners are points of a shipped space, and all of it can be built."""

from pathlib import Path

import pytest

from dmlray.config import TrialConfig
from dmlray.data.schema import PRESETS
from dmlray.model.build import check_buildable
from dmlray.sweep.space import load_space
from tests.sweep.spaces import RandomSuggester

WINNERS = Path(__file__).parents[2] / "search_spaces" / "winners.yaml"


@pytest.fixture(scope="module")
def configs():
    space = load_space(WINNERS)
    return [TrialConfig.model_validate(space.suggest(RandomSuggester(seed))) for seed in range(16)]


@pytest.mark.thorough
def test_every_pooling_and_head_of_the_winners_can_be_built_for_youtube_8m(configs):
    for config in configs:
        check_buildable(config, PRESETS["yt8m-frame"])
    assert {config.pooling.kind for config in configs} == {"netvlad", "netfv", "nextvlad", "dbof", "attention_clusters"}
    assert {config.head.kind for config in configs} == {"mixture", "logistic"}
