"""What a large study costs its driver: opening it, asking for the next trial, taking in a report.

    python -m tests.benchmarks.bench_study [--trials 5000] [--epochs 10] [--reports 200]

The study is filled in one transaction with trials of `search_spaces/frame_level.yaml`; Optuna reads the same
file for comparison. Wall-clock seconds on whatever disk TMPDIR is.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import optuna

from dmlray.sweep import rows
from dmlray.sweep.records import ASKED, TrialState, epoch_attribute
from dmlray.sweep.rows import TRIALS
from dmlray.sweep.sampler import propose
from dmlray.sweep.space import Space, load_space
from dmlray.sweep.study import Study

SPACE = Path(__file__).parents[2] / "search_spaces" / "frame_level.yaml"
METRICS = (
    "val_gap",
    "val_map",
    "val_hit1",
    "val_perr",
    "val_loss",
    "train_loss",
    "epoch_s",
    "videos_per_s",
    "wait_share",
)


def fill(study: Study, space: Space, trials: int, epochs: int) -> None:
    """Random trials, complete, with a curve of ``epochs``; of what is written only the transactions differ."""
    store = study._store
    with store._writing() as connection:
        for number in range(trials):
            proposal = propose(space, "random", 0, number, [])
            gap = (number * 7919 % trials) / trials
            row = {"trial_id": number + 1, "number": number, "study_id": store._id, "datetime_start": rows.utc_now()}
            done = {"datetime_complete": rows.utc_now(), "state": rows.STORED[TrialState.complete]}
            connection.execute(TRIALS.insert().values(row | done))
            rows.put_params(connection, number + 1, proposal.params, proposal.distributions)
            curve = [dict.fromkeys(METRICS, gap * epoch / epochs) for epoch in range(1, epochs + 1)]
            attributes: dict[str, object] = {
                ASKED: {"config": proposal.config, "params": proposal.params},
                "attempts": 1,
                "outcome": {"value": gap, "best_epoch": epochs, "metrics": curve[-1]},
            }
            for epoch, metrics in enumerate(curve, 1):
                attributes |= [epoch_attribute(epoch, metrics, f"epoch-{epoch:04d}.safetensors", "ab" * 32)]
                rows.put_intermediate(connection, number + 1, epoch, metrics["val_gap"])
            rows.put_attributes(connection, number + 1, number, attributes)
            rows.put_value(connection, number + 1, gap)


@contextmanager
def timed(what: str, count: int = 1, unit: str = "s") -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds = (time.perf_counter() - started) / count
    print(f"{what:<58} {seconds * (1000 if unit == 'ms' else 1):8.3f} {unit}", flush=True)


def fsync_ms(folder: Path, count: int = 200) -> float:
    """What the disk itself asks for one durable write."""
    with (folder / "probe").open("wb", buffering=0) as file:
        started = time.perf_counter()
        for _ in range(count):
            file.write(bytes(4096))
            os.fsync(file.fileno())
    return (time.perf_counter() - started) / count * 1000


def measure(folder: Path, trials: int, epochs: int, reports: int) -> None:
    """Print the figures of one study."""
    space, path = load_space(SPACE), folder / "study.db"
    with closing(Study.create(path, "big", seed=0)) as study:
        fill(study, space, trials, epochs)
    print(f"{trials} trials of {epochs} epochs, {path.stat().st_size / 1e6:.0f} MB; fsync {fsync_ms(folder):.2f} ms")
    with timed("open, all records read"):
        study = Study.open(path)
    with timed("open again, read only (dmlray status)"):
        Study.open(path, read_only=True).close()
    with timed("Optuna's storage reads the same"):
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        assert len(storage.get_all_trials(1)) == trials
        storage.engine.dispose()
    study.close()
    with ExitStack() as stack:
        with timed("open as its driver"):
            study = stack.enter_context(Study.driven(path, lambda error: None, print))
        with timed("ask, the first"):
            study.ask(space)
        with timed("ask, after that", 5):
            asked = [study.ask(space) for _ in range(5)]
        number = study.start(asked[0].number).number
        with timed("report (driven, one transaction)", reports, "ms"):
            for epoch in range(1, reports + 1):
                metrics = dict.fromkeys(METRICS, epoch / reports)
                study.report(number, epoch, metrics, f"epoch-{epoch:04d}.safetensors", "ab" * 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--reports", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), arguments.trials, arguments.epochs, arguments.reports)


if __name__ == "__main__":
    main()
