"""What resumes a trial, in one safetensors file: tensors, and everything else as JSON in the file's metadata.

Nothing is unpickled, here or anywhere. The same training gives the same file, byte for byte: no clock is in it.
Tensors are named ``model.<name>``, ``optimizer.<parameter index>.<key>``, where the model is an average and so not
what goes on being trained ``trained.<name>``, and where an epoch was left in the middle ``generator.<rank>.<device>``.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer

from dmlray.atomic import atomic_path
from dmlray.config import Config, TrialConfig, in_full
from dmlray.errors import StorageError
from dmlray.failpoints import reach
from dmlray.train.part import Part

_FORMAT = 1
_KEY = "dmlray"  # one metadata key: several would be written in any order
_PICKLES = (b"\x80", b"PK\x03\x04")  # a pickle, and the zip that torch.save writes


class Best(Config):
    """The best epoch so far (from 1), its ``val_gap`` and the metrics that do not depend on the machine."""

    epoch: PositiveInt
    value: float
    metrics: dict[str, float]


class _Part(Config):
    steps: PositiveInt
    videos: PositiveInt
    loss: float


class _Header(Config):
    format: int
    config: dict[str, Any]
    data: str
    epoch: NonNegativeInt
    videos: NonNegativeInt
    best: Best | None
    part: _Part | None = None
    groups: list[dict[str, Any]]
    scalars: dict[int, dict[str, Any]]
    micro_batch: PositiveInt | None = None
    scaler: dict[str, int | float] = Field(default_factory=dict)
    history: list[tuple[NonNegativeInt, float]] = Field(default_factory=list)
    average_steps: NonNegativeInt = 0


@dataclass(frozen=True)
class CheckpointState:
    """A trial after ``epoch`` epochs, ``part`` of the next one, and ``videos`` videos in all. ``data`` is the
    fingerprint of what it is trained on; ``model``, ``optimizer``, ``scaler`` and ``trained`` are state dicts.

    ``model`` is what predicts; ``trained`` what goes on being trained, None where that is the same. ``history`` holds
    the videos seen and the mean training loss by the end of each epoch.
    """

    config: TrialConfig
    data: str
    epoch: int
    videos: int
    best: Best | None  # None: before the first epoch has been finished
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    micro_batch: int | None = None
    scaler: dict[str, int | float] = field(default_factory=dict)
    history: tuple[tuple[int, float], ...] = ()
    trained: dict[str, Tensor] | None = None
    average_steps: int = 0
    part: Part | None = None


def save_checkpoint(path: Path, state: CheckpointState) -> str:
    """Write ``state`` whole or not at all; returns the file's SHA-256 in hex.

    Raises StorageError when the disk refuses.
    """
    tensors = {f"model.{name}": tensor for name, tensor in state.model.items()}
    tensors |= {f"trained.{name}": tensor for name, tensor in (state.trained or {}).items()}
    for rank, generators in enumerate(state.part.generators if state.part else ()):
        tensors |= {f"generator.{rank}.{name}": tensor for name, tensor in generators.items()}
    scalars: dict[int, dict[str, Any]] = {}
    for index, values in state.optimizer["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{key}"] = value
            else:
                scalars.setdefault(index, {})[key] = value
    header = _Header(
        format=_FORMAT,
        config=state.config.model_dump(mode="json"),
        data=state.data,
        epoch=state.epoch,
        videos=state.videos,
        best=state.best,
        groups=state.optimizer["param_groups"],
        scalars=scalars,
        micro_batch=state.micro_batch,
        scaler=state.scaler,
        history=list(state.history),
        average_steps=state.average_steps,
        part=state.part and _Part(steps=state.part.steps, videos=state.part.videos, loss=state.part.loss),
    )
    stored = header.model_dump(mode="json", exclude=None if header.part else {"part"})
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            safetensors.torch.save_file(plain, temporary, {_KEY: json.dumps(stored)})
        except SafetensorError as error:  # no OSError, also where the disk is full
            raise StorageError(path, f"could not be written: {error}") from error
        reach("checkpoint-written", epoch=state.epoch, path=temporary)
        return checkpoint_digest(temporary)


def checkpoint_digest(path: Path) -> str:
    """SHA-256 of the file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def has_trained(path: Path) -> bool:
    """Whether the model of a checkpoint is an average, beside which it holds what goes on being trained.

    Only the file's header is read. Raises StorageError where it is none of a checkpoint.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            return any(name.startswith("trained.") for name in file.keys())  # noqa: SIM118 - it is no mapping
    except (OSError, SafetensorError) as error:
        raise StorageError(path, f"the checkpoint cannot be read: {error}") from error


def load_checkpoint(path: Path, digest: str | None, config: TrialConfig, data: str | None = None) -> CheckpointState:
    """Read what `save_checkpoint` wrote; tensors come on the CPU.

    Raises StorageError, naming the file and the reason, when it is missing, is not a checkpoint of this format, does
    not have the SHA-256 ``digest`` (None: not checked), or belongs to another configuration or other data.
    """
    payload = _read(path)
    found = hashlib.sha256(payload).hexdigest()
    if digest is not None and found != digest:
        raise StorageError(path, f"altered or damaged: SHA-256 {digest[:12]}… was recorded, it has {found[:12]}…")
    tensors, header = _parse(path, payload)
    _check_same(path, header, config, data)
    state: dict[int, dict[str, Any]] = {index: dict(values) for index, values in header.scalars.items()}
    model: dict[str, Tensor] = {}
    trained: dict[str, Tensor] = {}
    generators: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        owner, _, key = name.partition(".")
        if owner == "model":
            model[key] = tensor
        elif owner == "trained":
            trained[key] = tensor
        elif owner == "generator":
            rank, _, device = key.partition(".")
            generators.setdefault(int(rank), {})[device] = tensor
        else:
            index, _, key = key.partition(".")
            state.setdefault(int(index), {})[key] = tensor
    optimizer = {"state": dict(sorted(state.items())), "param_groups": header.groups}
    return CheckpointState(
        config,
        header.data,
        header.epoch,
        header.videos,
        header.best,
        model,
        optimizer,
        header.micro_batch,
        header.scaler,
        tuple(header.history),
        trained or None,
        header.average_steps,
        _part(header.part, generators),
    )


def _part(found: _Part | None, generators: Mapping[int, dict[str, Tensor]]) -> Part | None:
    if found is None:
        return None
    return Part(found.steps, found.videos, found.loss, tuple(generators[rank] for rank in sorted(generators)))


def restore_checkpoint(path: Path, state: CheckpointState, model: nn.Module, optimizer: Optimizer | None) -> None:
    """Put ``state``, read from ``path``, into a new model: to train on with ``optimizer``, or (None) to predict.

    Raises StorageError, naming the file, when it does not fit.
    """
    try:
        if optimizer is None:
            model.load_state_dict(state.model)
        else:
            model.load_state_dict(state.trained or state.model)
            optimizer.load_state_dict(state.optimizer)
    except (RuntimeError, ValueError, KeyError) as error:
        raise StorageError(path, f"does not fit the model: {str(error).splitlines()[0]}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(path, f"the checkpoint cannot be read: {error.strerror}") from error


def _parse(path: Path, payload: bytes) -> tuple[dict[str, Tensor], _Header]:
    try:
        tensors = safetensors.torch.load(payload)
    except (SafetensorError, ValueError) as error:
        if payload.startswith(_PICKLES) and payload[3:8].strip(b"\0"):  # not a header's length, which is below 16 MB
            raise StorageError(path, "a pickle, which is never opened, where a safetensors file should be") from error
        raise StorageError(path, f"truncated, or not a safetensors file ({error})") from error
    size = int.from_bytes(payload[:8], "little")  # safetensors: header's length, header as JSON, tensors
    text = json.loads(payload[8 : 8 + size]).get("__metadata__", {}).get(_KEY)
    if text is None:
        raise StorageError(path, "a safetensors file, but not a checkpoint of dmlray")
    try:
        found = json.loads(text)
        if found.get("format") != _FORMAT:
            raise StorageError(path, f"checkpoint format {found.get('format')!r}, this version reads {_FORMAT}")
        return tensors, _Header.model_validate(found)
    except (ValidationError, ValueError, AttributeError) as error:
        raise StorageError(path, f"its metadata is not a checkpoint's ({str(error).splitlines()[0]})") from error


def _check_same(path: Path, header: _Header, config: TrialConfig, data: str | None) -> None:
    wanted, found = config.model_dump(mode="json"), in_full(header.config)
    differing = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
    if differing:
        key = differing[0]
        problem = f"`{key}` is {found.get(key)} there and {wanted.get(key)} here"
        raise StorageError(path, f"the checkpoint of another configuration: {problem}")
    if data is not None and header.data != data:
        raise StorageError(path, f"the checkpoint of other data ({header.data[:12]}…, not {data[:12]}…)")
