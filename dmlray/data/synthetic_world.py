"""A made-up world of videos with something to find in each part of a model.

Class indices run by frequency, as YouTube-8M's do. Roles repeat every eight classes: some are shown by both modalities,
some by one alone, and some come in pairs that show the same two motifs in opposite order, so that only a model of
time can tell them apart. Topics are active in a segment of the video, classes of one group appear together, and
every video has a style of its own that no averaging removes. Topics differ in strength, and the annotation errs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from dmlray.config import Config
from dmlray.data.quantize import quantize
from dmlray.seeding import derive_seed

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

BOTH, VISUAL, AUDIO, FORWARD, BACKWARD = range(5)
ROLES = (BOTH, VISUAL, FORWARD, BACKWARD, AUDIO, BOTH, FORWARD, BACKWARD)
_TOPICS = 4  # most topics in a video
_BLOCK = 32  # videos made at once: bounds memory at full size
_GROUP_BOOST = 3.0  # log of how much likelier a class is beside one of its group
_STYLES = 8  # dimensions of the per-video style
_MISSED = 0.08  # share of shown classes that the annotation lacks, and of videos with one that is not shown


class SynthSpec(Config):
    """Sizes of a synthetic dataset. ``noise`` is the frames' noise relative to a topic's signal."""

    level: Literal["frame", "video"] = "frame"
    seed: int = 0
    train: PositiveInt = 1400
    validation: PositiveInt = 400
    test: NonNegativeInt = 200
    shards: PositiveInt = 4
    classes: PositiveInt = 40
    visual_width: PositiveInt = 64
    audio_width: PositiveInt = 16
    max_frames: PositiveInt = 40
    noise: NonNegativeFloat = 1.0


@dataclass(frozen=True)
class SyntheticVideo:
    """Sorted ``labels`` (L,), and ``visual`` and ``audio`` frames (T, D) uint8."""

    labels: Ints
    visual: NDArray[np.uint8]
    audio: NDArray[np.uint8]


class World:
    """What is the same for all videos of one seed: class frequencies, groups, and how each topic looks and sounds."""

    def __init__(self, spec: SynthSpec) -> None:
        self.spec = spec
        generator = np.random.default_rng(derive_seed(spec.seed, "synthetic world"))
        index = np.arange(spec.classes)
        self.role = np.resize(ROLES, spec.classes)
        if self.role[-1] == FORWARD:
            self.role[-1] = BOTH  # its pair would be incomplete
        paired = np.isin(self.role, (FORWARD, BACKWARD))
        rank = np.where(paired, index // 2 * 2 + 0.5, index)  # both of a pair are equally frequent
        self.log_frequency = -np.log(rank + 1.0)  # Zipf
        self.partner = np.where(paired, index ^ 1, -1)
        self.group = generator.integers(max(1, spec.classes // 5), size=spec.classes)
        self.group[paired] = self.group[index // 2 * 2][paired]
        self.visual = self._prototypes(generator, spec.visual_width, silent=AUDIO)
        self.audio = self._prototypes(generator, spec.audio_width, silent=VISUAL)
        self.visual_style = generator.standard_normal((_STYLES, spec.visual_width), np.float32)
        self.audio_style = generator.standard_normal((_STYLES, spec.audio_width), np.float32)

    def _prototypes(self, generator: np.random.Generator, width: int, silent: int) -> Floats:
        prototypes = generator.standard_normal((self.spec.classes, width), np.float32)
        prototypes[self.role == silent] = 0.0
        return prototypes

    def videos(self, split: str, shard: int, count: int) -> Iterator[SyntheticVideo]:
        """The videos of one shard: the same for the same seed, split, shard and count."""
        generator = np.random.default_rng(derive_seed(self.spec.seed, "synthetic videos", split, shard))
        for start in range(0, count, _BLOCK):
            yield from self._block(generator, min(_BLOCK, count - start))

    def _block(self, generator: np.random.Generator, count: int) -> Iterator[SyntheticVideo]:
        topics = self.draw_topics(generator, count)
        lengths = draw_lengths(generator, count, self.spec.max_frames)
        shown = self._shown(generator, topics, lengths)  # (total frames, topics), -1 for none
        strength = generator.uniform(0.4, 1.0, topics.shape).astype(np.float32).repeat(lengths, axis=0)
        style: Floats = generator.standard_normal((count, _STYLES), np.float32).repeat(lengths, axis=0) * np.float32(
            0.5
        )
        visual = self._frames(generator, shown, strength, self.visual, style @ self.visual_style)
        audio = self._frames(generator, shown, strength, self.audio, style @ self.audio_style)
        ends = np.cumsum(lengths)
        for labels, end, length in zip(self._annotate(generator, topics), ends, lengths, strict=True):
            rows = slice(end - length, end)
            yield SyntheticVideo(np.unique(labels[labels >= 0]), visual[rows], audio[rows])

    def draw_topics(self, generator: np.random.Generator, count: int) -> Ints:
        """Different classes of each video (B, 4) by falling importance, -1 where a video has fewer.

        Zipf-distributed, the others mostly of the first one's group, never both of a pair.
        """
        score = self.log_frequency + generator.gumbel(size=(count, self.spec.classes))  # Gumbel's way to draw without
        first = score.argmax(axis=1)  # replacement: the largest scores are a sample
        score += _GROUP_BOOST * (self.group == self.group[first, None])
        score[np.arange(count), first] = np.inf
        topics = np.argsort(-score, axis=1, kind="stable")[:, :_TOPICS]
        wanted = 1 + generator.binomial(_TOPICS - 1, 0.5, size=(count, 1))
        topics[np.arange(topics.shape[1]) >= wanted] = -1
        for slot in range(1, topics.shape[1]):
            partner = self.partner[topics[:, slot]]
            clash = (topics[:, :slot] == partner[:, None]).any(axis=1) & (partner >= 0)
            topics[clash, slot] = -1
        return topics

    def _annotate(self, generator: np.random.Generator, topics: Ints) -> Ints:
        """``topics`` with some missing (never the first) and some wrong: (B, topics + 1), -1 for none."""
        missed = generator.random(topics.shape) < _MISSED
        missed[:, 0] = False
        wrong = (self.log_frequency + generator.gumbel(size=(len(topics), self.spec.classes))).argmax(axis=1)
        wrong[generator.random(len(topics)) >= _MISSED] = -1
        return np.column_stack([np.where(missed, -1, topics), wrong])

    def _shown(self, generator: np.random.Generator, topics: Ints, lengths: Ints) -> Ints:
        """Whose prototype each topic shows in each frame: (total frames, topics), -1 for none.

        A pair's classes show two motifs (the prototypes of both), one in each half of their segment.
        """
        ends = np.cumsum(lengths)
        frame = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
        time = ((frame + 0.5) / np.repeat(lengths, lengths))[:, None]
        size = generator.uniform(0.3, 1.0, topics.shape)
        start = generator.uniform(0.0, 1.0, topics.shape) * (1.0 - size)
        within = (time - start.repeat(lengths, axis=0)) / size.repeat(lengths, axis=0)
        topic = topics.repeat(lengths, axis=0)
        first, partner = topic & ~1, self.partner[topic]
        swap = (within >= 0.5) != (self.role[topic] == BACKWARD)
        motif = np.where(partner >= 0, np.where(swap, first + 1, first), topic)
        return np.where((within >= 0.0) & (within < 1.0) & (topic >= 0), motif, -1)

    def _frames(
        self, generator: np.random.Generator, shown: Ints, strength: Floats, prototypes: Floats, style: Floats
    ) -> NDArray[np.uint8]:
        """Codes (total frames, D): style, noise and the prototypes that are shown, added up."""
        frames = style + np.float32(self.spec.noise) * generator.standard_normal(style.shape, np.float32)
        for slot in range(shown.shape[1]):
            rows = np.flatnonzero(shown[:, slot] >= 0)
            frames[rows] += strength[rows, slot, None] * prototypes[shown[rows, slot]]
        return quantize(np.float32(0.5) * frames)


def draw_lengths(generator: np.random.Generator, count: int, max_frames: int) -> Ints:
    """Frame counts as in YouTube-8M: 1 to max_frames + 1, 30 % exactly max_frames, a mean of about 3/4 of it."""
    lengths = np.ceil(generator.beta(2.2, 1.2, count) * max_frames).astype(np.int64).clip(1)
    chance = generator.random(count)
    lengths[chance < 0.3] = max_frames
    lengths[chance > 0.985] = 1
    lengths[chance > 0.99] = max_frames + 1
    return lengths
