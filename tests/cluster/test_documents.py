"""The commands that the cluster files and their README show are understood."""

import re
import shlex

import pytest
from typer.main import get_command

from dmlray.cli.app import app
from tests.cluster.files import CLUSTER


def commands() -> list[str]:
    text = (CLUSTER / "README.md").read_text()
    for name in ("gpu", "gcp", "onprem", "kuberay"):
        text += (CLUSTER / f"{name}.yaml").read_text().replace(" \\\n#   ", " ").replace("\n    --gpus", " --gpus")
    quoted = re.findall(r'"(dmlray [^"]+)"', text)
    plain = re.findall(r"^ *(dmlray [a-z]+ .*--.*)$", text, flags=re.MULTILINE)
    return sorted({part.strip() for line in [*quoted, *plain] for part in line.split("&&")})


@pytest.mark.parametrize("line", commands())
def test_a_command_is_understood(line: str) -> None:
    name, *words = shlex.split(line)[1:]
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    command.make_context(name, words)


def test_there_are_commands() -> None:
    assert {line.split()[1] for line in commands()} >= {"convert", "ensemble", "plan", "report", "search", "status"}
