"""`dmlray` with a plan of faults: the real command line, whose runner and failpoints are watched.

``python -m tests.faults.driver PLAN search ...`` runs on Ray. `run_here` is for a forked process and runs on `Hands`.
"""

import pickle
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from dmlray import cluster, failpoints
from dmlray.sweep import session, tuner
from tests.faults.hands import Hands
from tests.faults.plan import ObservedRunner, Plan


def main(plan: Plan, words: list[str]) -> None:
    """The command ``dmlray words`` under the plan."""
    from dmlray.cli import main as dmlray

    made = session._runner
    session._runner = lambda *inputs: ObservedRunner(plan, made(*inputs))
    failpoints.observe(plan.in_driver)
    sys.argv = ["dmlray", *words]
    dmlray()


def on_hands() -> None:
    """Take `Hands` in Ray's place, from now on in this process."""
    tuner.run_trials = Hands().run_trials
    cluster.ray_cluster = lambda *_, **__: nullcontext()
    session.nodes_to_use = lambda *_: [{"CPU": 1.0}]
    session.check_nodes = lambda *_: None


if __name__ == "__main__":
    loaded: Any = pickle.loads(Path(sys.argv[1]).read_bytes())
    main(loaded, sys.argv[2:])
