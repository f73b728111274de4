"""Parts predicted by a pool of Ray Data's workers, on any number of nodes; each loads the package once."""

import logging
import pickle
from collections.abc import Iterator
from typing import Any

import ray.data

from dmlray.cluster import node_resources
from dmlray.ensemble.scoring import best_device
from dmlray.errors import DataError, DmlrayError
from dmlray.registry.package import Package, load_package
from dmlray.registry.parts import PartTask, predict_part, scoring_threads
from dmlray.registry.predict import Job, Told


def predict_on_ray(job: Job, workers: int | None, told: Told) -> None:
    """Predict what is left with ``workers`` (None: one for each GPU, else for each node) in the Ray that is connected.

    Raises what a part raises; parts that are done stay. Folders must be the same on all nodes.
    """
    nodes = node_resources()
    gpus, cpus = (sum(int(node.get(kind, 0)) for node in nodes) for kind in ("GPU", "CPU"))
    count = min(workers or gpus or len(nodes), len(job.todo), max(1, cpus))
    threads = max(1, cpus // max(count, len(nodes)))
    sizes = {task.part.number: task.part.size for task in job.todo}
    for row in _rows(job.todo, count, threads, 1 if gpus >= count else 0):
        if row["failure"]:
            raise pickle.loads(row["failure"])
        told(row["videos"], sizes[row["number"]])


def _rows(todo: tuple[PartTask, ...], workers: int, threads: int, gpus: int) -> Iterator[dict[str, Any]]:
    items = [{"task": task.model_dump_json()} for task in todo]
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it tells of every execution on stderr
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.op_resource_reservation_enabled = False  # as in data.convert
    with ray.data.DataContext.current(context):
        worker: Any = PartWorker  # Ray's annotation has no room for classes
        parts = ray.data.from_items(items, override_num_blocks=len(items)).map(
            worker,
            fn_constructor_args=(threads,),
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=threads,
            num_gpus=gpus,
        )
        yield from parts.iter_rows()


class PartWorker:
    """Lives in a worker and keeps the package open from part to part."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._package: Package | None = None

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Predict one part. Our own errors travel as values, as in `data.convert`."""
        task = PartTask.model_validate_json(item["task"])
        videos, failure = 0, b""
        try:
            package = self._open(task)
            videos = predict_part(package, task, scoring_threads(self._threads, package.device))
        except DmlrayError as error:
            failure = pickle.dumps(error)
        return {"number": task.part.number, "videos": videos, "failure": failure}

    def _open(self, task: PartTask) -> Package:
        if self._package is None or self._package.digest != task.digest:
            self._package = load_package(task.package).to(best_device())
            if self._package.digest != task.digest:
                raise DataError(task.package, "was replaced meanwhile: start the prediction again")
        return self._package
