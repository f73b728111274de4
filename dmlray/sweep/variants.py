"""What a configuration model takes: its keys, and for a part with variants the key that tells them apart."""

import difflib
import types
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dmlray.errors import ConfigError


@dataclass(frozen=True)
class Part:
    """A field that holds a model: ``key`` is ``kind`` or ``select``, ``variants`` the model behind each of its values.

    A model without such a key has ``key`` None and stands alone in ``models``.
    """

    models: tuple[type[BaseModel], ...]
    key: str | None
    variants: dict[str, type[BaseModel]]


def part_of(field: FieldInfo) -> Part | None:
    """The part that ``field`` holds; None if it holds a plain value."""
    models = tuple(_models(field.annotation))
    if not models:
        return None
    key = field.discriminator if isinstance(field.discriminator, str) else _literal_field(models[0])
    if key is None:
        return Part(models, None, {})
    return Part(models, key, {str(tag): model for model in models for tag in _tags(model, key)})


def unknown_key(field: str, key: str, allowed: Iterable[str]) -> ConfigError:
    """The error for a key that is not among ``allowed``: lists them, and guesses what was meant."""
    names = sorted(allowed)
    close = difflib.get_close_matches(key, names, n=1)
    guess = f" (did you mean {close[0]}?)" if close else ""
    return ConfigError(field, key, f"one of {', '.join(names) or 'no keys'}{guess}")


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is Annotated:
        return _models(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [model for member in get_args(annotation) for model in _models(member)]
    return []


def _literal_field(model: type[BaseModel]) -> str | None:
    return next((name for name in model.model_fields if _tags(model, name)), None)


def _tags(model: type[BaseModel], key: str) -> tuple[Any, ...]:
    annotation = model.model_fields[key].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()
