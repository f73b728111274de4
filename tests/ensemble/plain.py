"""Greedy selection written down as slowly and plainly as possible, for the fast one to be held against."""

from tests.metrics.plain import average_precision

TIE = 1e-12


def kept_classes(stores, video):
    return sorted({int(label) for store in stores for label in store.labels[video]})


def score_of(store, video, label):
    """The score that a store holds for a class of a video, 0 if it holds none."""
    row = store.labels[video].tolist()
    return float(store.scores[video][row.index(label)]) if label in row else 0.0


def gap_of_picks(stores, picks, rows, k):
    """GAP@k of the mean of the picked members, over the classes that any store kept."""
    pooled, positives = [], 0
    for place, video in enumerate(rows):
        true = set(stores[0].truth.list_of(video).tolist())
        positives += len(true)
        pairs = [
            (-sum(score_of(stores[pick], video, label) for pick in picks) / len(picks), place, label, label in true)
            for label in kept_classes(stores, video)
        ]
        pooled += sorted(pairs)[:k]
    return average_precision([hit for *_, hit in sorted(pooled)], positives)


def greedy(stores, rows, top, size, k):
    """Picks, curve and number of picks kept."""
    picks, curve = [], []
    for _ in range(size):
        allowed = range(len(stores)) if len(set(picks)) < top else sorted(set(picks))
        gaps = {member: gap_of_picks(stores, [*picks, member], rows, k) for member in allowed}
        tied = [member for member in allowed if gaps[member] >= max(gaps.values()) - TIE]
        best = min(tied, key=lambda member: (member not in picks, member))
        picks.append(best)
        curve.append(gaps[best])
    return picks, curve, next(n for n, gap in enumerate(curve, start=1) if gap >= max(curve) - TIE)
