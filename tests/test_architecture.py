"""The boundaries of the design: stages import to their left, heavy libraries stay in adapters, the core is bare."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dmlray"
GROUND = {
    *("errors", "config", "seeding", "atomic", "tracking", "failpoints", "exclusive", "process"),
    *("remote", "copies"),
    *("cluster", "cluster_file", "cluster_jobs", "cluster_guard", "cluster_survey", "cluster_token"),
}
STAGES = (
    *("data", "model", "metrics", "train", "sweep", "ensemble", "registry", "report"),
    *("api", "__init__", "cli", "__main__"),
)
ADAPTERS = {
    "ray": {
        *("cluster.py", "cluster_jobs.py", "cluster_survey.py", "cluster_token.py"),
        *("data/convert.py", "data/stream.py", "train/carried.py", "train/worker.py"),
        *("sweep/lookout.py", "sweep/slot.py", "sweep/trainer.py", "sweep/tuner.py"),
        "registry/remote.py",
    },
    "optuna": {
        "sweep/database.py",
        "sweep/frozen.py",
        "sweep/rows.py",
        "sweep/sampler.py",
        "sweep/samplers.py",
        "sweep/seen.py",
    },
    "mlflow": {"tracking/tracker.py", "tracking/lineage.py", "tracking/audit.py", "registry/publish.py"},
}
CORE = ("dmlray.data.batch", "dmlray.model.build", "dmlray.metrics.gap", "dmlray.train.trial")


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text())


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def rank(part: str) -> int:
    return -1 if part in GROUND else STAGES.index(part)


def test_a_stage_imports_only_to_its_left() -> None:
    for name, tree in modules():
        own = name.removesuffix(".py").split("/")[0]
        for imported in imports(tree):
            if imported.startswith("dmlray."):
                assert rank(imported.split(".")[1]) <= rank(own), f"{name} imports {imported}"


@pytest.mark.parametrize("library", ADAPTERS)
def test_heavy_libraries_stay_in_their_adapters(library: str) -> None:
    found = {name for name, tree in modules() if any(module.split(".")[0] == library for module in imports(tree))}
    assert found == ADAPTERS[library]


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_training_core_needs_no_cluster() -> None:
    assert not loaded_by("; ".join(f"import {module}" for module in CORE)) & set(ADAPTERS)


def test_the_command_line_starts_light() -> None:
    heavy = {"ray", "optuna", "mlflow", "torch", "pyarrow", "numpy", "rich", "pydantic"}
    assert not loaded_by("import dmlray.cli") & heavy


def test_looking_at_a_study_loads_no_statistics() -> None:
    """scikit-learn, which Optuna's importances import, took 1.8 of the 2.9 CPU-seconds before anything was read."""
    assert not loaded_by("import dmlray.sweep.study, dmlray.cli.status") & {"sklearn", "torch", "ray", "mlflow"}


def test_a_slot_starts_without_torch() -> None:
    assert "torch" not in loaded_by("import dmlray.sweep.slot")
