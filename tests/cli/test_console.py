"""What is said beside the answer: bars on terminals, plain lines elsewhere, nothing with --quiet, no colour unasked."""

import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.main import get_command
from typer.testing import CliRunner

from dmlray.cli import console as module
from dmlray.cli.app import app
from dmlray.cli.console import QUIET, VERBOSE, Bar, is_quiet, is_verbose, note, to_stderr
from dmlray.cli.progress import SweepProgress
from dmlray.cli.verbosity import App
from dmlray.sweep.director import Change
from dmlray.sweep.summary import summarize
from tests.cli.test_progress import TRIAL
from tests.report.sweeps import make_sweep, trained


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands set these for their process; what a test sets is taken back."""
    for name in (QUIET, VERBOSE):
        monkeypatch.setenv(name, "")


def test_both_options_go_with_every_command() -> None:
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"--quiet", "-q", "--verbose", "-v"} <= options, name


def test_a_command_need_not_know_of_them() -> None:
    small = App()

    @small.command()
    def one(name: str, times: int = 2) -> None:
        """Say it."""
        print(name * times, is_quiet(), is_verbose())

    @small.command()
    def other() -> None:
        """Say nothing."""

    assert CliRunner().invoke(small, ["one", "ab", "--quiet", "--times", "3"]).stdout == "ababab True False\n"
    assert CliRunner().invoke(small, ["one", "ab", "-v", "-q"]).stdout == "abab True True\n"
    assert "Say it." in CliRunner().invoke(small, ["one", "--help"]).stdout


def test_quiet_leaves_hints_and_progress_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    note("one", "two")
    note()
    assert capsys.readouterr().err == "one\ntwo\n"
    monkeypatch.setenv(QUIET, "1")
    note("three")
    with Bar("working", "files") as bar:
        bar.update(1, 1)
    with SweepProgress(to_stderr()) as progress:
        progress.show(Change("epoch", TRIAL), summarize([TRIAL], wanted=2))
    assert capsys.readouterr() == ("", "")


def test_a_quiet_command_answers_all_the_same(tmp_path: Path) -> None:
    out = tmp_path / "tf"
    sizes = ["--train", "3", "--validation", "2", "--test", "1", "--shards", "1", "--max-frames", "3"]
    done = CliRunner().invoke(app, ["synth", str(out), *sizes, "--quiet"])
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    assert out.is_dir()
    failed = CliRunner().invoke(app, ["top", "nowhere", "--results", str(tmp_path), "--quiet"])
    assert failed.exception is not None


def test_elsewhere_than_on_a_terminal_progress_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 11.0, 12.0, 40.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    file = io.StringIO()
    with Bar("converting", "shards", Console(file=file, width=30)) as bar:
        for done in (1, 2, 3, 4):
            bar.update(done, 4, f"{done} [red]")
    assert (
        file.getvalue() == "converting: 2 of 4 shards, 2 [red], about 11 s left\nconverting: 4 of 4 shards, 4 [red]\n"
    )


def test_bytes_are_told_as_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 30.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    file = io.StringIO()
    with Bar("predicting", "bytes", Console(file=file)) as bar:
        bar.update(1 << 20, 4 << 20, "9 videos")
    assert file.getvalue() == "predicting: 25%, 9 videos, about 1 min 30 s left\n"


def test_on_a_terminal_progress_is_a_bar() -> None:
    file = io.StringIO()
    with Bar("predicting", "bytes", Console(file=file, force_terminal=True, width=100)) as bar:
        bar.update(1 << 20, 4 << 20, "9 videos")
    assert "9 videos" in file.getvalue()
    assert "━" in file.getvalue()


def test_verbose_tells_of_every_epoch_on_a_terminal() -> None:
    file = io.StringIO()
    with SweepProgress(Console(file=file, force_terminal=True, width=200), every_epoch=True) as progress:
        progress.show(Change("epoch", TRIAL), summarize([TRIAL], wanted=8))
    assert "trial   3 epoch" in file.getvalue()


@pytest.mark.thorough
def test_tables_fit_into_eighty_columns_and_have_no_colour_unasked(tmp_path: Path) -> None:
    make_sweep(tmp_path, trained, 6)
    for command in (["top", "first"], ["status", "first"]):
        shown = CliRunner().invoke(app, [*command, "--results", str(tmp_path)], env={"COLUMNS": "80"}).stdout
        assert "\x1b" not in shown
        if command[0] == "top":
            assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.thorough
def test_no_color_is_honoured_on_a_terminal() -> None:
    code = "from dmlray.cli.console import to_stderr; to_stderr().print('[red]x[/red]')"
    shown = {}
    for name in ("NO_COLOR", "NOTHING"):
        environment = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color", name: "1"}
        environment.pop("DMLRAY_QUIET", None)
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        shown[name] = done.stderr
    assert "\x1b[31m" in shown["NOTHING"]
    assert "\x1b[31m" not in shown["NO_COLOR"]


@pytest.mark.thorough
def test_the_shell_completes_commands_options_and_sweeps(tmp_path: Path) -> None:
    make_sweep(tmp_path, trained, 1)
    (tmp_path / "no sweep").mkdir()

    def complete(words: str) -> list[str]:
        line = f"dmlray {words}"
        environment = {**os.environ, "_DMLRAY_COMPLETE": "complete_bash", "COMP_WORDS": line}
        environment |= {"COMP_CWORD": str(len(line.split(" ")) - 1), "DMLRAY_RESULTS": str(tmp_path)}
        command = [str(Path(sys.executable).parent / "dmlray")]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.split()

    assert complete("ensem") == ["ensemble"]
    assert complete("search --gri") == ["--grid"]
    assert complete("status ") == ["first"]
    assert complete("top x") == []
    assert complete("search --resume f") == ["first"]
    (tmp_path / "first/ensemble/top5").mkdir(parents=True)
    (tmp_path / "first/ensemble/top5/members.json").touch()
    assert complete("predict --ensemble fi") == ["first"]
    assert complete("publish first/") == ["first/top5"]


def test_help_fits_into_eighty_columns_and_leaves_examples_whole() -> None:
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        lines = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "80"}).stdout.splitlines()
        assert max(map(len, lines)) <= 80, name
        shown = {line.strip() for line in lines}
        written = [line.strip() for line in (command.help or "").splitlines()]
        start = next(place for place, line in enumerate(written) if line.startswith("Example: "))
        example = written[start : start + 2] if written[start].endswith("\\") else written[start : start + 1]
        assert set(example) <= shown, f"{name} --help breaks its example"


def test_an_example_is_understood_for_every_command() -> None:
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        lines = [line.strip() for line in (command.help or "").replace("\\\n", " ").splitlines()]
        examples = [line.removeprefix("Example: ") for line in lines if line.startswith("Example: ")]
        assert len(examples) == 1, name
        words = shlex.split(examples[0])
        assert words[:2] == ["dmlray", name]
        command.make_context(name, words[2:])  # raises where an option is unknown or an argument missing
