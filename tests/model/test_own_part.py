"""The README's pooling of one's own, put where the README says, in a copy of the package: it builds, it keeps the
contract of poolings, and a space may search its parameter.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CHECK = """
from pathlib import Path
import dmlray
from dmlray.config import TrialConfig
from dmlray.data.schema import PRESETS
from dmlray.model.build import build_model
from dmlray.model.pooling import GemPool
from dmlray.sweep.sampler import propose
from dmlray.sweep.space import load_space
from tests.model.poolings import PoolingContract


class TestGem(PoolingContract):
    def make(self, dim):
        return GemPool(dim, 3.0)


assert Path(dmlray.__file__).is_relative_to(Path.cwd())
contract = TestGem()
contract.test_ignores_padding()
contract.test_gradients_reach_every_parameter_and_no_padding()
space = load_space(Path("space.yaml"))
drawn = [TrialConfig.model_validate(propose(space, "random", 0, number, []).config) for number in range(20)]
powers = [config.pooling.power for config in drawn if config.pooling.kind == "gem"]
assert powers and all(1 <= power <= 6 for power in powers), powers
build_model(next(config for config in drawn if config.pooling.kind == "gem"), PRESETS["audioset"])
"""


def blocks() -> dict[str, str]:
    """The README's blocks of Python by the file that their first line names."""
    found = re.findall(r"```python\n# (dmlray/[\w/]+\.py)[^\n]*\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return dict(found)


def put(path: Path, before: str, text: str) -> None:
    """Insert ``text`` before the one line that begins with ``before``."""
    content = path.read_text()
    assert content.count(f"\n{before}") == 1, f"{path} has no one line that begins with {before}"
    path.write_text(content.replace(f"\n{before}", f"\n{text}\n{before}"))


@pytest.mark.thorough
def test_the_readmes_pooling_works(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "dmlray", tmp_path / "dmlray", ignore=shutil.ignore_patterns("__pycache__"))
    shown = blocks()
    part = tmp_path / "dmlray/model/pooling.py"
    part.write_text(f"{part.read_text()}\n\n{shown['dmlray/model/pooling.py']}")
    config = tmp_path / "dmlray/config/model.py"
    put(config, "class StatisticsPooling", f"{shown['dmlray/config/model.py']}\n")
    config.write_text(config.read_text().replace("    SimplePooling | Att", "    SimplePooling | GemPooling | Att"))
    build = tmp_path / "dmlray/model/build.py"
    put(build, '    "mean":', shown["dmlray/model/build.py"].rstrip())
    put(build, "from dmlray.model.sru", "from dmlray.model.pooling import GemPool")
    (space,) = re.findall(r"`pooling: (\{choice: .*gem.*\})`", (ROOT / "README.md").read_text())
    (tmp_path / "space.yaml").write_text(f"space: {{epochs: 1, pooling: {space}}}\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path}
    run = subprocess.run([sys.executable, "-c", CHECK], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    lines = sum(text.count("\n") for text in shown.values())
    assert lines <= 30, f"{lines} lines"
