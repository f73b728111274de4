"""The metrics written down as slowly and plainly as possible, for the fast ones to be held against."""

import numpy as np

from dmlray.metrics.gap import TOP


def best(row, k):
    """Class indices of the k best scores; ties to the lowest index."""
    return sorted(range(len(row)), key=lambda c: (-row[c], c))[:k]


def ranked_pairs(scores, labels, k):
    """(score, video, class, is_true) of every video's k best, best first, ties by video then class."""
    pairs = [(scores[v][c], v, c, bool(labels[v][c])) for v in range(len(scores)) for c in best(scores[v], k)]
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2]))


def average_precision(hits, positives):
    """Mean over all positives of the precision at each hit; a positive that never comes counts 0."""
    total, found = 0.0, 0
    for rank, hit in enumerate(hits, start=1):
        if hit:
            found += 1
            total += found / rank
    return total / positives if positives else 0.0


def gap(scores, labels, k=TOP):
    return average_precision([hit for *_, hit in ranked_pairs(scores, labels, k)], labels.sum())


def mean_average_precision(scores, labels, k=TOP):
    pairs = ranked_pairs(scores, labels, k)
    values = [
        average_precision([hit for _, _, c, hit in pairs if c == wanted], labels[:, wanted].sum())
        for wanted in range(labels.shape[1])
        if labels[:, wanted].any()
    ]
    return float(np.mean(values)) if values else 0.0


def hit_at_one(scores, labels):
    return float(np.mean([bool(labels[v][best(scores[v], 1)[0]]) for v in range(len(scores))]))


def perr(scores, labels):
    total = 0.0
    for v in range(len(scores)):
        count = int(labels[v].sum())
        hits = sum(bool(labels[v][c]) for c in best(scores[v], count) if scores[v][c] > 0)
        total += hits / count if count else 0.0
    return total / len(scores)
