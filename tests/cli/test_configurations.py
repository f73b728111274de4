"""Named configurations from the space file to the table: trained first, under their names, beside published figures."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from dmlray.cli.configurations import print_configurations
from dmlray.data.predictions import load_predictions, save_predictions
from dmlray.ensemble.combine import combine
from dmlray.ensemble.parts import gap_on
from dmlray.ensemble.weights import member_weights
from dmlray.sweep.records import TrialRecord
from dmlray.sweep.runs import trial_run
from dmlray.sweep.settings import SweepFolder, load_settings
from dmlray.sweep.study import Study
from tests.ensemble.cases import stores
from tests.report.sweeps import SHORT, make_sweep, trained

pytestmark = pytest.mark.thorough

ROWS = """
configurations:
  LR: {optimizer: {learning_rate: 0.01}}
  GRU: {encoder: {kind: gru, hidden: 7}}
ensembles: {LR + GRU: [LR, GRU]}
published: {LR: 0.70727, LR + GRU: 0.9}
"""


def read(folder: SweepFolder) -> list[TrialRecord]:
    with closing(Study.open(folder.study, read_only=True)) as study:
        return study.trials()


def keep_predictions(folder: SweepFolder) -> None:
    for file, seed in (("predictions.arrow", 1), ("test_predictions.arrow", 2)):
        for number, store in enumerate(stores(seed, videos=50, classes=30, members=2, keep=25, grid=2**18)):
            save_predictions(folder.trial(number) / file, store)


def test_come_first_and_keep_their_names(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path, trained, trials=3, space=SHORT + ROWS)
    lr, gru, sampled = read(folder)
    assert [trial.name for trial in (lr, gru, sampled)] == ["LR", "GRU", None]
    assert gru.config["encoder"]["hidden"] == 7
    assert gru.params == {}, "7 is not in the range: the sampler cannot learn from it"
    assert sampled.params
    assert trial_run(load_settings(folder), gru).name == "#1 GRU"


def test_stand_beside_published_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_sweep(tmp_path, trained, trials=2, space=SHORT + ROWS)
    keep_predictions(folder)
    print_configurations(folder, read(folder))
    lines = {line.strip().split("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    lr = read(folder)[0]
    assert f"{lr.best_so_far:.4f}" in lines["LR"]
    assert f"{lr.metrics['test_gap']:.4f}" in lines["LR"]
    assert lines["LR"].rstrip().endswith("0.7073")
    tested = [load_predictions(folder.trial(number) / "test_predictions.arrow") for number in (0, 1)]
    valid = [load_predictions(folder.trial(number) / "predictions.arrow") for number in (0, 1)]
    every = np.arange(50)
    weights = member_weights("gap", [1, 1], [gap_on(store, every) for store in valid])
    assert lines["LR + GRU"].split()[-2:] == [f"{gap_on(combine(tested, weights), every):.4f}", "0.9000"]


def test_say_what_is_not_there_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_sweep(tmp_path, trained, trials=1, wanted=2, space=SHORT + ROWS)
    print_configurations(folder, read(folder))
    out = capsys.readouterr().out
    assert "not yet asked" in out
    assert "1 of 2 members" in out
    print_configurations(make_sweep(tmp_path / "plain", trained, trials=1), [])
    assert capsys.readouterr().out == ""
