"""tf.data as its guide recommends it, per record and per batch. Run by an interpreter that has TensorFlow."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.stopwatch import measure, pin

if not sys.argv[1].endswith("-all-cores"):
    pin()

import tensorflow as tf

BATCH, FRAMES = 128, 300
CONTEXT = {"id": tf.io.FixedLenFeature([], tf.string), "labels": tf.io.VarLenFeature(tf.int64)}
WIDTHS = {"rgb": 1024, "audio": 128}
LISTS = {name: tf.io.FixedLenSequenceFeature([], tf.string) for name in WIDTHS}
MEANS = {"mean_rgb": 1024, "mean_audio": 128}


def frames_by_batch(paths: Sequence[str]) -> int:
    def parse(data: Any) -> Any:
        context, lists, _ = tf.io.parse_sequence_example(data, CONTEXT, LISTS)
        return context, {
            name: tf.io.decode_raw(lists[name][:, :FRAMES], tf.uint8, fixed_length=width)
            for name, width in WIDTHS.items()
        }

    return count(tf.data.TFRecordDataset(list(paths)).batch(BATCH).map(parse, tf.data.AUTOTUNE), "rgb")


def frames_by_record(paths: Sequence[str]) -> int:
    def parse(data: Any) -> Any:
        context, lists = tf.io.parse_single_sequence_example(data, CONTEXT, LISTS)
        frames = {name: tf.io.decode_raw(lists[name][:FRAMES], tf.uint8) for name in WIDTHS}
        return context["id"], {name: tf.ensure_shape(frames[name], [None, width]) for name, width in WIDTHS.items()}

    shapes = ([], {name: [FRAMES, width] for name, width in WIDTHS.items()})
    data = tf.data.TFRecordDataset(list(paths)).map(parse, tf.data.AUTOTUNE)
    return count(data.padded_batch(BATCH, shapes), "rgb")


def videos_by_batch(paths: Sequence[str]) -> int:
    features = {**CONTEXT, **{name: tf.io.FixedLenFeature([width], tf.float32) for name, width in MEANS.items()}}

    def parse(data: Any) -> Any:
        parsed = tf.io.parse_example(data, features)
        return parsed["id"], {name: parsed[name] for name in MEANS}

    return count(tf.data.TFRecordDataset(list(paths)).batch(BATCH).map(parse, tf.data.AUTOTUNE), "mean_rgb")


def count(data: Any, name: str) -> int:
    return sum(int(features[name].shape[0]) for _, features in data.prefetch(tf.data.AUTOTUNE))


CONTENDERS = {"frame-batch": frames_by_batch, "frame-record": frames_by_record, "video-batch": videos_by_batch}

if __name__ == "__main__":
    name, records, *files = sys.argv[1:]
    measure(name, CONTENDERS[name.removesuffix("-all-cores")], files, int(records))
