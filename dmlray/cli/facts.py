"""What `dmlray doctor` looks at, as plain data: of this machine, its packages, its addresses and its folders."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from dmlray.remote import Place

_LOCK = "cluster/requirements.txt"  # in a checkout; a wheel has it among its metadata
_LOOK_S = 10.0
_RAY_S = 90.0
_LISTENING = "0A"  # of /proc/net/tcp


@dataclass(frozen=True)
class Gpus:
    """``seen`` by the driver, by name; ``usable`` by PyTorch, built for CUDA ``cuda`` (None: for CPUs)."""

    seen: tuple[str, ...] = ()
    driver: str | None = None
    error: str | None = None  # of a driver that does not answer
    usable: int = 0
    cuda: str | None = None


@dataclass(frozen=True)
class Space:
    """Bytes of a file system, and the ``path`` that was looked at."""

    path: str
    total: int
    free: int


@dataclass(frozen=True)
class Token:
    """Ray's token file; ``is_exposed`` where other users of this machine can read it."""

    path: str
    exists: bool
    mode: int = 0
    is_exposed: bool = False


@dataclass(frozen=True)
class Outcome:
    """What trying something gave: a sentence, and what went wrong if ``error``."""

    text: str
    error: bool = False


@dataclass(frozen=True)
class Facts:
    """Everything that the checks judge. ``ray``, ``data`` and ``storage`` are None where nobody asked for them."""

    python: tuple[int, int, int]
    requirements: Sequence[str]  # as PEP 508 has them
    lock: Mapping[str, str] | None  # package -> version
    installed: Mapping[str, str]
    gpus: Gpus
    disk: Space
    writable: bool
    shared_memory: Space | None
    open_files: int
    processes: int
    environment: Mapping[str, str]
    token: Token
    listening: Sequence[tuple[str, int]]  # (address, port) beyond the loopback ones
    tracking: Outcome
    ray: Outcome | None = None
    data: Mapping[str, Outcome] | None = None
    storage: Outcome | None = None


def gather(
    results: Path,
    tracking_uri: str,
    data: Place | None,
    ray_address: str | None,
    with_ray: bool,
    gpus: float = 0.0,
    storage_path: str | None = None,
) -> Facts:
    """Look at everything, Ray's nodes with trials of ``gpus`` GPUs in mind; nothing is changed (on the storage path a
    file comes and goes), and nothing is waited for longer than ``_LOOK_S`` (Ray: ``_RAY_S``; storage: 25 s).
    """
    from dmlray.cli.probes import data_outcomes, storage_outcome, tracking_outcome

    return Facts(
        python=sys.version_info[:3],
        requirements=metadata.requires("dmlray") or (),
        lock=locked(_lock_text()),
        installed={_key(found.name): found.version for found in metadata.distributions() if found.name},
        gpus=_gpus(),
        disk=_space(_nearest(results)),
        writable=os.access(_nearest(results), os.W_OK | os.X_OK),
        shared_memory=_space(Path("/dev/shm")) if Path("/dev/shm").is_dir() else None,
        open_files=_limit(resource.RLIMIT_NOFILE),
        processes=_limit(resource.RLIMIT_NPROC),
        environment={name: value for name, value in os.environ.items() if name.startswith(("RAY_", "MLFLOW_"))},
        token=_token(Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")),
        listening=tuple(listening(_sockets())),
        tracking=tracking_outcome(tracking_uri, _LOOK_S),
        ray=_ask_ray(ray_address, gpus) if with_ray else None,
        data=None if data is None else data_outcomes(data),
        storage=None if storage_path is None else storage_outcome(storage_path),
    )


def has_gpu() -> bool:
    """Whether there is a GPU here that PyTorch can use."""
    return _gpus().usable > 0


def locked(text: str | None) -> dict[str, str] | None:
    """Versions by package from the lines ``name==version`` of a requirements file."""
    if text is None:
        return None
    pins = (line.split(" #")[0].strip().partition("==") for line in text.splitlines() if not line.startswith("#"))
    return {_key(name): version for name, equals, version in pins if equals}


def listening(tables: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Addresses beyond this machine's own that accept connections, from the texts of /proc/net/tcp and tcp6 (proc(5)).

    ``*`` stands for all addresses.
    """
    for row in (line.split() for table in tables for line in table.splitlines()[1:]):
        address, port = row[1].split(":")
        loopback = (address.endswith("7F") and len(address) == 8) or address == f"{'0' * 24}01000000"
        mapped = address[:24] == f"{'0' * 16}FFFF0000" and address.endswith("7F")
        if row[3] == _LISTENING and not loopback and not mapped:
            yield ("*" if set(address) == {"0"} else address, int(port, 16))


def _lock_text() -> str | None:
    checkout = Path(__file__).parents[2] / _LOCK
    if checkout.is_file():
        return checkout.read_text(encoding="utf-8")
    return metadata.distribution("dmlray").read_text("extra_metadata/requirements.txt")


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()  # PEP 503


def _gpus() -> Gpus:
    if shutil.which("nvidia-smi") is None:
        return Gpus()
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LOOK_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Gpus(error=f"nvidia-smi: {error}")
    rows = [line.rsplit(", ", 1) for line in done.stdout.splitlines() if ", " in line]
    if done.returncode or not rows:
        return Gpus(error=(done.stdout + done.stderr).strip().partition("\n")[0] or "nvidia-smi shows none")
    import torch

    return Gpus(tuple(name for name, _ in rows), rows[0][1], None, torch.cuda.device_count(), torch.version.cuda)


def _nearest(path: Path) -> Path:
    """``path``, or the nearest folder above it that is there."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())


def _space(path: Path) -> Space:
    usage = shutil.disk_usage(path)
    return Space(str(path), usage.total, usage.free)


def _limit(which: int) -> int:
    soft, _ = resource.getrlimit(which)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _token(path: Path) -> Token:
    try:
        mode = path.stat().st_mode & 0o777
        reached = all(folder.stat().st_mode & 0o011 for folder in path.absolute().parents)
    except OSError:
        return Token(str(path), exists=False)
    return Token(str(path), True, mode, bool(mode & 0o077) and reached)


def _sockets() -> list[str]:
    return [path.read_text() for path in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")) if path.is_file()]


def _ask_ray(address: str | None, gpus: float = 0.0) -> Outcome:
    """Start or join Ray in a process of its own, which can be ended when it hangs."""
    command = [sys.executable, "-m", "dmlray.cli.ask_ray", *([address] if address else [])]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        out, err = child.communicate(timeout=_RAY_S)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        return Outcome(f"Ray did not answer within {_RAY_S:.0f} s", error=True)
    if child.returncode:
        return Outcome(err.strip().splitlines()[-1] if err.strip() else "Ray could not be started", error=True)
    return ray_outcome(json.loads(out.splitlines()[-1]), gpus)


def ray_outcome(found: Mapping[str, Any], gpus: float = 0.0) -> Outcome:
    """What `cli.ask_ray` printed, judged for trials of ``gpus`` GPUs."""
    nodes, problems = found["nodes"], list(found["problems"])
    totals = {kind: sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU")}
    if all(node.get("GPU", 0.0) < gpus for node in nodes):
        problems.append(f"no node has {gpus:g} GPUs, which a trial is to have")
    text = f"{len(nodes)} node{'s' * (len(nodes) != 1)} with {totals['CPU']:g} CPUs and {totals['GPU']:g} GPUs in all"
    return Outcome("; ".join([text, *problems]), error=bool(problems))
