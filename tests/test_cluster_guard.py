"""What a driver's Ray is made of goes with the driver, and nothing else does."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dmlray.cluster_guard import MARK, guarded, marked

DRIVER = """
import os, subprocess, sys, time
from dmlray.cluster_guard import MARK, guarded
with guarded() as mark:
    subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=os.environ | {MARK: mark}, start_new_session=True)
    print(mark, flush=True)
    if sys.argv[2] == "stay":
        time.sleep(60)
"""
HELPER = "import os, time; os.fork(); time.sleep(60)"  # a process of Ray's, and a child that it forked
pytestmark = [pytest.mark.thorough, pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no /proc")]


def begin(how: str) -> tuple["subprocess.Popen[str]", str]:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, HELPER, how], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    mark = driver.stdout.readline().strip()
    driver.stdout.close()
    return driver, mark


def wait_for(mark: str, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(marked(mark)) != count:
        assert time.monotonic() < deadline, marked(mark)
        time.sleep(0.05)


@pytest.fixture
def bystander() -> Iterator["subprocess.Popen[bytes]"]:
    """Another driver's."""
    process = subprocess.Popen(["sleep", "60"], env=os.environ | {MARK: "another"})
    yield process
    process.kill()
    process.wait()


def test_a_driver_that_is_killed(bystander: "subprocess.Popen[bytes]") -> None:
    driver, mark = begin("stay")
    wait_for(mark, 2)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    wait_for(mark, 0)
    assert bystander.poll() is None


def test_a_driver_that_ends(bystander: "subprocess.Popen[bytes]") -> None:
    driver, mark = begin("go")
    assert driver.wait(60) == 0
    assert marked(mark) == []
    assert bystander.poll() is None


def test_where_all_has_ended_it_waits_for_nothing() -> None:
    started = time.monotonic()
    with guarded() as mark:
        assert marked(mark) == []
    assert time.monotonic() - started < 2.5
