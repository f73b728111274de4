"""What each node of a Ray cluster has: versions, and the folders that a sweep needs. Looked at before trials start.

Of nodes that Ray has yet to start nothing is known; what they lack shows when a trial fails there.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmlray.errors import StorageError, UnavailableError

PACKAGES = ("ray", "torch", "numpy", "pyarrow", "pydantic", "safetensors", "optuna")
PATIENCE_S = 25.0
LEAST_BYTES = 200 << 20  # Ray writes its logs, a trial its checkpoints


@dataclass(frozen=True)
class Room:
    """A folder as a node sees it: whether it is there, can be written, and the bytes that are free."""

    exists: bool
    writable: bool
    free: int


@dataclass(frozen=True)
class NodeFacts:
    """A node's ``versions`` by package ("none" where it is missing), and its ``rooms`` by folder."""

    address: str
    versions: Mapping[str, str]
    rooms: Mapping[str, Room]


def check_nodes(written: Sequence[Path], read: Sequence[Path], say: Callable[[str], object]) -> None:
    """Look at every live node of the Ray that is connected; a node that does not answer is told and passed over.

    ``written`` and ``read`` are folders that all nodes must see. Raises UnavailableError for other versions than here,
    or a folder that is not there; StorageError for one that cannot be written or is full.
    """
    folders = [str(folder.absolute()) for folder in (*written, *read)]
    own, others, silent = survey(folders)
    for address in silent:
        say(f"node {address} has not answered within {PATIENCE_S:g} s and was not checked")
    judge(own, others, {str(folder.absolute()) for folder in read})


def judge(own: NodeFacts, others: Sequence[NodeFacts], read: Collection[str] = ()) -> None:
    """Raise what `check_nodes` does, for the first thing that is wrong; folders but those ``read`` need room."""
    for node in others:
        for package, wanted in own.versions.items():
            found = node.versions.get(package, "none")
            if found != wanted:
                same = "install cluster/requirements.txt and the same dmlray on all nodes"
                raise UnavailableError(f"node {node.address} has {package} {found}, here it is {wanted}: {same}")
    for node in (own, *others):
        for folder, room in node.rooms.items():
            if not room.exists:
                remedy = "nodes share the folders of data and results (cluster/README.md)"
                raise UnavailableError(f"node {node.address} has no {folder}: {remedy}")
            if folder not in read and not room.writable:
                raise StorageError(folder, f"cannot be written on node {node.address}")
            if folder not in read and room.free < LEAST_BYTES:
                free = f"{room.free / 2**20:.0f} MiB free on node {node.address}"
                raise StorageError(folder, f"has {free}, which is less than {LEAST_BYTES >> 20}: make room there")


def survey(folders: Sequence[str]) -> tuple[NodeFacts, list[NodeFacts], list[str]]:
    """This node, the other live ones, and the addresses of those that do not answer within 25 s."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = _look()
    here = ray.get_runtime_context().get_node_id()
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    asked = {}
    for node in nodes:
        if node["Alive"] and node["NodeID"] != here:
            place: Any = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)  # Ray's annotation leaves it out
            remote: Any = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=place)(look)
            asked[remote.remote(folders, PACKAGES)] = str(node["NodeManagerAddress"])
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=PATIENCE_S) if asked else ([], [])
    others, silent = [], [address for reference, address in asked.items() if reference not in answered]
    for reference in answered:
        try:
            others.append(_facts(asked[reference], ray.get(reference)))
        except ray.exceptions.RayError:  # the node went away
            silent.append(asked[reference])
    return _facts("here", look(folders, PACKAGES)), others, silent


def _facts(address: str, found: tuple[dict[str, str], dict[str, tuple[bool, bool, int]]]) -> NodeFacts:
    versions, rooms = found
    return NodeFacts(address, versions, {folder: Room(*room) for folder, room in rooms.items()})


def _look() -> Callable[..., Any]:
    """A function that travels by value and needs nothing of ours, since a node may have another dmlray, or none."""

    def look(folders: Sequence[str], packages: Sequence[str]) -> Any:
        import hashlib
        import importlib.util
        import os
        import platform
        import shutil
        import tempfile
        from importlib import metadata
        from pathlib import Path

        def version(package: str) -> str:
            try:
                return metadata.version(package).partition("+")[0]  # a GPU's build is the same version
            except metadata.PackageNotFoundError:
                return "none"

        def code() -> str:
            spec = importlib.util.find_spec("dmlray")
            if spec is None or not spec.submodule_search_locations:
                return "none"
            root = Path(next(iter(spec.submodule_search_locations)))
            digest = hashlib.sha256()
            for path in sorted(root.rglob("*.py")):
                digest.update(f"{path.relative_to(root)} {len(path.read_bytes())} ".encode() + path.read_bytes())
            return digest.hexdigest()[:8]

        def room(folder: str) -> tuple[bool, bool, int]:
            if not Path(folder).is_dir():
                return False, False, 0
            return True, os.access(folder, os.W_OK | os.X_OK), shutil.disk_usage(folder).free

        versions = {"Python": ".".join(platform.python_version_tuple()[:2]), "dmlray's code": code()}
        versions |= {package: version(package) for package in packages}
        return versions, {folder: room(folder) for folder in (*folders, tempfile.gettempdir())}

    return look
