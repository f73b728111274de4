"""The ensemble of a sweep that still runs."""

import pytest

from dmlray.data.predictions import save_predictions
from dmlray.ensemble.combine import combine
from dmlray.ensemble.live import LiveEnsemble, LiveUpdates
from dmlray.ensemble.live_steps import LIVE_FILE, describe_live, read_live
from dmlray.ensemble.parts import gap_on, split_videos
from dmlray.errors import StorageError
from tests.ensemble.cases import stores

SIZES = {"videos": 400, "classes": 30, "members": 8, "keep": 25, "grid": 2**18}


@pytest.fixture
def sweep(tmp_path):
    members = stores(5, **SIZES)
    for number, store in enumerate(members):
        save_predictions(tmp_path / f"{number}" / "predictions.arrow", store)
    return tmp_path, members


def test_each_trial_that_helps_gets_in(sweep):
    path, members = sweep
    live = LiveEnsemble(path / LIVE_FILE)
    steps = [live.add(number, lambda n: path / str(n)) for number in range(8)]
    assert steps[0].picks == {0: 1}
    assert steps[0].changed
    assert steps[-1].gap > steps[0].gap
    assert all(len(step.picks) <= 5 for step in steps)
    last = steps[-1]
    _, reported = split_videos(members[0].ids, 0.5)
    shares = [count / sum(last.picks.values()) for count in last.picks.values()]
    blend = combine([members[trial] for trial in last.picks], shares)
    assert last.gap == pytest.approx(gap_on(blend, reported), abs=1e-6)
    before = steps[0].picks
    for step in steps[1:]:
        assert set(step.picks) <= {*before, step.trial}
        assert step.changed == (set(step.picks) != set(before))
        before = step.picks
    assert f"GAP {last.gap:.4f} of trials" in describe_live(steps)


def test_a_resumed_sweep_goes_on_from_the_last_step(sweep):
    path, _ = sweep
    through = LiveEnsemble(path / "whole.json")
    for number in range(6):
        through.add(number, lambda n: path / str(n))
    for part in ((0, 1, 2), (3, 4, 5)):
        updates = LiveUpdates(LiveEnsemble(path / LIVE_FILE), lambda n: path / str(n))
        updates.add([0, *part])  # what is known already is not added again
        updates.close()
    assert read_live(path / LIVE_FILE) == through.steps
    assert updates.so_far().gaps.keys() == set(range(6))


def test_what_cannot_be_read_is_no_member(sweep):
    path, _ = sweep
    damaged = path / "1" / "predictions.arrow"
    damaged.write_bytes(damaged.read_bytes()[:-50])
    live = LiveEnsemble(path / LIVE_FILE)
    live.add(0, lambda n: path / str(n))
    with pytest.raises(StorageError, match="1/predictions"):
        live.add(1, lambda n: path / str(n))
    updates = LiveUpdates(live, lambda n: path / str(n))
    updates.add([1, 2])
    updates.close()
    assert [step.trial for step in live.steps] == [0, 2]


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"trial": 1}]'])
def test_a_file_of_another_version_counts_as_none(tmp_path, text):
    (tmp_path / LIVE_FILE).write_text(text)
    assert read_live(tmp_path / LIVE_FILE) == []
