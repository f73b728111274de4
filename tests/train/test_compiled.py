"""A compiled model learns what the plain one learns, goes on where it was cut off, and says where it cannot be had."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dmlray.errors import TrainingError
from dmlray.train.compiled import compile_problem
from tests.train.trials import LOGISTIC, make_task, run

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of PyTorch's own use
PLAIN: Mapping[str, Any] = {**LOGISTIC, "epochs": 2, "head": {"kind": "logistic"}}
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++"))), reason="compiling for a CPU needs g++ or clang++"
)


@needs_compiler
@pytest.mark.thorough
def test_learns_the_same(data: Path, tmp_path: Path) -> None:
    plain = run(make_task(data, tmp_path / "plain", PLAIN))
    whole = run(make_task(data, tmp_path / "whole", {**PLAIN, "compile": True}))
    half = run(make_task(data, tmp_path / "half", {**PLAIN, "compile": True}), stop_after=1)
    assert [epoch["train_loss"] for epoch in whole.curve()] == pytest.approx(
        [epoch["train_loss"] for epoch in plain.curve()], rel=1e-4
    )
    assert half.curve() + run(half.resumed()).curve() == whole.curve()


@pytest.mark.thorough
def test_without_a_compiler(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))  # nothing is compiled already
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "no-such-compiler"))
    with pytest.raises(TrainingError, match="cannot be compiled here; leave `compile` out") as caught:
        run(make_task(data, tmp_path / "trial", {**PLAIN, "compile": True}))
    assert caught.value.reason == "bad_config"


def test_other_errors_stay_what_they_are() -> None:
    assert compile_problem(RuntimeError("size mismatch")) is None
