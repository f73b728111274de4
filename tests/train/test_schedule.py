"""The learning rate, and when a loss has flattened."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmlray.config import TrialConfig
from dmlray.errors import ConfigError
from dmlray.train.schedule import EpochLoss, LearningRate, flat_since, plan_learning_rate

ADAM = {"kind": "adam", "learning_rate": 0.01}


def plan(optimizer: dict[str, object], epoch_videos: int | None = 100, epochs: int = 4) -> LearningRate:
    config = TrialConfig.model_validate({"epochs": epochs, "optimizer": ADAM | optimizer})
    return plan_learning_rate(config, epoch_videos)


def history(*losses: float) -> list[EpochLoss]:
    """Epochs of 100 videos."""
    return [EpochLoss(100 * epoch, loss) for epoch, loss in enumerate(losses, start=1)]


def test_staircase_falls_in_steps() -> None:
    rates = plan({"schedule": {"kind": "staircase", "decay": 0.5, "decay_examples": 100}})
    assert [rates.at(videos, 10, []) for videos in (0, 99, 100, 199, 200)] == [0.01, 0.01, 0.005, 0.005, 0.0025]


def test_staircase_falls_faster_once_the_loss_is_flat() -> None:
    schedule = {"kind": "staircase", "decay": 0.5, "decay_examples": 150, "flat_examples": 10, "flat_below": 0.1}
    rates = plan({"schedule": schedule})
    assert rates.at(199, 1, history(2.0)) == 0.005
    assert rates.at(219, 1, history(2.0, 1.5)) == 0.005, "a quarter lower: not flat"
    found = [rates.at(videos, 1, history(2.0, 1.9)) for videos in (200, 209, 210, 220)]
    assert found == [0.005, 0.005, 0.0025, 0.00125]
    assert rates.at(310, 1, history(2.0, 1.9, 0.1)) == pytest.approx(0.01 * 0.5**12), "flat once is flat for good"


@given(st.lists(st.floats(0.1, 10.0), max_size=6), st.floats(0.0, 0.5))
def test_flat_is_the_first_epoch_that_brought_too_little(losses: list[float], below: float) -> None:
    expected = [100 * n for n in range(2, len(losses) + 1) if losses[n - 1] > losses[n - 2] * (1 - below)]
    assert flat_since(history(*losses), below) == (expected[0] if expected else None)


def test_cosine_ends_at_its_floor_with_the_trial() -> None:
    rates = plan({"schedule": {"kind": "cosine", "floor": 0.1}})
    found = [rates.at(videos, 10, []) for videos in (0, 200, 400, 500)]
    assert found == pytest.approx([0.01, 0.01 * 0.55, 0.001, 0.001])


def test_cosine_over_a_given_number_of_videos() -> None:
    rates = plan({"schedule": {"kind": "cosine", "examples": 50}}, epoch_videos=None)
    assert [rates.at(videos, 10, []) for videos in (0, 25, 50)] == pytest.approx([0.01, 0.005, 0.0])


@pytest.mark.parametrize("kind", ["constant", "staircase", "cosine"])
def test_warm_up_rises_evenly_and_never_from_zero(kind: str) -> None:
    rates = plan({"schedule": {"kind": kind}, "warmup_examples": 100})
    assert [rates.at(videos, 25, []) for videos in (0, 25, 75)] == pytest.approx([0.0025, 0.005, 0.01])
    assert rates.at(100, 25, []) == pytest.approx(0.01)


def test_schedule_free_has_only_its_warm_up() -> None:
    config = TrialConfig.model_validate({"optimizer": {"kind": "schedule_free", "warmup_examples": 40}})
    rates = plan_learning_rate(config, None)
    assert [rates.at(videos, 10, []) for videos in (0, 30, 10**6)] == [0.000625, 0.0025, 0.0025]


def test_cosine_needs_to_know_its_end() -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.schedule\.examples must be a number of videos"):
        plan({"schedule": {"kind": "cosine"}}, epoch_videos=None)


def test_warm_up_must_end_before_the_cosine_does() -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.warmup_examples must be less than the 400 videos .* got 400"):
        plan({"schedule": {"kind": "cosine"}, "warmup_examples": 400})
