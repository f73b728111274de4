"""What a cluster file lets run: node types, how many of each, and their prices, to plan with before they run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dmlray.errors import ConfigError, MissingInputError


@dataclass(frozen=True)
class NodeType:
    """Up to ``count`` nodes of the same ``resources`` (CPU, GPU), each at ``price`` an hour (None: not in the file)."""

    name: str
    resources: Mapping[str, float]
    count: int = 1
    price: float | None = None


@dataclass(frozen=True)
class ClusterShape:
    """A head, and up to ``max_workers`` nodes out of ``workers``."""

    head: NodeType
    workers: tuple[NodeType, ...]
    max_workers: int

    def nodes(self, gpus: float) -> list[NodeType]:
        """The head and the workers that trials of ``gpus`` GPUs make Ray start, at most; one entry a node.

        Types with GPUs serve trials with GPUs; trials without go to types without, where there are some. Types stand
        for each other in the order of the file: which of them the cloud has is not known before.
        """
        suited = [kind for kind in self.workers if bool(kind.resources.get("GPU")) == bool(gpus)]
        each = [replace(kind, count=1) for kind in suited or self.workers for _ in range(kind.count)]
        return [self.head, *each[: self.max_workers]]


def load_cluster_file(path: Path) -> ClusterShape:
    """Read a file of `ray up`, or manifests with a RayCluster.

    Raises MissingInputError where there is none, ConfigError naming the field for what cannot be planned with.
    """
    import yaml

    try:
        found = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise MissingInputError(path, "cluster file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(str(path), reason, "YAML of plain values") from error
    documents = [document for document in found if isinstance(document, dict)]
    for document in documents:
        if document.get("kind") == "RayCluster":
            return _kuberay(_Reader(path, document))
        if "provider" in document:
            return _launcher(_Reader(path, document))
    raise ConfigError(str(path), [*documents[0]][:5] if documents else None, "a file of `ray up` or a RayCluster")


@dataclass(frozen=True)
class _Reader:
    path: Path
    document: dict[str, Any]

    def at(self, *keys: str | int) -> Any:
        """The value at this place; None where there is none."""
        value: Any = self.document
        for key in keys:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def number(self, *keys: str | int, default: float | None = None) -> float:
        """The number at this place, also in Kubernetes' thousandths (500m). Raises ConfigError for anything else."""
        value = self.at(*keys)
        value = default if value is None else value
        text = str(value)
        try:
            number = float(text[:-1]) / 1000 if text.endswith("m") else float(text)
        except ValueError:
            number = -1.0
        if not 0 <= number < float("inf"):
            field = ".".join(str(key) for key in keys)
            raise ConfigError(f"{self.path}: {field}", value, "a number of at least 0")
        return number


def _launcher(read: _Reader) -> ClusterShape:
    kinds, head = read.at("available_node_types"), read.at("head_node_type")
    if not isinstance(kinds, dict) or head not in kinds:
        expected = "aws or gcp with available_node_types that say what nodes have; plan others with --address"
        raise ConfigError(f"{read.path}: provider.type", read.at("provider", "type"), expected)
    limit = int(read.number("max_workers"))
    types = {name: _node_type(read, name, limit) for name in kinds}
    return ClusterShape(types.pop(head), tuple(types.values()), limit)


def _node_type(read: _Reader, name: str, limit: int) -> NodeType:
    place, price = ("available_node_types", name), ("metadata", "price_per_hour", name)
    resources = {
        "CPU": read.number(*place, "resources", "CPU"),
        "GPU": read.number(*place, "resources", "GPU", default=0),
    }
    count = int(read.number(*place, "max_workers", default=limit))
    return NodeType(name, resources, count, None if read.at(*price) is None else read.number(*price))


def _kuberay(read: _Reader) -> ClusterShape:
    groups = read.at("spec", "workerGroupSpecs") or []
    workers = tuple(_pods(read, "spec", "workerGroupSpecs", place) for place in range(len(groups)))
    return ClusterShape(_pods(read, "spec", "headGroupSpec"), workers, sum(kind.count for kind in workers))


def _pods(read: _Reader, *place: str | int) -> NodeType:
    limits = (*place, "template", "spec", "containers", 0, "resources", "limits")
    cpus = read.number(*limits, "cpu")
    resources = {
        "CPU": read.number(*place, "rayStartParams", "num-cpus", default=cpus),
        "GPU": read.number(*limits, "nvidia.com/gpu", default=0),
    }
    name = str(read.at(*place, "groupName") or "head")
    return NodeType(name, resources, int(read.number(*place, "maxReplicas", default=1)))
