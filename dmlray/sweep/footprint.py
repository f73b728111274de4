"""What a trial leaves on disk, from its configuration alone: nothing is trained, no memory is taken."""

from collections.abc import Sequence

import torch

from dmlray.config import TrialConfig
from dmlray.data.schema import Schema
from dmlray.model.build import build_model
from dmlray.sweep.sampler import configured, propose
from dmlray.sweep.space import Space
from dmlray.train.evaluate import TOP

_DRAWS = 20
_PREDICTION_BYTES = 64  # of a video, beside its pairs: id, true labels, offsets
_STATES = 3  # what an optimizer of ours saves: the parameters and two moments of each


def sampled_configs(space: Space, seed: int = 0) -> list[TrialConfig]:
    """The named configurations of ``space`` and 20 random points of it."""
    named = [configured(space, configuration) for configuration in space.configurations]
    drawn = [propose(space, "random", seed, number, []) for number in range(_DRAWS)]
    return [TrialConfig.model_validate(proposal.config) for proposal in [*named, *drawn]]


def trial_bytes(config: TrialConfig, schema: Schema, videos: int, *, has_ended: bool = False) -> int:
    """Bytes of a trial's checkpoints and of its predictions for ``videos``, those of validation and test together.

    While it is trained, at most; once it ``has_ended``, with the ``snapshots`` checkpoints that are left. Raises
    ConfigError for a configuration that does not fit ``schema``.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        numbers: int = sum(tensor.numel() for tensor in build_model(config, schema).state_dict().values())
    has_average = getattr(config.optimizer, "ema_decay", None) is not None
    checkpoint = 4 * numbers * (_STATES + has_average)
    # The newest, one that is being written, and the bests before it.
    most = config.snapshots if has_ended else max(2, config.average_last) + 1 + config.snapshots
    kept = min(config.epochs, most)
    pair = 8  # label and score
    return kept * checkpoint + videos * (min(TOP, schema.classes) * pair + _PREDICTION_BYTES)


def sweep_bytes(
    configs: Sequence[TrialConfig], schema: Schema, videos: int, trials: int, at_once: int
) -> tuple[float, float]:
    """Bytes that a sweep of ``trials`` trials such as ``configs``, ``at_once`` of them in training, takes at its end:
    expected, and if all were like the largest.
    """
    begun = min(at_once, trials)
    each = [
        (trials - begun) * trial_bytes(config, schema, videos, has_ended=True)
        + begun * trial_bytes(config, schema, videos)
        for config in configs
    ]
    return sum(each) / len(each), float(max(each))
