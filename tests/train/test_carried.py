"""A runner on its way through processes that do not need it."""

import pickle
import subprocess
import sys

from dmlray.train.carried import Carried

_THROUGH = """
import pickle, sys
carried = pickle.loads(bytes.fromhex(sys.stdin.read()))
assert "torch" not in sys.modules, "who hands it on needs no torch"
print(pickle.dumps(carried).hex())
"""


def runner() -> Carried:
    from dmlray.train.trial import run_trial

    return Carried(run_trial)  # type: ignore[arg-type]


def test_who_hands_a_runner_on_imports_nothing_of_it() -> None:
    given = pickle.dumps(runner()).hex()
    done = subprocess.run([sys.executable, "-c", _THROUGH], input=given, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == given


def test_it_runs_what_was_given() -> None:

    def run(*arguments: object, **options: object) -> object:
        return [*arguments, options]

    assert pickle.loads(pickle.dumps(Carried(run)))(1, peers=2) == [1, {"peers": 2}]  # type: ignore[arg-type]
