"""Videos of one chunk put together as columns: the plain records all at once, the others one at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from dmlray.data.layout import Layouts
from dmlray.data.records import Chunk
from dmlray.data.schema import Modality, Schema
from dmlray.data.text import texts
from dmlray.data.video import Video
from dmlray.data.wire import BYTES_LIST, FLOAT_LIST, INT64_LIST, MAX_INT, Bytes, Flags, Ints, Regions, Window

Matrix = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True)
class VideoBlock:
    """N videos. ``label_values[label_offsets[i]:label_offsets[i + 1]]`` are the classes of video i.

    ``features`` by modality name. Frame-level: (total frames, D) uint8, video i at
    ``[frame_offsets[i]:frame_offsets[i + 1]]``, the same for every modality. Video-level: (N, D) float32, and
    ``frame_offsets`` is None.
    """

    ids: list[str]
    label_offsets: Ints
    label_values: Ints
    features: Mapping[str, Matrix]
    frame_offsets: Ints | None

    def __len__(self) -> int:
        return len(self.ids)


class Columns:
    """The N records of a chunk under a schema. ``ok`` (N,) tells which were of the plain shape and have been read.

    The others are for ``put``. Nothing is copied out of the chunk's buffer before ``block``.
    """

    def __init__(self, chunk: Chunk, schema: Schema, layouts: Layouts | None = None) -> None:
        start = chunk.starts
        self.ok: Flags = np.ones(len(start), bool)
        self._schema = schema
        self._window = Window(chunk.buffer)
        self._ids = [""] * len(start)
        self._rows: dict[str, list[Bytes]] = {}  # frame-level: a view of each video's frames
        self._vectors: dict[str, Ints] = {}  # video-level: where each begins
        self._others: dict[int, Video] = {}
        record = Regions(start, start + chunk.lengths, self.ok)
        if schema.level == "video":
            values = 1 + len(schema.modalities) + (schema.labels_feature is not None)
            self._read((layouts or Layouts()).find(self._window, record, self._find, values))
        else:
            self._read(self._find(record))

    def _find(self, record: Regions) -> list[Regions]:
        """Where id, modalities (floats, or Features of frames) and, if they are to be read, labels of records lie."""
        schema, window = self._schema, self._window
        context, lists = window.top(record)
        keys = [schema.id_feature] if schema.labels_feature is None else [schema.id_feature, schema.labels_feature]
        names = [modality.feature for modality in schema.modalities]
        if schema.level == "video":
            found = window.entries(Regions(context.start, context.end, context.ok & lists.ok), keys + names)
            values = [window.feature(value, FLOAT_LIST) for value in found[len(keys) :]]
        else:
            found, values = window.entries(context, keys), window.entries(lists, names)
        kinds = (BYTES_LIST, INT64_LIST)[: len(keys)]
        ids, *labels = [window.feature(value, kind) for value, kind in zip(found, kinds, strict=False)]
        return [ids, *values, *labels]

    def _read(self, found: list[Regions]) -> None:
        ids, values, labels = found[0], found[1:], found[1 + len(self._schema.modalities) :]
        for modality, value in zip(self._schema.modalities, values, strict=False):
            if self._schema.level == "frame":
                self._rows[modality.name] = self._frames(value, modality.width)
            else:
                self.ok &= value.ok & (value.end - value.start == 4 * modality.width)
                self._vectors[modality.name] = value.start
        none = np.zeros_like(ids.start)
        self._read_labels(labels[0] if labels else Regions(none, none, ids.ok))
        self._read_ids(ids)
        if self._rows:
            counts = np.array([[len(rows) for rows in column] for column in self._rows.values()])
            self.ok &= (counts[0] > 0) & (counts == counts[0]).all(axis=0)

    def _frames(self, region: Regions, width: int) -> list[Bytes]:
        self.ok &= region.ok
        none = np.empty((0, width), np.uint8)
        views = map(self._window.frames, region.start.tolist(), region.end.tolist(), [width] * len(region.start))
        return [none if view is None else view for view in views]

    def _read_labels(self, region: Regions) -> None:
        values, counts, ok = self._window.packed_ints(region)
        lane = np.repeat(np.arange(len(counts)), counts)
        ok[lane[values >= self._schema.classes]] = False
        pairs = np.sort(lane * (MAX_INT + 1) + values)
        ok[pairs[1:][np.diff(pairs) == 0] // (MAX_INT + 1)] = False  # a label that stands twice
        self.ok &= ok
        self._labels, self._label_counts = values, counts

    def _read_ids(self, region: Regions) -> None:
        region = self._window.short(region)
        self.ok &= region.ok
        try:
            self._ids = texts(self._window.joined(region).tobytes(), region.end - region.start)
        except UnicodeDecodeError:
            for lane in range(len(self.ok)):
                try:
                    self._ids[lane] = str(self._window.bytes.data[region.start[lane] : region.end[lane]], "utf-8")
                except UnicodeDecodeError:
                    self.ok[lane] = False

    def put(self, lane: int, video: Video) -> None:
        """Fill in a record that was not ``ok``, decoded on its own."""
        self._others[lane] = video
        self._ids[lane] = video.id
        for name, rows in self._rows.items():
            rows[lane] = cast(Bytes, video.features[name])

    def block(self, kept: Flags) -> VideoBlock:
        """The videos where ``kept`` (N,) is True, copied."""
        values, counts = self._all_labels(kept)
        features: dict[str, Matrix] = {m.name: self._copy(m, kept) for m in self._schema.modalities if self._vectors}
        offsets = None
        for name, chosen in self.frames(kept).items():
            offsets = _offsets(np.array([len(video) for video in chosen], np.int64))
            features[name] = np.concatenate(chosen) if chosen else self._rows[name][0][:0]
        return VideoBlock(self.ids(kept), _offsets(counts), values, features, offsets)

    def _copy(self, modality: Modality, kept: Flags) -> NDArray[np.float32]:
        """Vectors of one modality, (N, D)."""
        starts = self._vectors[modality.name]
        if self.ok.all():
            return self._window.floats(starts, modality.width)
        lanes = np.flatnonzero(kept)
        rows = np.empty((len(lanes), modality.width), np.float32)
        rows[self.ok[lanes]] = self._window.floats(starts[self.ok], modality.width)
        for lane, video in self._others.items():
            rows[lanes == lane] = video.features[modality.name]
        return rows

    def ids(self, kept: Flags) -> list[str]:
        """Of the videos where ``kept``."""
        return self._ids if kept.all() else [self._ids[lane] for lane in np.flatnonzero(kept).tolist()]

    def labels(self, kept: Flags) -> list[Ints]:
        """Of the videos where ``kept``."""
        values, counts = self._all_labels(kept)
        return np.split(values, np.cumsum(counts)[:-1]) if len(counts) else []

    def frames(self, kept: Flags) -> dict[str, list[Bytes]]:
        """By modality name, a view (T, D) of each video's frames where ``kept``; none for a video-level schema."""
        lanes = np.flatnonzero(kept).tolist()
        return {name: [rows[lane] for lane in lanes] for name, rows in self._rows.items()}

    def _all_labels(self, kept: Flags) -> tuple[Ints, Ints]:
        counts = self._label_counts.copy()
        if kept.all() and not self._others:
            return self._labels, counts
        pieces = np.split(self._labels, np.cumsum(counts)[:-1])
        for lane, video in self._others.items():
            pieces[lane], counts[lane] = video.labels, len(video.labels)
        chosen = [pieces[lane] for lane in np.flatnonzero(kept).tolist()]
        return np.concatenate([np.empty(0, np.int64), *chosen]), counts[kept]


def _offsets(counts: Ints) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
