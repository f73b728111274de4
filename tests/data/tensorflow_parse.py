"""TensorFlow's own parse of genuine shards as one .npz, in an interpreter that has it: `python THIS KIND OUT SHARD...`.

Per video, in order: id, labels, and for each feature the values of all videos with their counts.
"""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np
import tensorflow as tf

KINDS = {
    "yt8m-video": ("id", {"mean_rgb": 1024, "mean_audio": 128}),
    "yt8m-frame": ("id", {"rgb": 1024, "audio": 128}),
    "audioset": ("video_id", {"audio_embedding": 128}),
}
kind, out, *shards = sys.argv[1:]
id_name, widths = KINDS[kind]
context = {id_name: tf.io.FixedLenFeature([], tf.string), "labels": tf.io.VarLenFeature(tf.int64)}
lists = {name: tf.io.FixedLenSequenceFeature([], tf.string) for name in widths}
vectors = {name: tf.io.FixedLenFeature([width], tf.float32) for name, width in widths.items()}

ids, labels, label_counts = [], [], []
values = {name: [] for name in widths}
counts = {name: [] for name in widths}
for record in tf.data.TFRecordDataset(shards):
    if kind == "yt8m-video":
        parsed = tf.io.parse_single_example(record, {**context, **vectors})
        features = {name: parsed[name].numpy()[None] for name in widths}
    else:
        parsed, found = tf.io.parse_single_sequence_example(record, context, lists)
        features = {name: tf.io.decode_raw(found[name], tf.uint8).numpy() for name in widths}
    ids.append(parsed[id_name].numpy())
    labels.append(parsed["labels"].values.numpy())
    label_counts.append(len(labels[-1]))
    for name in widths:
        values[name].append(features[name])
        counts[name].append(len(features[name]))

np.savez(
    out,
    ids=np.array(ids),
    labels=np.concatenate(labels),
    label_counts=label_counts,
    **{name: np.concatenate(values[name]) for name in widths},
    **{f"{name}_counts": counts[name] for name in widths},
)
