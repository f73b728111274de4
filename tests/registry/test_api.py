"""The names that `from dmlray import …` gives, and the README's example of them."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import dmlray
from dmlray.data.schema import schema_yaml
from dmlray.errors import DataError, MissingInputError, UsageError
from dmlray.sweep.settings import SweepFolder
from tests.data.videos import VIDEO, random_block, write_tfrecords
from tests.registry.conftest import package_of
from tests.report.sweeps import add_ensemble, make_sweep, trained

pytestmark = pytest.mark.thorough

README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, video_sweep: SweepFolder) -> Path:
    """A folder with a sweep, its predictions, an ensemble's package and TFRecords, as the README's commands leave it.

    The package is another sweep's: it reads the features of the TFRecords.
    """
    folder = tmp_path_factory.mktemp("notebook")
    sweep = make_sweep(folder / "results", trained, 8)
    add_ensemble(sweep, "top5")
    shutil.copytree(package_of(video_sweep), sweep.ensemble("top5") / "package")
    write_tfrecords(folder / "results/tfrecords/test/a.tfrecord", VIDEO, random_block(VIDEO, 9))
    (folder / "results/tfrecords/test/schema.yaml").write_text(schema_yaml(VIDEO))
    return folder


@pytest.fixture
def results(world: Path) -> Path:
    return world / "results"


def test_the_readmes_example_runs(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = [
        block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "from dmlray import" in block
    ]
    monkeypatch.chdir(world)
    names: dict = {}
    exec(compile(text, "README.md", "exec"), names)
    assert names["trials"].val_gap.max() == names["trials"].val_gap[names["best"]]
    assert sum(names["found"].weights.values()) == pytest.approx(1)
    assert 0 < names["found"].gap < 1
    assert names["scores"].shape == (9, VIDEO.classes)


def test_a_sweep_is_a_table(results: Path) -> None:
    sweep = dmlray.load_sweep("first", results)
    trials = sweep.trials()
    assert list(trials.index) == list(range(8))
    assert {"model", "state", "val_gap", "test_gap", "epochs", "train_s", "reason"} < set(trials.columns)
    assert (trials.state == "failed").sum() == 1
    assert trials["optimizer.learning_rate"].between(1e-3, 0.1).all()
    assert sweep.predictions(0, "test").labels.shape == sweep.predictions(0).labels.shape == (200, 25)
    with pytest.raises(MissingInputError, match="validation predictions of trial 4"):
        sweep.predictions(4)
    with pytest.raises(UsageError, match="validation and test, not 'train'"):
        sweep.predictions(0, "train")  # type: ignore[arg-type]
    with pytest.raises(MissingInputError, match="no sweep"):
        dmlray.load_sweep("second", results)


def test_a_sweep_without_trials_is_an_empty_table(tmp_path: Path) -> None:
    make_sweep(tmp_path, trained, 0, wanted=2)
    assert dmlray.load_sweep("first", str(tmp_path)).trials().empty


def test_a_selection_of_a_sweep_is_that_of_its_predictions(results: Path) -> None:
    sweep = dmlray.load_sweep("first", results)
    numbers = [candidate.trial for candidate in sweep.candidates()]
    one = dmlray.select_ensemble(sweep, top=3)
    other = dmlray.select_ensemble([sweep.predictions(number) for number in numbers], top=3)
    assert one.weights == {numbers[place]: weight for place, weight in other.weights.items()}
    assert one.gap == other.gap == one.report.figures["ensemble"].report
    with pytest.raises(DataError, match="member 1"):
        dmlray.select_ensemble([sweep.predictions(0), sweep.predictions(0, "test")])
    with pytest.raises(UsageError, match="at least one finished trial"):
        dmlray.select_ensemble([])


def test_an_ensemble_predicts_records_and_arrays_alike(results: Path) -> None:
    ensemble = dmlray.load_ensemble("first/top5", results)
    (batch,) = dmlray.read_tfrecords(results / "tfrecords")
    assert len(batch.ids) == 9
    assert ensemble.names is None
    np.testing.assert_array_equal(ensemble.predict(batch), ensemble.predict(dict(batch.features)))
    narrow = {name: values[:, 1:] for name, values in batch.features.items()}
    with pytest.raises(DataError, match=r"must hold \d+ numbers"):
        ensemble.predict(narrow)


def test_no_other_name_is_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'load_nothing'"):
        dmlray.load_nothing  # noqa: B018
