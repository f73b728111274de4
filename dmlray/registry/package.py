"""A package opened: its members as models, and dense scores from them."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from dmlray.data.columns import VideoBlock
from dmlray.data.dataset import Dataset
from dmlray.data.gather import VideoStore
from dmlray.data.schema import Schema
from dmlray.data.shards import record_batch
from dmlray.data.window import Window
from dmlray.ensemble.members import build_member
from dmlray.ensemble.precision import restored
from dmlray.ensemble.scoring import MemberModel, MemberScoreError, Scorer
from dmlray.errors import ConfigError, DataError, StorageError
from dmlray.registry.contents import VOCABULARY, PackageContents, PackagedMember, read_contents, read_file

BATCH_VIDEOS = 128


class Package:
    """An ensemble ready to predict. Made by `load_package`."""

    def __init__(
        self, path: Path, contents: PackageContents, digest: str, members: list[MemberModel], names: list[str] | None
    ) -> None:
        self.path, self.contents, self.digest, self.vocabulary = path, contents, digest, names
        self._members, self.device = members, torch.device("cpu")

    @property
    def schema(self) -> Schema:
        """Of the features it reads."""
        return self.contents.contents

    @property
    def parameters(self) -> int:
        """How many numbers the members have learnt, together."""
        return sum(tensor.numel() for member in self._members for tensor in member.model.parameters())

    def to(self, device: torch.device | str) -> "Package":
        """Move the members to ``device``; gives the package itself."""
        self.device = torch.device(device)
        for member in self._members:
            member.model.to(self.device)
        return self

    def scorer(self) -> Scorer:
        """What scores batch by batch on the package's device: one for each thread."""
        return Scorer(self._members, self.schema, self.device)

    def predict(self, videos: Dataset | VideoBlock, batch_size: int = BATCH_VIDEOS) -> NDArray[np.float32]:
        """Scores (N, C) of all ``videos``, in their order: a converted dataset, or videos as a reader gives them.

        Raises DataError where their features are not those of the package's schema, or a member's score is NaN.
        """
        if isinstance(videos, Dataset):
            check_schema(str(videos.path), videos.schema, self.schema)
        store, scorer = (videos if isinstance(videos, Dataset) else as_store(videos, self.schema)), self.scorer()
        scores = np.empty((len(videos), self.schema.classes), np.float32)
        try:
            for first, last in batch_bounds(0, len(videos), batch_size):
                scores[first:last] = scorer.score(store, np.arange(first, last)).cpu().numpy()
        except MemberScoreError as error:
            raise DataError(self.path, str(error)) from error
        return scores


def load_package(path: Path | str) -> Package:
    """Open the package in the folder ``path``; every file's SHA-256 is checked, and nothing is unpickled.

    Raises MissingInputError where there is none, DataError naming the file that is altered, damaged or does not fit.
    """
    folder = Path(path)
    contents, digest = read_contents(folder)
    members = [_member(folder, contents, member) for member in contents.members]
    return Package(folder, contents, digest, members, _vocabulary(folder, contents))


def as_store(block: VideoBlock, schema: Schema, first: int = 0) -> VideoStore:
    """Videos as a reader gives them, numbered from ``first``; frames may be drawn by number."""
    return Window([record_batch(block, schema)], schema, first, np.arange(len(block)))


def batch_bounds(first: int, last: int, batch_size: int) -> Iterator[tuple[int, int]]:
    """First and end of each batch of the videos ``first`` to ``last`` - 1."""
    for start in range(first, last, batch_size):
        yield start, min(start + batch_size, last)


def check_schema(path: str, found: Schema, wanted: Schema) -> None:
    """Raises DataError, naming ``path``, where videos of ``found`` are not what an ensemble of ``wanted`` reads."""
    if found.level != wanted.level:
        raise DataError(path, f"holds {found.level}-level features, the ensemble reads {wanted.level}-level ones")
    if found.classes != wanted.classes:
        raise DataError(path, f"has {found.classes} classes, the ensemble {wanted.classes}")
    shapes = [{m.name: (m.width, m.minimum, m.maximum) for m in schema.modalities} for schema in (found, wanted)]
    for name in shapes[0] | shapes[1]:
        if shapes[0].get(name) != shapes[1].get(name):
            here, there = (_words(shape.get(name)) for shape in shapes)
            raise DataError(path, f"modality {name}: {here} here, {there} where the ensemble was trained")


def _words(shape: tuple[int, float, float] | None) -> str:
    return "none" if shape is None else f"{shape[0]} features of {shape[1]:g} to {shape[2]:g}"


def _member(folder: Path, contents: PackageContents, member: PackagedMember) -> MemberModel:
    path = folder / member.file
    try:
        parameters = restored(safetensors.torch.load(read_file(folder, contents, member.file)))
    except (SafetensorError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(path, f"is not a member's safetensors file ({error})") from error
    try:
        model = build_member(member.config, contents.contents, parameters, path)
    except (StorageError, ConfigError) as error:
        raise DataError(path, getattr(error, "problem", str(error))) from error
    return MemberModel(member.name, member.config, model, member.weight, member.temperature, member.seed)


def _vocabulary(folder: Path, contents: PackageContents) -> list[str] | None:
    if VOCABULARY not in contents.files:
        return None
    names: Mapping[str, object] | list[object] = json.loads(read_file(folder, contents, VOCABULARY))
    if not isinstance(names, list) or len(names) != contents.contents.classes:
        raise DataError(folder / VOCABULARY, f"must be a list of {contents.contents.classes} names, one for each class")
    return [str(name) for name in names]
