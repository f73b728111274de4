"""What MLflow costs a sweep when it is well and when it is not: `python -m tests.benchmarks.bench_tracking`.

One sweep of 12 trials of 12 epochs, each of three steps that are stretched by a pause, is run by the real driver in a
process of its own, with its trials over a pipe in place of Ray. The first contender tells nobody; the others tell an
SQLite store, an address where nobody listens, a server that takes connections and never answers, and one that answers
500. Of each round only ratios to the first contender are printed: wall-clock from the command to its end, the wait for
MLflow there included, and the CPU time of the driver alone.

    python -m tests.benchmarks.bench_tracking [dead] [mute] ... [--rounds 1] [--pause 0.13]
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.race import run_child
from tests.faults.test_tracking_faults import SERVERS

TRIALS, EPOCHS = 12, 12
SPACE = f"""\
trials: {TRIALS}
stopping: {{rule: none}}
space:
  epochs: {EPOCHS}
  batch_size: 16
  head: {{kind: logistic, dropout: {{float: [0.0, 0.4]}}}}
  optimizer: {{kind: adam, learning_rate: {{float: [1e-3, 3e-1], log: true}}}}
"""
NOBODY, STORE = "nobody", "SQLite store"
CONTENDERS = (STORE, *SERVERS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contenders", nargs="*", metavar="contender", help=f"of {', '.join(CONTENDERS)}; default: all")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.13, help="seconds that each step waits; 3 steps an epoch")
    parser.add_argument("--drive", nargs=2, metavar=("FOLDER", "ADDRESS"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.drive:
        drive(Path(chosen.drive[0]), chosen.drive[1], chosen.pause)
        return
    print("| MLflow is | wall s | relative | driver's CPU s | relative |\n| --- | ---: | ---: | ---: | ---: |")
    for _ in range(chosen.rounds):
        alone: Mapping[str, float] = {}
        for name in (NOBODY, *(chosen.contenders or CONTENDERS)):
            found = run(name, chosen.pause)
            alone = alone or found
            cells = (f"{found[key]:.2f} | {found[key] / alone[key]:.3f}" for key in ("wall_s", "cpu_s"))
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def run(name: str, pause_s: float) -> dict[str, float]:
    """One sweep, from nothing."""
    with tempfile.TemporaryDirectory() as folder, told(name, Path(folder)) as address:
        command = [sys.executable, "-m", "tests.benchmarks.bench_tracking", "--pause", str(pause_s)]
        return run_child([*command, "--drive", folder, address])


@contextmanager
def told(name: str, folder: Path) -> Iterator[str]:
    """The tracking URI of a contender; empty for nobody's."""
    server: AbstractContextManager[int | None] = SERVERS[name]() if name in SERVERS else nullcontext()
    with server as port:
        store = f"sqlite:///{folder}/mlflow.db" if name == STORE else ""
        yield store if port is None else f"http://127.0.0.1:{port}"


@dataclass(frozen=True)
class Paced:
    """A runner whose steps take longer."""

    runner: Callable[..., Any]
    pause_s: float

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from dmlray import failpoints

        failpoints.observe(lambda place, **_: time.sleep(self.pause_s if place == "step" else 0))
        return self.runner(*arguments, **options)


class Silent:
    """In the place of `tracking.BackgroundTracker`: tells nobody."""

    is_failing = False

    def __init__(self, *_: str) -> None:
        """Nothing to connect to."""

    def submit(self, records: Sequence[object]) -> None:
        """Nothing."""

    def abandon(self) -> None:
        """Nothing."""

    def close(self, timeout_s: float) -> None:
        """Nothing is left."""


def drive(folder: Path, address: str, pause_s: float) -> None:
    """Run the sweep in this process, which has imported everything before, and print what it took."""
    import mlflow.tracking  # noqa: F401
    import optuna.samplers  # noqa: F401

    from dmlray.cli import main as dmlray
    from dmlray.sweep import mirror, session
    from tests.data.videos import VIDEO
    from tests.faults.driver import on_hands
    from tests.train.trials import write_data

    on_hands()
    write_data(folder / "data", VIDEO)
    (folder / "space.yaml").write_text(SPACE)
    made: Any = session._runner
    session._runner = lambda *inputs: Paced(made(*inputs), pause_s)
    tracking = ["--tracking-uri", address] if address else []
    if not address:
        mirror.BackgroundTracker = Silent  # type: ignore[assignment, misc]
    os.chdir(folder)
    sys.argv = ["dmlray", "search", "--data", "data", "--space", "space.yaml", "--name", "told", "--concurrency", "1"]
    sys.argv += [*tracking, "--quiet"]
    wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    code: object = 0
    try:
        dmlray()
    except SystemExit as end:
        code = end.code
    after, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - wall
    if code:
        raise SystemExit(f"the sweep ended with {code}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"wall_s": wall, "cpu_s": cpu}), flush=True)
    os._exit(0)  # the workers end with this process


if __name__ == "__main__":
    main()
