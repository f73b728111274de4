"""Ray, started on this machine or joined where it already runs."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from dmlray.cluster_file import load_cluster_file
from dmlray.cluster_guard import MARK, guarded
from dmlray.cluster_token import check_token
from dmlray.errors import ConfigError, UnavailableError

Value = TypeVar("Value")

_OBJECT_STORE_BYTES = 512 * 2**20  # tasks pass file names and reports through it, never features

# Threads that spin for each other make two trials on two cores 4x slower; processes that Ray starts inherit these.
_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "passive",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's future default; without it every start warns
    "RAY_process_group_cleanup_enabled": "1",  # children that a worker has forked go with it
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # `sweep.lookout` watches, and needs no process of its own
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "SPT_NOENV": "1",  # else the titles of Ray's agents overwrite their environment, and with it the guard's mark
    "RAY_worker_maximum_startup_concurrency": "16",  # a slot is five processes; Ray warns of four times this number
}

# What workers of a cluster need too, which inherit nothing from here: patience with a node that is being started.
_JOINED = _ENVIRONMENT | {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "1800"}
_LAUNCHED_AS = Path("~/ray_bootstrap_config.yaml")  # where `ray up` leaves the cluster's file, on its head
_LAUNCHED_PORT = 6379  # of that head; a Ray started for one command takes any free port


@contextmanager
def ray_cluster(address: str | None = None, cpus: int | None = None, insecure: bool = False) -> Iterator[None]:
    """Hold a Ray connection for the block: a new local Ray, or the cluster at ``address`` (or RAY_ADDRESS).

    A connection that exists already is used and left open. ``cpus`` limits a new local Ray; default: all cores. Its
    processes end with the block or with this process, whatever ends that.
    Raises UnavailableError when Ray does not answer, or answers without a token and is not to be joined as
    ``insecure`` (or DMLRAY_INSECURE=1).
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address == "local":
        options: dict[str, Any] = {"num_cpus": cpus, "include_dashboard": False}
        options["object_store_memory"] = _OBJECT_STORE_BYTES
    else:
        address = check_token(address, insecure or os.environ.get("DMLRAY_INSECURE") == "1")
        options = {"runtime_env": {"env_vars": _JOINED}}
    ours: AbstractContextManager[str | None] = guarded() if address == "local" else nullcontext()
    with ours as mark:
        _connect(address, options, mark)
        try:
            yield
        finally:
            ray.shutdown()


def _connect(address: str, options: dict[str, Any], mark: str | None) -> None:
    """``mark`` goes into the environment of a Ray that is started here, and of all its processes."""
    import ray

    if mark is not None:
        os.environ[MARK] = mark
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # Ray raises that very class where its node does not come up in time, say
        where = "Ray could not be started here" if address == "local" else f"Ray at {address} cannot be joined"
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UnavailableError(f"{where}: {lines[0]}") from error
    finally:
        os.environ.pop(MARK, None)


def run_there(work: Callable[[], Value], cpus: float, gpus: float) -> Value:
    """What ``work`` gives in a process of the Ray that is connected, with so many CPUs and GPUs to itself.

    Waits for a node that has them. Raises what ``work`` raises.
    """
    import ray

    remote: Any = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(lambda: work())
    try:
        given: Value = ray.get(remote.remote())
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise UnavailableError(f"a process on Ray's nodes was lost: {str(error).splitlines()[0]}") from error
    return given


def node_resources() -> list[dict[str, float]]:
    """CPU and GPU counts, and the rest of Ray's resources, of each live node."""
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [dict(node["Resources"]) for node in nodes if node["Alive"]]


def nodes_to_use(gpus: float) -> list[dict[str, float]]:
    """The live nodes; on the head of a cluster that `ray up` made, the nodes that trials of ``gpus`` GPUs may get.

    There Ray starts nodes when trials wait for them, so that before the first trial none may be alive.
    """
    launched = _LAUNCHED_AS.expanduser()
    if launched.is_file() and _is_head_of_launched():
        try:
            return [dict(node.resources) for node in load_cluster_file(launched).nodes(gpus)]
        except ConfigError:  # machines of one's own: what they have is not in the file, and all are alive
            pass
    return node_resources()


def _is_head_of_launched() -> bool:
    import ray

    address: str = ray.get_runtime_context().gcs_address
    return address == f"{ray.util.get_node_ip_address()}:{_LAUNCHED_PORT}"  # type: ignore[no-untyped-call]
