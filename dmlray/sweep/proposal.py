"""A first search space for a data set that nobody has searched yet: commented YAML, chosen by level and size.

The ranges are those of the files in search_spaces/, which name the papers and measurements behind them.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dmlray.data.schema import Schema

FEW, MANY = 5_000, 200_000  # training videos: below, as smoke.yaml; above, as frame_level.yaml and the starter code


@dataclass(frozen=True)
class Facts:
    """What a proposal depends on. ``videos`` by split; ``train`` None where it is not known (streamed or unread)."""

    schema: Schema
    videos: Mapping[str, int]
    has_gpu: bool

    @property
    def train(self) -> int | None:
        """Training videos."""
        return self.videos.get("train")

    @property
    def is_small(self) -> bool:
        """Too few videos for large models, and for large batches to make enough steps."""
        return self.train is not None and self.train < FEW

    @property
    def is_large(self) -> bool:
        """Enough videos for the widths and rates that papers train at."""
        return self.train is None or self.train > MANY


@dataclass(frozen=True)
class Asked:
    """How much the sweep may cost: so many trials, or as many as fit into ``hours``."""

    trials: int | None = None
    hours: float | None = None

    def wanted(self, has_gpu: bool) -> int:
        """The number for the file: where hours end the sweep, more than they allow."""
        return self.trials or (1000 if self.hours else 30 if has_gpu else 12)


def propose(facts: Facts, asked: Asked, head: str, data: str | None = None) -> str:
    """The text of a space file that `load_space` reads and whose every trial can be built for this data.

    ``head`` stands above it as a comment; ``data`` is where the converted data are, or will be.
    """
    level = facts.schema.level
    comment = "\n".join(f"# {line}".rstrip() for line in head.splitlines())
    trials = asked.wanted(facts.has_gpu)
    why = "  # --hours ends the sweep before" if asked.hours and not asked.trials else ""
    parts = _video_level(facts) if level == "video" else _frame_level(facts)
    lines = "\n".join(f"  {line}".rstrip() for part in (_training(facts), parts) for line in part)
    return f"""{comment}
description: a first look at {level}-level features of {_modalities(facts.schema)}{_where(data)}
trials: {trials}{why}
stopping: {{rule: asha, min_epochs: {1 if facts.is_large else 2}, eta: 3}}  # {_STOPPING}

space:
{lines}
"""


_STOPPING = "of the trials that reach a rung, the best third go on; none: train all"


def _where(data: str | None) -> str:
    text = json.dumps(data, ensure_ascii=False)  # which YAML reads too
    return "" if data is None else f"\ndata: {text}  # where --data does not say otherwise"


def _modalities(schema: Schema) -> str:
    return " and ".join(f"{each.name} ({each.width} wide)" for each in schema.modalities)


def _training(facts: Facts) -> Iterator[str]:
    epochs, batches, why = 6, "[64, 128]", "more steps an epoch, or quicker ones"
    if facts.is_small:
        epochs, batches, why = 8, "[16, 32]", "few videos: small batches, to make steps"
    elif facts.is_large:
        epochs, batches, why = 5, "[128, 256]" if facts.schema.level == "frame" else "[256, 512, 1024]", "many videos"
    yield f"epochs: {epochs}  # the most that a trial trains; its best one counts"
    yield f"batch_size: {{choice: {batches}}}  # {why}"
    yield "l2_normalize: {choice: [true, false]}  # depends on the features"
    yield "optimizer:"
    yield "  kind: adam"
    low, high = ("5e-3", "4e-2") if facts.is_small else ("2e-4", "1e-2") if facts.is_large else ("1e-3", "2e-2")
    yield f"  learning_rate: {{float: [{low}, {high}], log: true}}  # what matters most"


def _video_level(facts: Facts) -> Iterator[str]:
    widths = "[128, 256]" if facts.is_small else "[1024, 2048]" if facts.is_large else "[512, 1024]"
    yield "hidden:"
    yield "  choice:"
    yield "    none: {}  # the head sees the features"
    yield f"    perceptron: {{dim: {{choice: {widths}}}, dropout: {{float: [0.3, 0.6], step: 0.1}}}}"
    yield from _fusion(facts, ["concat: {}", "gated: {}  # concat, through context gating"], widths)
    yield "head:"
    yield "  choice:"
    yield "    logistic: {}"
    yield "    mixture: {experts: {choice: [2, 4]}}  # of experts: a class may look in several ways"


def _frame_level(facts: Facts) -> Iterator[str]:
    hidden = "{choice: [256, 512, 1024]}" if facts.has_gpu and not facts.is_small else "{int: [64, 192], step: 64}"
    hidden = "{int: [16, 48], step: 16}" if facts.is_small and not facts.has_gpu else hidden
    yield from _frames(facts)
    yield "encoder:"
    yield "  choice:"
    yield "    none: {}  # a bag of frames: quick, and a good member of an ensemble"
    for kind in ("lstm", "gru"):
        yield f"    {kind}:"
        yield f"      hidden: {hidden}  # of one direction"
        yield "      layers: {int: [1, 2]}"
        yield "      bidirectional: {choice: [false, true]}"
    yield "pooling: {choice: [mean, max, attention]}  # from frames to one vector"
    first = ["early: {}  # modalities side by side in every frame: one encoder"] if _is_multimodal(facts) else []
    yield from _fusion(facts, [*first, "concat: {}"], "[32, 64]" if facts.is_small else "[512, 1024]")
    yield "head: {kind: logistic, dropout: {float: [0.0, 0.4], step: 0.2}}"


def _frames(facts: Facts) -> Iterator[str]:
    most = facts.schema.max_frames
    if most < 60:
        return
    yield "frames:"
    yield "  choice:"
    yield f"    all: {{}}  # {most} at most"
    yield f"    uniform: {{count: {{choice: [{most // 5}, {most // 2}]}}}}  # fewer, evenly spread: quicker"


def _fusion(facts: Facts, first: list[str], widths: str) -> Iterator[str]:
    yield (
        "fusion:  # of modalities; `shared` is a layer of its own"
        if _is_multimodal(facts)
        else "fusion:  # one modality"
    )
    yield "  choice:"
    for line in first:
        yield f"    {line}"
    yield f"    shared: {{dim: {{choice: {widths}}}}}"


def _is_multimodal(facts: Facts) -> bool:
    return len(facts.schema.modalities) > 1
