"""What `dmlray inspect` prints for people."""

from collections.abc import Iterator

from dmlray.data.inspection import Inspection, Spread
from dmlray.data.schema import schema_yaml


def inspection_lines(found: Inspection) -> Iterator[str]:
    """Counts, features, labels, frames, then the schema as YAML that `--schema` takes."""
    files = f"{found.files} file{'s' * (found.files != 1)}, {found.size_bytes / 1e6:,.1f} MB"
    yield f"{files}: {found.records:,} records of kind {found.kind}, {found.videos:,} videos"
    yield "checksums: all hold" if found.is_intact else "checksums: BROKEN"
    yield from (f"  {problem}" for problem in found.problems)
    yield f"features (of the first {found.sampled} records):"
    for feature in found.features:
        kind = f"list of {feature.type}" if feature.is_list else feature.type
        yield f"  {feature.name:<20} {kind:<14} width {_spread(feature.width)}"
    if found.labels_per_video:
        yield f"labels: {found.distinct_labels:,} distinct, {_spread(found.labels_per_video)} a video"
        yield "  most frequent: " + ", ".join(f"{label} ({count:,})" for label, count in found.top_labels[:10])
    if found.frames_per_video:
        yield f"frames: {_spread(found.frames_per_video)} a video"
    if found.data_schema:
        yield "schema:"
        yield from (f"  {line}" for line in schema_yaml(found.data_schema).splitlines())
    if found.unguessed:
        yield f"schema: {found.unguessed}"


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "none"
    if spread.minimum == spread.maximum:
        return f"{spread.minimum:,}"
    return f"{spread.minimum:,} to {spread.maximum:,}, mean {spread.mean:,.1f}"
