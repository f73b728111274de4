"""How many trials a cluster runs at once: arithmetic over its nodes, so that nothing is asked for that never fits."""

from collections.abc import Mapping, Sequence

from dmlray.errors import ConfigError


def slots_that_fit(nodes: Sequence[Mapping[str, float]], cpus: float, gpus: float, workers: int = 1) -> int:
    """Trials of ``cpus`` CPUs and ``gpus`` GPUs that run at once on ``nodes`` (each a mapping of CPU and GPU counts).

    A trial's ``workers`` share both evenly and may sit on different nodes; a worker never spans two, nor does a
    fraction of a GPU span two GPUs. Raises ConfigError when not one trial fits.
    """
    fitting = sum(workers_on(node, cpus / workers, gpus / workers) for node in nodes)
    slots = fitting // workers
    if slots == 0 and workers > 1:
        raise ConfigError("--workers-per-trial", workers, f"at most the {fitting} workers of such a trial that fit")
    if slots == 0:
        largest_cpus = max((node.get("CPU", 0.0) for node in nodes), default=0.0)
        largest_gpus = max((node.get("GPU", 0.0) for node in nodes), default=0.0)
        if gpus and largest_gpus < gpus:
            raise ConfigError("--gpus-per-trial", gpus, f"at most the {largest_gpus:g} GPUs of the largest node")
        raise ConfigError("--cpus-per-trial", cpus, f"at most the {largest_cpus:g} CPUs of the largest node")
    return slots


def workers_on(node: Mapping[str, float], cpus: float, gpus: float) -> int:
    """Workers of ``cpus`` CPUs and ``gpus`` GPUs that ``node`` holds."""
    by_cpu = int(node.get("CPU", 0.0) / cpus + 1e-9)
    if not gpus:
        return by_cpu
    available = node.get("GPU", 0.0)
    by_gpu = int(available / gpus + 1e-9) if gpus >= 1 else int(available) * int(1 / gpus + 1e-9)
    return min(by_cpu, by_gpu)
