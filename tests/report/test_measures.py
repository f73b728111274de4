"""What stored predictions say about an ensemble: against GAP and AP calculated the plain way."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from dmlray.data.predictions import load_predictions
from dmlray.ensemble.parts import gap_on, split_videos
from dmlray.ensemble.report import Figures
from dmlray.errors import DataError
from dmlray.report.blocks import Figure
from dmlray.report.classes import class_blocks
from dmlray.report.content import Content, read_content
from dmlray.report.ensembles import ensembles_section
from dmlray.report.measures import CLASS_VIDEOS, class_gains, evenly, growth, measure_ensemble, take
from dmlray.report.page import build_report
from dmlray.sweep.settings import SweepFolder
from tests.ensemble.cases import stores
from tests.report.sweeps import add_ensemble, make_sweep, trained

pytestmark = pytest.mark.thorough  # a sweep with an ensemble


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    folder = make_sweep(tmp_path_factory.mktemp("results"), trained, trials=8)
    add_ensemble(folder, "top4")
    return folder


@pytest.fixture(scope="module")
def content(folder: SweepFolder) -> Content:
    return read_content(folder)


def test_growth_is_the_gap_of_the_picks_so_far() -> None:
    one, other = stores(3, videos=40, classes=20, members=2, keep=15, grid=2**18)
    steps = growth({5: one, 7: other}, [5, 7, 5])
    assert len(steps) == 3
    assert steps[0].gap == gap_on(one, np.arange(40))
    assert all(step.low <= step.gap <= step.high for step in steps)
    assert growth({5: one}, [5, 5])[0] == growth({5: one}, [5, 5])[1]


def test_a_class_is_ranked_among_its_own_pairs() -> None:
    one, other = stores(4, videos=60, classes=12, members=2, keep=12, grid=2**18)
    found = {each.label: each for each in class_gains(one, other, ["", "two"])}
    for label, each in found.items():
        for store, precision in ((one, each.single), (other, each.ensemble)):
            true = np.array([label in store.truth.list_of(video) for video in range(60)])
            scores = np.where(store.labels == label, store.scores, 0).max(axis=1)
            ranked = true[np.argsort(-scores, kind="stable")]
            places = 1 + np.flatnonzero(ranked)
            assert precision == pytest.approx(float((np.arange(1, len(places) + 1) / places).mean()))
        assert each.videos == true.sum()
        assert each.name == ("two" if label == 1 else f"class {label}")


def test_an_ensemble_gains_nothing_over_itself() -> None:
    (store,) = stores(5, videos=30, classes=10, members=1, keep=10, grid=2**18)
    assert {each.gain for each in class_gains(store, store)} == {0.0}


def test_only_videos_that_the_selection_never_saw_count(folder: SweepFolder, content: Content) -> None:
    report, measures = content.ensembles["top4"], content.measures["top4"]
    predictions = load_predictions(folder.ensemble("top4") / "predictions.arrow")
    _, rows = split_videos(predictions.ids, report.report_split)
    assert measures.growth_videos == measures.class_videos == len(rows) == report.videos["report"]
    assert len(measures.growth) == sum(pick.kept for pick in report.curve)
    kept = take(predictions, rows)
    assert sum(each.videos for each in measures.classes) == len(kept.truth.values)
    assert measures.growth[0].gap == pytest.approx(_own(report.figures["best_single"]), abs=1e-6)


def _own(figures: Figures) -> float:
    assert figures.report is not None
    return figures.report


def test_many_videos_are_thinned_out_evenly() -> None:
    rows = np.arange(10, 10 + 3 * CLASS_VIDEOS)
    thinned = evenly(rows, CLASS_VIDEOS)
    assert len(thinned) == CLASS_VIDEOS
    assert set(np.diff(thinned)) == {3}
    assert evenly(rows[:5], CLASS_VIDEOS) is not rows
    assert evenly(rows[:5], 5).tolist() == rows[:5].tolist()


def test_the_page_tells_of_classes_by_name(folder: SweepFolder, tmp_path: Path) -> None:
    vocabulary = tmp_path / "vocabulary.csv"
    vocabulary.write_text("Index,Name\n" + "".join(f"{label},Word{label}\n" for label in range(30)))
    named = read_content(folder, vocabulary)
    text = build_report(named, datetime(2026, 11, 1, tzinfo=UTC), "md")
    assert "Most is gained by Word" in text
    assert "95 % interval" in text
    vocabulary.write_text("Index,Name\n30,Nothing\n")
    with pytest.raises(DataError, match="Index must be each class from 0 to 29"):
        read_content(folder, vocabulary)


def test_a_package_names_them_too(folder: SweepFolder, content: Content) -> None:
    path = folder.ensemble("top4") / "package" / "vocabulary.json"
    path.parent.mkdir()
    path.write_text(json.dumps([f"Name{label}" for label in range(30)]))
    measures = measure_ensemble(folder, "top4", content.ensembles["top4"])
    assert measures is not None
    assert all(each.name == f"Name{each.label}" for each in measures.classes)


def test_without_its_stores_an_ensemble_is_told_of_all_the_same(folder: SweepFolder, content: Content) -> None:
    path = folder.trial(content.ensembles["top4"].best_single) / "predictions.arrow"
    hidden = path.rename(path.with_suffix(".hidden"))
    found = read_content(folder)
    hidden.rename(path)
    assert any("could not be measured by class and by pick" in problem for problem in found.problems)
    titles = [block.title for block in ensembles_section(found).blocks if isinstance(block, Figure)]
    assert titles == ["Growth", "Weights", "Disagreement"]


def test_members_from_elsewhere_have_no_stores(folder: SweepFolder, content: Content) -> None:
    report = content.ensembles["top4"].model_copy(update={"best_single": -1})
    assert measure_ensemble(folder, "top4", report) is None


def test_classes_with_too_few_videos_are_not_compared(content: Content) -> None:
    measures = content.measures["top4"]
    figure, table = class_blocks(measures, best_single=3)
    assert isinstance(figure, Figure)
    assert not isinstance(table, Figure)
    assert len(table.rows) == sum(each.videos >= 5 for each in measures.classes)  # type: ignore[union-attr]
