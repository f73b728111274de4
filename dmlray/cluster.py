"""Ray, started on this machine or joined where it already runs."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dmlray.errors import UnavailableError

_OBJECT_STORE_BYTES = 512 * 2**20  # tasks pass file names and reports through it, never features

# Threads that spin for each other make two trials on two cores 4x slower; processes that Ray starts inherit these.
_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "passive",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's future default; without it every start warns
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "RAY_worker_maximum_startup_concurrency": "16",  # a slot is four processes; Ray warns of four times this number
}


@contextmanager
def ray_cluster(address: str | None = None, cpus: int | None = None) -> Iterator[None]:
    """Hold a Ray connection for the block: a new local Ray, or the cluster at ``address`` (or RAY_ADDRESS).

    A connection that exists already is used and left open. ``cpus`` limits a new local Ray; default: all cores.
    Raises UnavailableError when Ray does not answer.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    local: dict[str, Any] = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **({} if address else local))
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"no Ray answers at {address}" if address else "Ray could not be started here"
        token = "; a cluster with token authentication needs its RAY_AUTH_TOKEN" if address else ""
        raise UnavailableError(f"{where}: {str(error).splitlines()[0]}{token}") from error
    try:
        yield
    finally:
        ray.shutdown()


def node_resources() -> list[dict[str, float]]:
    """CPU and GPU counts, and the rest of Ray's resources, of each live node."""
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [dict(node["Resources"]) for node in nodes if node["Alive"]]
