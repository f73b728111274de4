"""The JSON Schema (draft 2020-12) of a space file, for editors: from the models and ranges that `load_space` reads.

It accepts whatever `load_space` accepts. What depends on two values at once (low below high, a step that fits, a
frame count that goes with a selection) it cannot say; `load_space` does.
"""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dmlray.config import TrialConfig
from dmlray.sweep.variants import Part, part_of

Json = dict[str, Any]
_NUMBERS = {"integer", "number"}


def space_schema(header: type[BaseModel]) -> Json:
    """The schema of a whole file; ``header`` is the model of what stands beside ``space`` and ``configurations``."""
    described, parts = header.model_json_schema(), _Parts()
    properties = dict(described["properties"])
    properties["space"] = {"allOf": [parts.group(TrialConfig, ranges=True)], "minProperties": 1}
    row = {"anyOf": [parts.group(TrialConfig, ranges=False), {"type": "null"}]}
    properties["configurations"] = {"type": "object", "additionalProperties": row}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dmlray search space",
        "type": "object",
        "properties": properties,
        "required": ["space"],
        "additionalProperties": False,
        "$defs": {**described.get("$defs", {}), **parts.groups},
    }


class _Parts:
    """Schemas of the models, each kept once in ``groups``."""

    def __init__(self) -> None:
        self.groups: Json = {}

    def group(self, model: type[BaseModel], ranges: bool, needed: str = "", absent: str = "") -> Json:
        """A mapping of the fields of ``model``, with ranges or of plain values alone.

        The key ``needed`` must be there, the key ``absent`` must not.
        """
        name = "".join(
            (model.__name__, "" if ranges else "Values", needed and f"-{needed}", absent and f"-no-{absent}")
        )
        if name not in self.groups:
            self.groups[name] = {}  # a place, so that models stand before their parts
            self.groups[name] = self._group(model, ranges, [needed] if needed else [], absent)
        return {"$ref": f"#/$defs/{name}"}

    def _group(self, model: type[BaseModel], ranges: bool, needed: list[str], absent: str) -> Json:
        plain = model.model_json_schema()["properties"]
        fields = ((name, field) for name, field in model.model_fields.items() if name != absent)
        return {
            "description": " ".join((model.__doc__ or "").partition("\n\n")[0].split()),
            "type": "object",
            "properties": {name: self._field(field, plain[name], ranges) for name, field in fields},
            "required": needed,
            "additionalProperties": False,
        }

    def _field(self, field: FieldInfo, plain: Json, ranges: bool) -> Json:
        part = part_of(field)
        if part is None:
            return self._value(_leaf(plain, ranges))
        forms = list(self._forms(part, ranges))
        if {"type": "null"} in plain.get("anyOf", ()):
            forms.append({"type": "null"})
        return forms[0] if len(forms) == 1 else {"anyOf": forms}

    def _forms(self, part: Part, ranges: bool) -> Iterator[Json]:
        """One of the variants, or with ranges a choice between them."""
        variants = dict.fromkeys(part.models)
        needed = part.key if part.key and ranges and len(variants) > 1 else ""
        yield from (self.group(model, ranges, needed=needed) for model in variants)
        if part.key is not None and ranges:
            yield self._branch(part, part.key)
            if len(variants) > 1:
                yield self._open(part, part.key)

    def _open(self, part: Part, key: str) -> Json:
        """A kind that is chosen where the kinds have fields in common."""
        fields: dict[str, list[Json]] = {}
        for model in dict.fromkeys(part.models):
            plain = model.model_json_schema()["properties"]
            for name, field in model.model_fields.items():
                fields.setdefault(name, []).append(self._field(field, plain[name], ranges=True))
        common = {name: {"anyOf": forms} for name, forms in fields.items() if len(forms) > 1}
        kinds = {"type": "object", "properties": {"choice": _options({"enum": list(part.variants)})}, **_only("choice")}
        return {"type": "object", "properties": {**common, key: kinds}, **_only(key)}

    def _value(self, schema: Json) -> Json:
        """``schema``, kept once for all fields that take the same."""
        known = {json.dumps(kept): name for name, kept in self.groups.items() if name.startswith("value-")}
        name = known.get(json.dumps(schema), f"value-{len(known) + 1}")
        self.groups[name] = schema
        return {"$ref": f"#/$defs/{name}"}

    def _branch(self, part: Part, key: str) -> Json:
        """``choice`` over variants: names alone, or each with the fields that it opens."""
        opened = {
            tag: {"anyOf": [self.group(model, True, absent=key), {"type": "null"}]}
            for tag, model in part.variants.items()
        }
        fields = {"type": "object", "properties": opened, "additionalProperties": False, "minProperties": 1}
        choice = {"anyOf": [_options({"enum": list(part.variants)}), fields]}
        return {"type": "object", "properties": {"choice": choice}, **_only("choice")}


def _leaf(plain: Json, ranges: bool) -> Json:
    """A plain value, or with ranges also a choice, and for numbers a range of them."""
    value = {key: content for key, content in plain.items() if key not in ("default", "title")}
    if not ranges:
        return value
    forms = [value, {"type": "object", "properties": {"choice": _options(value)}, **_only("choice")}]
    for number in _numbers(value):
        forms += [_range("int", number)] + ([_range("float", number)] if number["type"] == "number" else [])
    return {"anyOf": forms}


def _options(value: Json) -> Json:
    return {"type": "array", "items": value, "minItems": 1, "uniqueItems": True}


def _numbers(value: Json) -> list[Json]:
    """The kinds of number that a value may be, with their bounds."""
    return [kind for kind in (value, *value.get("anyOf", ())) if kind.get("type") in _NUMBERS]


def _range(operation: str, number: Json) -> Json:
    bound = {**number, "type": "integer" if operation == "int" else "number"}
    step = {"type": bound["type"], "exclusiveMinimum": 0}
    bounds = {"type": "array", "items": bound, "minItems": 2, "maxItems": 2}
    properties = {operation: bounds, "step": step, "log": {"type": "boolean"}}
    alone = {
        "if": {"properties": {"log": {"const": True}}, "required": ["log"]},
        "then": {"not": {"required": ["step"]}},
    }
    return {"type": "object", "properties": properties, **_only(operation), **alone}


def _only(key: str) -> Json:
    return {"required": [key], "additionalProperties": False}
