"""What pydantic finds wrong, in words that fit into our sentences."""

from dataclasses import dataclass

from pydantic import ValidationError


@dataclass(frozen=True)
class Problem:
    """``value``, at the place ``keys``, is wrong: ``said`` tells how, and ``kind`` is pydantic's name for that."""

    keys: tuple[str | int, ...]
    value: object
    said: str
    kind: str

    @property
    def field(self) -> str:
        """The place as a dotted path; nothing for the whole."""
        return ".".join(map(str, self.keys))

    @property
    def expected(self) -> str:
        """What the field must be, as `ConfigError` says it."""
        if self.kind == "missing":
            return "given"
        if self.kind == "extra_forbidden":
            return "left out: nothing is called that"
        if self.said.startswith("Input should be "):
            return self.said.removeprefix("Input should be ")
        return f"right: {self.said}"


def first_problem(error: ValidationError) -> Problem:
    """The first of what is wrong; ``value`` is None where a field is missing."""
    found = error.errors(include_url=False)[0]
    value = None if found["type"] == "missing" else found["input"]
    return Problem(found["loc"], value, found["msg"].removeprefix("Value error, "), found["type"])
