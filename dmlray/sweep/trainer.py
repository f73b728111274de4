"""Ray Train's trainer with a process less, which would take 200 MB in each slot."""

from typing import Any

from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks import DatasetsCallback


class SlotTrainer(TorchTrainer):
    """A TorchTrainer without the process that splits data sets, since trials open their own.

    The one that frees a killed slot's resources stays: without it, a test with three deaths of workers took 175 s in
    place of 62 s under Ray 2.60, for reasons that were not found.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks: list[Any] = super()._create_default_callbacks()  # type: ignore[misc]  # of the older Ray Train
        return [callback for callback in callbacks if not isinstance(callback, DatasetsCallback)]
