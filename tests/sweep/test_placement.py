"""How many trials fit."""

import pytest

from dmlray.errors import ConfigError
from dmlray.sweep.placement import slots_that_fit


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "slots"),
    [
        ([{"CPU": 2}], 1, 0, 2),
        ([{"CPU": 3}, {"CPU": 3}], 2, 0, 2),  # a trial never spans two nodes
        ([{"CPU": 8, "GPU": 2}], 1, 0.5, 4),
        ([{"CPU": 8, "GPU": 2}], 1, 0.4, 4),  # a fraction never spans two GPUs
        ([{"CPU": 2, "GPU": 4}], 1, 1, 2),
        ([{"CPU": 4}, {"CPU": 16, "GPU": 4}], 4, 1, 4),
        ([{"CPU": 1}], 0.1, 0, 10),
    ],
)
def test_slots(nodes: list[dict[str, float]], cpus: float, gpus: float, slots: int) -> None:
    assert slots_that_fit(nodes, cpus, gpus) == slots


def test_workers_of_a_trial_may_sit_on_different_nodes() -> None:
    assert slots_that_fit([{"CPU": 3}, {"CPU": 3}], 4, 0, workers=4) == 1
    assert slots_that_fit([{"CPU": 3}, {"CPU": 3}], 4, 0, workers=2) == 1
    assert slots_that_fit([{"CPU": 8, "GPU": 4}, {"CPU": 8, "GPU": 1}], 2, 2, workers=2) == 2
    with pytest.raises(ConfigError, match=r"--workers-per-trial must be at most the 2 workers .* got 4"):
        slots_that_fit([{"CPU": 1}, {"CPU": 1}], 4, 0, workers=4)


def test_what_never_fits_is_refused_with_the_limit() -> None:
    with pytest.raises(ConfigError, match=r"--cpus-per-trial must be at most the 2 CPUs .* got 4"):
        slots_that_fit([{"CPU": 2}], 4, 0)
    with pytest.raises(ConfigError, match=r"--gpus-per-trial must be at most the 0 GPUs .* got 1"):
        slots_that_fit([{"CPU": 2}], 1, 1)
