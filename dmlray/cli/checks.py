"""What `dmlray doctor` makes of the facts: pure, one finding or more for each thing, and a remedy for what is wrong."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from dmlray.cli.facts import Facts, Outcome, Space

Status = Literal["ok", "warning", "problem"]
CONFIGURATION, UNAVAILABLE = 78, 69  # exit codes of problems

PYTHON = (3, 11)
OPEN_FILES = (1024, 4096)  # below: a problem, a warning; Ray's documentation asks a cluster's head for 65,536
PROCESSES = 4096
GIB = 2**30
DISK = (1 * GIB, 10 * GIB)  # below: a problem, a warning
SHARED = (GIB // 4, GIB)  # Ray's object store takes 512 MiB of it
PORTS = {6379: "Ray's head", 8265: "Ray's dashboard", 10001: "Ray's clients", 5000: "MLflow's page by default"}
_SHOWN = 4  # packages that are named


@dataclass(frozen=True)
class Finding:
    """``found`` says what is, ``remedy`` what to do about it; ``code`` is what a problem ends the command with."""

    check: str
    status: Status
    found: str
    remedy: str = ""
    code: int = CONFIGURATION


def examine(facts: Facts) -> list[Finding]:
    """All findings, in the order in which people read them."""
    return [finding for check in CHECKS for finding in check(facts)]


def exit_code(findings: Sequence[Finding]) -> int:
    """0 without a problem; 69 where all that is wrong is that something does not answer, else 78."""
    codes = {finding.code for finding in findings if finding.status == "problem"}
    return CONFIGURATION if CONFIGURATION in codes else max(codes, default=0)


def check_python(facts: Facts) -> Iterator[Finding]:
    """The interpreter."""
    text = ".".join(map(str, facts.python))
    if facts.python[:2] < PYTHON:
        yield Finding("Python", "problem", text, "make a virtual environment with Python 3.11 or newer")
    else:
        yield Finding("Python", "ok", text)


def check_packages(facts: Facts) -> Iterator[Finding]:
    """Installed versions against dmlray's requirements, then against the locked set."""
    unmet = [text for requirement in facts.requirements if (text := _unmet(Requirement(requirement), facts))]
    again = "pip install -r cluster/requirements.txt, or pip install --upgrade dmlray"
    if unmet:
        yield Finding("packages", "problem", "; ".join(unmet), again)
    elif facts.lock is None:
        yield Finding("packages", "ok", "all requirements are met; there is no locked set to compare with")
    elif others := _unlocked(facts.lock, facts):
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        text = f"not as locked: {', '.join(others[:_SHOWN])}{more}"
        yield Finding("packages", "warning", text, f"to have what was tested: {again.partition(',')[0]}")
    else:
        yield Finding("packages", "ok", "all as locked")


def check_gpus(facts: Facts) -> Iterator[Finding]:
    """The driver, and whether PyTorch can use what it shows."""
    gpus = facts.gpus
    if gpus.error is not None:
        remedy = "install a driver that fits the GPU, or hide it with CUDA_VISIBLE_DEVICES= to train on CPUs"
        yield Finding("GPU", "problem", gpus.error, remedy, UNAVAILABLE)
    elif not gpus.seen:
        yield Finding("GPU", "ok", "none: trials train on CPUs")
    elif gpus.usable < len(gpus.seen):
        build = f"built for CUDA {gpus.cuda}" if gpus.cuda else "built for CPUs"
        found = f"{len(gpus.seen)} x {gpus.seen[0]}, driver {gpus.driver}; PyTorch ({build}) can use {gpus.usable}"
        yield Finding("GPU", "problem", found, "install PyTorch's CUDA build, and a driver as new as its CUDA")
    else:
        found = f"{len(gpus.seen)} x {gpus.seen[0]}, driver {gpus.driver}, CUDA {gpus.cuda}"
        yield Finding("GPU", "ok", found)


def check_spaces(facts: Facts) -> Iterator[Finding]:
    """Room for results and for Ray's object store."""
    if not facts.writable:
        yield Finding("results", "problem", f"{facts.disk.path} cannot be written", "name another with --results")
    yield _room("disk", facts.disk, DISK, "name a larger disk with --results")
    if facts.shared_memory is None:
        yield Finding("shared memory", "warning", "no /dev/shm", "Ray then writes to the disk, which is slow")
    else:
        yield _room("shared memory", facts.shared_memory, SHARED, "in a container: --shm-size=2g")


def check_limits(facts: Facts) -> Iterator[Finding]:
    """Open files and processes."""
    files: Status = (
        "problem" if facts.open_files < OPEN_FILES[0] else "warning" if facts.open_files < OPEN_FILES[1] else "ok"
    )
    yield Finding("open files", files, f"{facts.open_files:,}", "ulimit -n 65536")
    if facts.processes < PROCESSES:
        yield Finding("processes", "warning", f"{facts.processes:,}", f"ulimit -u {PROCESSES}; threads count too")
    else:
        yield Finding("processes", "ok", "enough")


def check_token(facts: Facts) -> Iterator[Finding]:
    """Whoever reaches a Ray without a token runs code on it; a token that others can read is none."""
    mode, token = facts.environment.get("RAY_AUTH_MODE", "").lower(), facts.token
    given = token.exists or "RAY_AUTH_TOKEN" in facts.environment
    generate = "ray get-auth-token --generate, the same file on every node"
    if mode not in ("", "token"):
        yield Finding("Ray's token", "problem", f"RAY_AUTH_MODE={mode}: anyone runs code", "export RAY_AUTH_MODE=token")
    elif token.exists and token.is_exposed:
        found = f"{token.path} has mode {token.mode:04o}: other users can read it"
        yield Finding("Ray's token", "problem", found, f"chmod 600 {token.path}")
    elif not given and facts.environment.get("RAY_ADDRESS"):
        yield Finding("Ray's token", "problem", "none, though RAY_ADDRESS names a cluster", generate)
    elif not given and mode == "token":
        yield Finding("Ray's token", "warning", "none yet; a local Ray makes one, a cluster needs its own", generate)
    else:
        yield Finding("Ray's token", "ok", token.path if token.exists else "given" if given else "made when Ray starts")


def check_exposure(facts: Facts) -> Iterator[Finding]:
    """Ports that others can reach, and addresses that are not encrypted."""
    reached = sorted({port for _, port in facts.listening if port in PORTS})
    for port in reached:
        found = f"port {port} ({PORTS[port]}) takes connections from other machines"
        yield Finding("exposure", "warning", found, "let a firewall close it, or serve on 127.0.0.1 and use ssh -L")
    uri = facts.environment.get("MLFLOW_TRACKING_URI", "")
    parts = urlsplit(uri)
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        found = f"MLFLOW_TRACKING_URI={parts.scheme}://{parts.hostname} is not encrypted"
        yield Finding("exposure", "warning", found, "use https, or an ssh tunnel")
    elif not reached:
        yield Finding("exposure", "ok", "none of Ray's and MLflow's ports is open to others")


def check_tracking(facts: Facts) -> Iterator[Finding]:
    """MLflow's store."""
    remedy = "start it, or name another with --tracking-uri; a sweep runs without, and sends later what it missed"
    yield _tried("tracking", facts.tracking, remedy, UNAVAILABLE)


def check_ray(facts: Facts) -> Iterator[Finding]:
    """What Ray has to give."""
    if facts.ray is not None:
        remedy = "see `ray status` on the head, --address and the token; here, the checks above"
        yield _tried("Ray", facts.ray, remedy, UNAVAILABLE)


def check_data(facts: Facts) -> Iterator[Finding]:
    """The data set that was asked about."""
    for path, outcome in (facts.data or {}).items():
        found = outcome if outcome.text.startswith(path) else Outcome(f"{path}: {outcome.text}", outcome.error)
        yield _tried("data", found, "dmlray convert SOURCE --out DATA makes it, or finishes it")


def check_storage(facts: Facts) -> Iterator[Finding]:
    """The storage path that was asked about."""
    if facts.storage is not None:
        remedy = "make the bucket, or give this machine's role, ~/.aws or environment the right to use it"
        yield _tried("storage path", facts.storage, remedy, UNAVAILABLE)


CHECKS = (
    check_python,
    check_packages,
    check_gpus,
    check_spaces,
    check_limits,
    check_token,
    check_exposure,
    check_tracking,
    check_ray,
    check_data,
    check_storage,
)


def _unmet(requirement: Requirement, facts: Facts) -> str | None:
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return None
    found = facts.installed.get(canonicalize_name(requirement.name))
    if found is None:
        return f"{requirement.name} is missing"
    if requirement.specifier.contains(found, prereleases=True):
        return None
    return f"{requirement.name} {found} is not {requirement.specifier}"


def _unlocked(lock: Mapping[str, str], facts: Facts) -> list[str]:
    return [
        f"{name} {facts.installed[name]} (locked {version})"
        for name, version in sorted(lock.items())
        if name in facts.installed and Version(facts.installed[name]).public != Version(version).public
    ]


def _room(check: str, space: Space, least: tuple[int, int], remedy: str) -> Finding:
    found = f"{space.free / GIB:,.1f} of {space.total / GIB:,.1f} GiB free at {space.path}"
    if space.free < least[0]:
        return Finding(check, "problem", found, remedy)
    if space.free < least[1]:
        return Finding(check, "warning", found, remedy)
    return Finding(check, "ok", found)


def _tried(check: str, outcome: Outcome, remedy: str, code: int = CONFIGURATION) -> Finding:
    if outcome.error:
        return Finding(check, "problem", outcome.text, remedy, code)
    return Finding(check, "ok", outcome.text)
