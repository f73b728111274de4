"""Which file goes to which split and shard."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmlray.data.manifest import SourceFile
from dmlray.data.plan import GROUP_FILES, SHARD_BYTES, is_shard_name, pack, plan_conversion
from dmlray.data.splits import assign, parse_rule
from dmlray.errors import UsageError
from tests.data.videos import FRAME


def files(names: Sequence[str], size: int = 1) -> list[SourceFile]:
    return [SourceFile(name=name, size=size) for name in names]


def names(splits: dict[str, list[SourceFile]]) -> dict[str, list[str]]:
    return {split: [file.name for file in members] for split, members in splits.items()}


def test_globs_take_their_files_sorted() -> None:
    sources = files([f"validate{number:04d}.tfrecord" for number in reversed(range(90))])
    found = names(assign(sources, ["test=validate008*", "train=validate00[0-6]*", "validation=validate007*"]))
    assert {split: len(members) for split, members in found.items()} == {"train": 70, "validation": 10, "test": 10}
    assert list(found) == ["train", "validation", "test"]
    assert found["train"] == sorted(found["train"])


def test_percents_share_files_out_by_their_own_names() -> None:
    sources = files([f"train/{number}.tfrecord" for number in range(2000)] + ["eval/--.tfrecord", "eval/-a.tfrecord"])
    found = names(assign(sources, ["train=train/*@0-90", "validation=train/*@90-100", "test=eval/*"]))
    assert found["test"] == ["eval/--.tfrecord", "eval/-a.tfrecord"]
    assert len(found["train"]) + len(found["validation"]) == 2000
    assert 150 < len(found["validation"]) < 250
    moved = files([f"elsewhere/{number}.tfrecord" for number in range(2000)])
    again = names(assign(moved, ["train=*@0-90", "validation=*@90-100"]))["validation"]
    assert [name.split("/")[1] for name in again] == [name.split("/")[1] for name in found["validation"]]


def test_several_rules_for_one_split_add_up() -> None:
    found = names(assign(files(["a.tfrecord", "b.tfrecord", "c.tfrecord"]), ["train=a*", "train=c*"]))
    assert found == {"train": ["a.tfrecord", "c.tfrecord"]}


def test_folders_named_like_splits_are_the_splits() -> None:
    sources = files(["train/a.tfrecord", "validation/x/b.tfrecord", "test/c.tfrecord"])
    assert names(assign(sources, [])) == {
        "train": ["train/a.tfrecord"],
        "validation": ["validation/x/b.tfrecord"],
        "test": ["test/c.tfrecord"],
    }


@pytest.mark.parametrize("stray", ["eval/d.tfrecord", "d.tfrecord"])
def test_refuses_to_forget_a_file_beside_such_folders(stray: str) -> None:
    with pytest.raises(UsageError, match=f"{stray} is in none of the folders train; give each split as --split"):
        assign(files(["train/a.tfrecord", stray]), [])


def test_without_folders_files_are_shared_out() -> None:
    found = names(assign(files([f"{number}.tfrecord" for number in range(1000)]), []))
    assert {split: round(len(members), -2) for split, members in found.items()} == {
        "train": 800,
        "validation": 100,
        "test": 100,
    }


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        (["train"], "must be NAME=GLOB or NAME=GLOB@a-b, got 'train'"),
        (["train="], "must be NAME=GLOB"),
        (["training=*"], "the name must be one of train, validation, test, got 'training'"),
        (["train=*@50-50"], "percents with a < b <= 100, got 50 and 50"),
        (["train=*@50-101"], "got 50 and 101"),
        (["train=a*", "validation=z*"], "validation=z.* matches none of the 2 files; give each split as"),
        (["train=a*@99.9-100"], "train=a.*@99.9-100 matches none"),
        (["train=*", "validation=b*"], "b.tfrecord goes both to train and to validation"),
        ([], "matches none of the 2 files; give each split as --split NAME=GLOB"),
    ],
)
def test_refuses_rules_that_do_not_fit(rules: list[str], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        assign(files(["a.tfrecord", "b.tfrecord"]), rules)


def test_a_rule_may_hold_equal_signs_and_at_signs() -> None:
    rule = parse_rule("train=a=b@c*@0-12.5")
    assert (rule.glob, rule.low, rule.high) == ("a=b@c*", 0, 12.5)


@given(sizes=st.lists(st.integers(0, 2 * SHARD_BYTES), max_size=30))
def test_packing_keeps_order_and_every_file(sizes: list[int]) -> None:
    sources = [SourceFile(name=str(number), size=size) for number, size in enumerate(sizes)]
    groups = pack(sources)
    assert [file for group in groups for file in group] == sources
    for group in groups:
        assert len(group) == 1 or sum(file.size for file in group) <= SHARD_BYTES
    for one, two in pairwise(groups):
        assert sum(file.size for file in one) + two[0].size > SHARD_BYTES


def test_thousands_of_tiny_files_share_a_few_shards() -> None:
    plan = plan_conversion(FRAME, {"train": files([str(number) for number in range(4000)])})
    assert [len(group.files) for group in plan.of_split("train")] == [GROUP_FILES] * 4
    assert [group.name for group in plan.groups][:2] == ["shard-00000", "shard-00001"]


def test_knows_shards_by_name() -> None:
    assert all(map(is_shard_name, ["a.tfrecord", "x/--.tfrecord", "a.tfrecord.gz", "a.tfrecord-00000-of-00002"]))
    assert not any(map(is_shard_name, ["README.md", ".a.tfrecord", "x.tfrecord/notes.txt", "schema.yaml"]))
