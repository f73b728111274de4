"""What the README shows is true: commands parse, YAML loads, Python runs, links and targets exist."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from dmlray.cli.app import app
from dmlray.data.schema import PRESETS, load_schema
from dmlray.data.synthetic import SynthSpec, synthesize
from dmlray.sweep.space import load_space

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = [README, (ROOT / "results" / "README.md").read_text()]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    text = "\n".join(blocks("sh")).replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.strip().startswith("dmlray ")]


@pytest.mark.parametrize("line", commands())
def test_a_command_is_understood(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    group = get_command(app)
    command = group.commands[words[0]]  # type: ignore[attr-defined]
    command.make_context(words[0], words[1:])  # raises on an unknown option or a missing argument


def test_every_command_is_shown_with_an_example() -> None:
    group = get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert f"dmlray {name}" in README, f"the README does not show {name}"
        assert "Example: dmlray" in (command.help or ""), f"{name} --help has no example"


def test_the_schema_loads(tmp_path: Path) -> None:
    (text,) = [block for block in blocks("yaml") if block.startswith("level:")]
    (tmp_path / "schema.yaml").write_text(text)
    assert load_schema(tmp_path / "schema.yaml") == PRESETS["yt8m-frame"]


def test_the_space_loads(tmp_path: Path) -> None:
    (text,) = [block for block in blocks("yaml") if "space:" in block]
    (tmp_path / "space.yaml").write_text(text)
    assert load_space(tmp_path / "space.yaml").trials == 8


def test_the_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    synthesize(tmp_path / "tf", SynthSpec(train=3, validation=1, test=0, shards=1, max_frames=5))
    (tmp_path / "tf/train/train0000.tfrecord").rename(tmp_path / "shard.tfrecord")
    monkeypatch.chdir(tmp_path)
    for text in blocks("python"):
        if "from dmlray import" in text or text.startswith("# dmlray/"):
            continue  # tests/registry/test_api.py, tests/model/test_own_part.py
        exec(compile(text, "README.md", "exec"), {})
    assert "0 0 ['id', 'labels'] ['audio', 'rgb']" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", sorted({word for text in DOCUMENTS for word in re.findall(r"(?m)(?:^|`)make ([a-z-]+)", text)})
)
def test_a_make_target_exists(name: str) -> None:
    assert re.search(rf"^{name}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


def test_pictures_are_there_and_small() -> None:
    names = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert names
    for name in names:
        assert (ROOT / name).read_bytes().startswith(b"\x89PNG")
        assert (ROOT / name).stat().st_size < 100_000


def test_files_that_are_named_exist() -> None:
    for text in DOCUMENTS:
        for name in re.findall(r"`((?:tests|search_spaces|cluster)/[\w./-]+\.(?:py|yaml|txt))`", text):
            assert (ROOT / name).is_file(), name
