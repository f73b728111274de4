"""What a finished trial costs the ensemble of a running sweep: reading its predictions, choosing, measuring, writing.

    python -m tests.benchmarks.bench_live [--videos 2839 20000 --trials 20]

Under a second was wanted. Members are those of `bench_ensemble`; each update is timed, in the order of the trials.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from dmlray.data.predictions import save_predictions
from dmlray.ensemble.candidates import VALIDATION_FILE
from dmlray.ensemble.live import LiveEnsemble
from dmlray.ensemble.live_steps import LIVE_FILE
from tests.benchmarks.bench_ensemble import stores


def updates(folder: Path, videos: int, trials: int) -> list[float]:
    """Seconds of each update when ``trials`` trials finish one after the other."""
    for trial, store in enumerate(stores(videos, trials)):
        save_predictions(folder / str(trial) / VALIDATION_FILE, store)
    live = LiveEnsemble(folder / LIVE_FILE)
    seconds = []
    for trial in range(trials):
        start = time.perf_counter()
        live.add(trial, lambda number: folder / str(number))
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Print a row for each number of validation videos."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, nargs="+", default=[2_839, 20_000])
    parser.add_argument("--trials", type=int, default=20)
    chosen = parser.parse_args()
    print(f"| validation videos | median of {chosen.trials} updates, s | longest, s |\n| ---: | ---: | ---: |")
    for videos in chosen.videos:
        with tempfile.TemporaryDirectory() as folder:
            seconds = updates(Path(folder), videos, chosen.trials)
        print(f"| {videos:,} | {statistics.median(seconds):.2f} | {max(seconds):.2f} |", flush=True)


if __name__ == "__main__":
    main()
