"""The simulation behind `cluster/README.md`: no more than the driver serves, storage gives, or GPUs ask for."""

from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.sim_scaling import GPUS, Plane, trials_per_hour

RATES = st.floats(1e6, 1e10)


@given(wanted=RATES, process=RATES, node=RATES, shared=RATES, gpus=st.sampled_from(GPUS), per_node=st.integers(1, 8))
def test_nobody_gets_more_than_there_is(
    wanted: float, process: float, node: float, shared: float, gpus: int, per_node: int
) -> None:
    plane = Plane("any", process, node, shared)
    rate = plane.rate(wanted, gpus, per_node)
    assert 0 < rate <= min(wanted, process)
    assert rate * gpus <= shared * 1.001
    assert rate * min(gpus, per_node) <= node * 1.001
    bend = plane.bends_at(wanted, per_node)
    assert (rate < wanted) == (bend is not None and gpus >= bend)


def test_trials_an_hour_are_those_of_the_gpus_or_of_the_driver() -> None:
    """Two GPUs of 10 epochs of 36 s do 20 trials an hour; one driver that takes 36 s for each trial's end, 100."""
    assert abs(trials_per_hour(2, 36.0, 10, 0.0, 0.0) - 20) < 1
    assert abs(trials_per_hour(64, 36.0, 10, 0.0, 36.0) - 100) < 3
