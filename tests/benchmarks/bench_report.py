"""How long the report of a large sweep takes and how large it is: under 15 s and 5 MB for 200 trials.

    python -m tests.benchmarks.bench_report [--trials 200] [--videos 20000]

The sweep is made by hand: 13 searched parameters, curves of 4 epochs, an ensemble of at most 5 of 10 trials with
predictions of ``videos`` validation videos and 500 classes. Reading, drawing and writing count; imports are told apart.
"""

import argparse
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import dmlray.report.content
import dmlray.report.measures  # noqa: F401 (so that its imports are not timed)
from dmlray.data.predictions import save_predictions
from dmlray.ensemble.candidates import load_candidates
from dmlray.ensemble.report import save_ensemble
from dmlray.ensemble.search import EnsembleSettings, search_ensemble
from dmlray.report.content import read_content
from dmlray.report.page import build_report
from dmlray.sweep.settings import SweepFolder
from dmlray.sweep.study import Study
from tests.ensemble.cases import stores
from tests.report.sweeps import make_sweep, trained
from tests.sweep.spaces import SPACE

MEMBERS = 10


def add_ensemble(folder: SweepFolder, videos: int) -> None:
    """Predictions of the first complete trials, and the ensemble chosen from them."""
    with closing(Study.open(folder.study, read_only=True)) as study:
        complete = [trial for trial in study.trials() if trial.state.name == "complete"][:MEMBERS]
    made = stores(7, videos=videos, classes=500, members=len(complete), keep=50, grid=2**18)
    for trial, store in zip(complete, made, strict=True):
        save_predictions(folder.trial(trial.number) / "predictions.arrow", store)
    candidates = load_candidates((t.number, f"trial {t.number}", folder.trial(t.number)) for t in complete)
    found = search_ensemble(candidates, EnsembleSettings(top=5, size=25))
    save_ensemble(folder.ensemble("top5"), found.report, found.validation, found.test)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--videos", type=int, default=20_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = make_sweep(Path(temporary), trained, asked.trials, space=SPACE)
        add_ensemble(folder, asked.videos)
        start = time.perf_counter()
        content = read_content(folder)
        read = time.perf_counter()
        html = build_report(content, datetime.now(UTC))
        end = time.perf_counter()
    figures = f"{asked.trials} trials, {asked.videos:,} validation videos, {html.count('<figure')} figures"
    print(f"{figures}: read in {read - start:.1f} s, drawn in {end - read:.1f} s, {len(html) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
