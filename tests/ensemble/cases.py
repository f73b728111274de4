"""Small stores of predictions, drawn by seed; scores on a grid of 1/64, so that sums are exact and ties are common."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from dmlray.data.predictions import Predictions
from dmlray.data.ragged import Ragged
from dmlray.ensemble.candidates import Candidate


def stores(seed, videos=12, classes=8, members=4, keep=5, grid=64):
    """Members that saw the same videos through different noise: a list of Predictions."""
    generator = np.random.default_rng(seed)
    true = generator.random((videos, classes)) < 2 / classes
    offsets = np.concatenate([[0], true.sum(axis=1).cumsum()])
    truth = Ragged(offsets, np.nonzero(true)[1].astype(np.int64))
    ids = np.array([f"v{video:03d}" for video in range(videos)], dtype=object)
    return [
        _store(ids, truth, true * 0.4 + 0.6 * generator.random((videos, classes)), keep, grid) for _ in range(members)
    ]


def candidates(seed, *, test=True, **sizes):
    """The same as candidates, numbered from 0."""
    validation, tests = stores(seed, **sizes), stores(seed + 1, **sizes)
    return [
        Candidate(number, f"model {number}", Path(f"trials/{number}"), store, tests[number] if test else None)
        for number, store in enumerate(validation)
    ]


def with_validation(candidate, **changes):
    """A candidate whose validation predictions differ in some fields."""
    return replace(candidate, validation=replace(candidate.validation, **changes))


def _store(ids, truth, scores, keep, grid):
    scores = np.round(scores * grid) / grid
    labels = np.argsort(-scores, axis=1, kind="stable")[:, :keep].astype(np.int32)
    top = np.take_along_axis(scores, labels, axis=1).astype(np.float32)
    return Predictions(ids, labels, top, truth, scores.shape[1])
