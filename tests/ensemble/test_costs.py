"""What members cost, measured on trials that were really trained."""

from dataclasses import replace

import numpy as np
import pytest

from dmlray.data.dataset import open_splits
from dmlray.ensemble.candidates import load_candidates
from dmlray.ensemble.choice import EnsembleSettings
from dmlray.ensemble.costs import measure_costs
from dmlray.ensemble.dense import DenseBlender
from dmlray.ensemble.search import Limits, search_ensemble
from dmlray.errors import DataError, StorageError, UsageError
from tests.data.videos import VIDEO
from tests.train.trials import CPU, LOGISTIC, make_task, run, write_data

HIDDEN = {**LOGISTIC, "fusion": {"kind": "shared", "dim": 64}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The data, and the folders of a small and a large trial."""
    folder = tmp_path_factory.mktemp("costs")
    data = write_data(folder / "data", VIDEO)
    for name, config in (("0", LOGISTIC), ("1", HIDDEN)):
        run(make_task(data, folder / name, config))
    return open_splits(data)["validation"], [folder / "0", folder / "1"]


def known(directories):
    return load_candidates((number, f"model {number}", path) for number, path in enumerate(directories))


def test_size_is_that_of_the_parameters(trained):
    dataset, directories = trained
    costs = measure_costs(known(directories), dataset)
    width = sum(modality.width for modality in VIDEO.modalities)
    assert costs.mb[0] == pytest.approx((width + 1) * VIDEO.classes * 4 / 1e6)
    assert costs.mb[1] > costs.mb[0]
    assert (costs.ms_per_video > 0).all()


def test_the_selection_keeps_to_its_budget_and_shows_the_front(trained):
    dataset, directories = trained
    candidates = known(directories)
    settings = EnsembleSettings(top=2, size=4, resamples=5)
    small, large = measure_costs(known(directories), dataset).mb
    report = search_ensemble(candidates, settings, Limits(small * 1.01, None, dataset)).report
    assert [member.trial for member in report.members] == [0]
    assert report.budgets == {"max_mb": small * 1.01}
    assert all(point.mb <= small + large + 1e-9 for point in report.front)
    assert [point.gap for point in report.front] == sorted((point.gap for point in report.front), reverse=True)
    with pytest.raises(UsageError, match=r"--max-mb is .*, the cheapest candidate needs .*: raise it"):
        search_ensemble(candidates, settings, Limits(small / 2, None, dataset))
    unlimited = search_ensemble(candidates, settings).report
    assert unlimited.budgets == {}
    assert unlimited.front == ()


def test_a_missing_checkpoint_is_named(trained, tmp_path):
    with pytest.raises(StorageError, match=r"config\.json"):
        measure_costs([replace(known(trained[1])[0], directory=tmp_path)], trained[0])


@pytest.mark.parametrize("scale", ["temperature", "none"])
def test_full_outputs_give_what_is_reported(trained, scale):
    """Stores of all classes estimate nothing: the dense figures must be theirs."""
    dataset, directories = trained
    splits = open_splits(dataset.path.parent)
    candidates = known(directories)
    settings = EnsembleSettings(top=2, size=3, resamples=5, scale=scale, weights="count")
    stored = search_ensemble(candidates, settings)
    dense = search_ensemble(candidates, settings, None, DenseBlender(splits, 0, CPU))
    assert dense.report.members == stored.report.members
    figures = dense.report.figures
    assert figures["from_stores"] == stored.report.figures["ensemble"]
    assert VIDEO.classes < 50
    assert figures["ensemble"].report == pytest.approx(figures["from_stores"].report, abs=1e-6)
    assert figures["ensemble"].test == pytest.approx(figures["from_stores"].test, abs=1e-6)
    assert figures["paper"].test == pytest.approx(stored.report.figures["paper"].test, abs=1e-6)
    assert np.allclose(dense.validation.scores, stored.validation.scores, atol=1e-6)
    assert "full outputs" in dense.report.notes[-1]


def test_other_videos_than_the_stores_are_refused(trained):
    dataset, directories = trained
    candidates = load_candidates([(0, "model 0", directories[0])])
    swapped = {"validation": open_splits(dataset.path.parent)["test"]}
    with pytest.raises(DataError, match="holds other videos than the members' predictions"):
        search_ensemble(candidates, EnsembleSettings(resamples=5), None, DenseBlender(swapped, 0, CPU))


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_what_fewer_bits_cost_is_told(trained, precision):
    dataset, directories = trained
    splits = open_splits(dataset.path.parent)
    candidates = known(directories)
    settings = EnsembleSettings(top=2, size=3, resamples=5, precision=precision)
    costs = measure_costs(known(directories), dataset, precision)
    assert (costs.mb < 0.6 * measure_costs(known(directories), dataset).mb).all()
    report = search_ensemble(candidates, settings, None, DenseBlender(splits, 0, CPU)).report
    assert report.precision == precision
    own, whole = report.figures["ensemble"], report.figures["float32"]
    assert own.selection == pytest.approx(whole.selection, abs=0.05)
    size = sum(costs.mb[member.trial] for member in report.members)
    assert report.notes[-1].startswith(f"Members are stored as {precision}, {size:,.2f} MB; on the report part float32")
    assert report.notes[-1].endswith(f"change GAP by {whole.report - own.report:+.5f}.")
    limits = Limits(float(costs.mb.sum()) * 1.01, None, dataset)
    bounded = search_ensemble(candidates, settings, limits, DenseBlender(splits, 0, CPU)).report
    assert {"float16", "int8", "float32"} - set(bounded.figures) == {precision}
    with pytest.raises(UsageError, match=f"what {precision} costs is only known when members are run"):
        search_ensemble(candidates, settings)
