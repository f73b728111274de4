"""Ray Train's trainer with a process less: each costs a warm slot half a second of CPU to start, and 200 MB."""

from typing import Any

from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks import DatasetsCallback


class SlotTrainer(TorchTrainer):
    """A TorchTrainer without the process that splits data sets, since trials open their own.

    The one that frees a killed slot's resources stays: without it, Ray 2.60 starts workers anew 30 s later, for reasons
    that were not found.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks: list[Any] = super()._create_default_callbacks()  # type: ignore[misc]  # of the older Ray Train
        return [callback for callback in callbacks if not isinstance(callback, DatasetsCallback)]
