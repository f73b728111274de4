"""When a trial is overdue, and what ends it."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dmlray.errors import TrainingError
from dmlray.train.limits import ERROR_FILE, STACKS_FILE, Overdue, Watch, Watched, cause_of_death, guarded
from dmlray.train.task import Limits
from tests.train.conftest import MemoryBatches


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def watch(trial_s: float | None = None, stall_s: float | None = None) -> tuple[Watch, Clock]:
    clock = Clock()
    return Watch(Limits(trial_s, stall_s, grace_s=10), clock), clock


def test_without_limits_nothing_is_overdue() -> None:
    unwatched, clock = watch()
    clock.seconds = 1e9
    unwatched.beat()
    assert unwatched.overdue() is None


def test_a_slow_trial_ends_itself() -> None:
    slow, clock = watch(trial_s=60)
    clock.seconds += 60
    slow.beat()
    clock.seconds += 0.5
    with pytest.raises(TrainingError, match="not done after 60 s; --trial-seconds allows 60") as caught:
        slow.beat()
    assert caught.value.reason == "timeout"


def test_whoever_does_not_look_at_the_watch_is_given_the_grace_and_no_more() -> None:
    silent, clock = watch(trial_s=60)
    clock.seconds += 70
    assert silent.overdue() is None
    clock.seconds += 1
    assert silent.overdue() == Overdue("timeout", "not done after 71 s; --trial-seconds allows 60")


def test_standing_still_is_a_hang() -> None:
    hanging, clock = watch(trial_s=1000, stall_s=30)
    clock.seconds += 35
    hanging.beat()
    clock.seconds += 40
    assert hanging.overdue() is None
    clock.seconds += 1
    overdue = hanging.overdue()
    assert overdue is not None
    assert overdue.reason == "hang"
    assert overdue.message.startswith("no batch was done for 41 s; --stall-seconds allows 30")


def test_waiting_for_others_is_no_hang() -> None:
    waiting, clock = watch(stall_s=30)
    with waiting.paused():
        clock.seconds += 1000
        assert waiting.overdue() is None
    assert waiting.overdue() is None
    clock.seconds += 41
    assert waiting.overdue() is not None


def test_every_batch_is_a_sign_of_life() -> None:
    beating, clock = watch(stall_s=30)
    for _ in Watched(MemoryBatches(), beating).epoch(0):
        clock.seconds += 20
        assert beating.overdue() is None


def test_what_ends_in_time_leaves_nothing(tmp_path: Path) -> None:
    with guarded(Watch(Limits(60, 60)), tmp_path / "new", lambda overdue: pytest.fail(overdue.message)):
        assert (tmp_path / "new" / STACKS_FILE).exists()
    assert list((tmp_path / "new").iterdir()) == []
    assert cause_of_death(Limits(60, 60), tmp_path / "new") is None


HANGS = {
    "sleeps": "time.sleep(60)",
    "ignores SIGTERM": "signal.signal(signal.SIGTERM, signal.SIG_IGN); [time.sleep(1) for _ in range(60)]",
    "computes": "while True: pass",
    "keeps Python's lock": "ctypes.PyDLL(None).sleep(60)",
}


@pytest.mark.thorough
@pytest.mark.parametrize("hang", HANGS)
def test_a_process_that_hangs_is_ended(tmp_path: Path, hang: str) -> None:
    limits = "Limits(stall_s=0.5, grace_s=1.0)"
    code = f"""
        import ctypes, signal, time
        from pathlib import Path
        from dmlray.train.limits import Watch, guarded
        from dmlray.train.task import Limits

        folder = Path({str(tmp_path)!r})
        with guarded(Watch({limits}), folder, lambda overdue: (folder / "told").write_text(overdue.reason)):
            time.sleep(0.6)
            print("begun", flush=True)
            {HANGS[hang]}
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, timeout=30, text=True)
    assert (done.stdout, done.returncode) == ("begun\n", 1)
    if hang == "keeps Python's lock":
        overdue = cause_of_death(Limits(stall_s=0.5, grace_s=1.0), tmp_path)
        assert overdue is not None
        assert overdue.reason == "hang"
    else:
        assert (tmp_path / "told").read_text() == "hang"
    assert "<string>" in (tmp_path / ERROR_FILE).read_text(), "the stacks tell where"
    assert not (tmp_path / STACKS_FILE).exists()
