"""The README's table of JSON documents: every command that has one is in it, with the keys that it prints."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from dmlray.cli.app import app
from dmlray.data.inspection import Inspection
from dmlray.data.synthetic import SynthSpec, synthesize
from dmlray.ensemble.report import EnsembleReport
from dmlray.registry.contents import Refit
from dmlray.registry.distil import DistillationReport
from dmlray.registry.evaluate import EvaluationReport
from dmlray.sweep.plan import Plan
from tests.report.sweeps import make_sweep, trained

README = (Path(__file__).parents[2] / "README.md").read_text()
TABLE = README.partition("\n## For programs\n")[2].partition("\n## ")[0]


def documented(command: str) -> tuple[list[str], list[str]]:
    """The keys of a document, and those within brackets."""
    (row,) = re.findall(rf"^\| `{command}[^|]*` \| (.*) \|$", TABLE, flags=re.MULTILINE)
    top, *nested = re.split(r"[(;]", row, maxsplit=1)
    return re.findall(r"`(\w+)`", top), re.findall(r"`(\w+)`", "".join(nested))


def test_every_command_with_a_document_is_in_the_table() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    with_document = {
        name for name, command in commands.items() if any("--json" in parameter.opts for parameter in command.params)
    }
    for name in with_document:
        assert documented(name)[0], name


MODELS = {
    "inspect": set(Inspection.model_fields),
    "ensemble": {"sweep", "ensemble"} | set(EnsembleReport.model_fields),
    "evaluate": {"predictions"} | set(EvaluationReport.model_fields),
    "distil": set(DistillationReport.model_fields),
    "plan": {field.name for field in fields(Plan)} | {"storage_bytes", "recorded", "calibrated"},
    "refit": {"sweep", "package"} | set(Refit.model_fields),
}


@pytest.mark.parametrize("command", MODELS)
def test_keys_are_those_of_the_models(command: str) -> None:
    assert set(documented(command)[0]) == MODELS[command]


def test_documents_are_as_documented(tmp_path: Path) -> None:
    make_sweep(tmp_path, trained, 3)
    synthesize(tmp_path / "tf", SynthSpec(train=3, validation=1, test=0, shards=1, max_frames=5))
    for command, *words in (
        ["status", "first", "--results", tmp_path],
        ["top", "first", "--results", tmp_path],
        ["inspect", tmp_path / "tf" / "train" / "train0000.tfrecord"],
        ["doctor", "--results", tmp_path],
    ):
        document = json.loads(CliRunner().invoke(app, [command, *map(str, words), "--json"]).stdout)
        keys, nested = documented(command)
        assert document.pop("version") == 1
        assert set(document) == set(keys), command
        if command in ("top", "doctor"):
            assert set(document[keys[-1]][0]) == set(nested), command
