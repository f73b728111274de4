"""Search spaces: a YAML file that mirrors TrialConfig, where every leaf is a fixed value or a range."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PositiveInt, ValidationError

from dmlray.config import Config, TrialConfig
from dmlray.config.problem import first_problem
from dmlray.errors import ConfigError
from dmlray.sweep.configurations import NamedConfiguration, parse_configurations
from dmlray.sweep.json_schema import space_schema
from dmlray.sweep.probes import check_space
from dmlray.sweep.ranges import Fixed, FloatRange, IntRange, Suggester
from dmlray.sweep.retries import RetryConfig
from dmlray.sweep.stopping import StoppingConfig
from dmlray.sweep.tree import Group, leaves, parse_tree
from dmlray.sweep.variants import unknown_key
from dmlray.sweep.yaml_lines import Located, parse_yaml, read_yaml, with_value

_CONTENT = ("space", "configurations")


class _Header(Config):
    """What a space file says beside its ``space`` and ``configurations``, of which the last two speak."""

    description: str = ""
    data: Annotated[str, Field(min_length=1)] | None = None
    trials: PositiveInt | None = None
    stopping: StoppingConfig = StoppingConfig()
    retries: RetryConfig = RetryConfig()
    ensembles: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    published: dict[str, float] = Field(default_factory=dict)


@dataclass(frozen=True)
class Space:
    """A validated search space. ``document`` is the file as plain values, overrides applied: written out, it loads."""

    description: str
    trials: int | None
    stopping: StoppingConfig
    document: Mapping[str, Any]
    root: Group
    configurations: tuple[NamedConfiguration, ...] = ()  # trained first, in this order
    ensembles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # names of configurations, by own name
    published: Mapping[str, float] = field(default_factory=dict)  # GAP of a configuration or an ensemble elsewhere
    retries: RetryConfig = field(default_factory=RetryConfig)
    data: str | None = None  # what it is to be searched on, as --data takes it

    def suggest(self, suggester: Suggester) -> dict[str, Any]:
        """One configuration, as TrialConfig.model_validate accepts it.

        Parameters are asked for in the file's order. Their names are dotted paths that include the branches taken
        (``fusion``, then ``fusion.shared.dim``), the same for the same place every time.
        """
        return self.root.suggest(suggester)

    @property
    def dimensions(self) -> int:
        """How many parameters there are to choose, those of all branches together."""
        return sum(not isinstance(leaf, Fixed) for leaf in leaves(self.root))

    @property
    def max_epochs(self) -> int:
        """The most epochs that a trial of this space may train."""
        leaf = next((leaf for leaf in leaves(self.root) if leaf.keys == ("epochs",)), None)
        if leaf is None:
            return int(TrialConfig.model_fields["epochs"].default)
        if isinstance(leaf, IntRange | FloatRange):
            return int(leaf.high)
        return int(leaf.value if isinstance(leaf, Fixed) else max(leaf.options))

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with the space, and not with its description, data, trials or stopping rule."""
        parts = [self.document.get(key, {}) for key in ("space", "configurations")]
        content = json.dumps(parts if parts[1] else parts[0])
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def load_space(path: Path, overrides: Mapping[str, str] | Sequence[tuple[str, str]] = ()) -> Space:
    """Read a space file, set the ``overrides`` (dotted path -> YAML text, later ones win) and check all of it.

    Raises MissingInputError, or ConfigError whose field holds file and line: also for any value within a range that
    TrialConfig would refuse.
    """
    root = read_yaml(path)
    for dotted, text in dict(overrides).items():
        new = parse_yaml(text, "--set", lines=False, path=dotted)
        root = with_value(root, dotted.split("."), new)
    return parse_space(root)


def json_schema() -> dict[str, Any]:
    """What editors check a space file with, see `sweep.json_schema`."""
    return space_schema(_Header)


def parse_space(root: Located) -> Space:
    """The space that a parsed YAML document describes. Raises ConfigError like ``load_space``."""
    document = root.mapping("a mapping with the key space")
    allowed = [*_Header.model_fields, *_CONTENT]
    for key, child in document.items():
        if key not in allowed:
            raise unknown_key(child.field, key, allowed)
    if "space" not in document or not document["space"].value:
        raise ConfigError(root.field, root.plain(), "a mapping with the key space, and keys of a trial in it")
    header = _header(root)
    tree = parse_tree(document["space"])
    check_space(tree)
    written = document.get("configurations")
    configurations = parse_configurations(written, document["space"]) if written else ()
    names = [configuration.name for configuration in configurations]
    _check_names(root, "ensembles", [name for members in header.ensembles.values() for name in members], names)
    _check_names(root, "published", header.published, [*names, *header.ensembles])
    return Space(
        header.description,
        header.trials,
        header.stopping,
        root.plain(),
        tree,
        configurations,
        header.ensembles,
        header.published,
        header.retries,
        header.data,
    )


def _check_names(root: Located, key: str, names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise unknown_key(root.mapping("a space")[key].field, name, known)


def _header(root: Located) -> _Header:
    written = {key: value for key, value in root.plain().items() if key not in _CONTENT}
    try:
        return _Header.model_validate(written)
    except ValidationError as error:
        found = first_problem(error)
        *_, located = _along(root, found.keys)
        if found.kind == "extra_forbidden":
            known = RetryConfig.model_fields if found.keys[0] == "retries" else StoppingConfig.model_fields
            raise unknown_key(located.field, str(found.keys[-1]), known) from error
        raise ConfigError(located.field, found.value, found.expected) from error


def _along(root: Located, keys: Sequence[str | int]) -> Iterator[Located]:
    yield root
    if keys and isinstance(root.value, dict) and keys[0] in root.value:
        yield from _along(root.value[str(keys[0])], keys[1:])
