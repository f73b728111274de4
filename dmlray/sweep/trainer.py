"""Ray Train's trainer with fewer processes: each costs a warm slot half a second of CPU to start, and 200 MB."""

from typing import Any

import ray
from ray._private import ray_constants
from ray.experimental import internal_kv
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback


class SlotTrainer(TorchTrainer):
    """A TorchTrainer without the process that splits data sets, since trials open their own.

    The one that frees the resources of a slot that was killed asks Ray's dashboard about it; it is left out where Ray
    has none, since it could do nothing there and would never end.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks: list[Any] = super()._create_default_callbacks()  # type: ignore[misc]  # of the older Ray Train
        unused = DatasetsCallback if _has_dashboard() else (DatasetsCallback, PlacementGroupCleanerCallback)
        return [callback for callback in callbacks if not isinstance(callback, unused)]


def _has_dashboard() -> bool:
    key, namespace = ray_constants.DASHBOARD_ADDRESS.encode(), ray_constants.KV_NAMESPACE_DASHBOARD
    return ray.is_initialized() and bool(internal_kv._internal_kv_get(key, namespace=namespace))
