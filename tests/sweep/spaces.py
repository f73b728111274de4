"""Search spaces and suggesters for the tests of the sweep."""

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dmlray.sweep.ranges import Scalar
from dmlray.sweep.space import Space, load_space

SPACE = """\
description: every kind of leaf
trials: 8
stopping: {rule: asha, min_epochs: 1, eta: 2}
space:
  epochs: 4
  modalities: {choice: [[visual], [visual, audio]]}
  fusion:
    choice:
      concat: {}
      shared: {dim: {int: [128, 512], log: true}}
      projection: {dim: 256, penalty: {float: [1e-4, 1e-1], log: true}}
  encoder:
    choice:
      none:
      gru:
        hidden: {int: [64, 256], step: 64}
        dropout: {float: [0.0, 0.5], step: 0.1}
        bidirectional: {choice: [true, false]}
  frames:
    choice:
      all:
      uniform: {count: {int: [8, 60]}}
  pooling: {choice: [mean, attention]}
  optimizer:
    kind: adam
    clip_norm: {choice: [null, 1.0]}
    learning_rate: {float: [1e-3, 0.1], log: true}
"""


def load_text(folder: Path, text: str, overrides: Mapping[str, str] | Sequence[tuple[str, str]] = ()) -> Space:
    """The space that ``text`` describes."""
    path = folder / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return load_space(path, overrides)


def quality(config: Mapping[str, Any]) -> float:
    """A made-up val_gap with its best at a GRU and a learning rate of 0.01."""
    distance = abs(math.log10(config["optimizer"]["learning_rate"]) + 2)
    return 0.5 - 0.1 * distance + (0.1 if config["encoder"]["kind"] == "gru" else 0.0)


class RandomSuggester:
    """Draws anything within bounds, and keeps the names it was asked for."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.names: list[str] = []

    def choice(self, name: str, options: Sequence[Scalar]) -> Scalar:
        self.names.append(name)
        return self.random.choice(options)

    def int(self, name: str, low: Any, high: Any, step: Any, log: bool) -> Any:
        self.names.append(name)
        return self.random.randrange(low, high + 1, step)

    def float(self, name: str, low: Any, high: Any, step: Any, log: bool) -> Any:
        self.names.append(name)
        return self.random.uniform(low, high)
