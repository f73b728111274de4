"""Running the command line: in this process for errors (one Ray for all), as a process for the main job."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

DMLRAY = Path(sys.executable).parent / "dmlray"


@dataclass(frozen=True)
class Answer:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]


@pytest.fixture
def dmlray(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run one `dmlray` command in this process, in an empty folder."""
    from dmlray.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DMLRAY_RESULTS", raising=False)

    def run(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["dmlray", *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    return run


def start(folder: Path, *words: object) -> "subprocess.Popen[str]":
    """Start the installed `dmlray` in ``folder``, as a user would."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "DMLRAY_", "MLFLOW_"))
    }
    return subprocess.Popen(
        [str(DMLRAY), *map(str, words)],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[str]", timeout_s: float = 240) -> Answer:
    """Wait for a started command."""
    out, err = process.communicate(timeout=timeout_s)
    return Answer(process.returncode, out, err)
