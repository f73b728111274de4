"""Ray Train's trainer with fewer processes, each of which takes seconds to start and 200 MB to keep."""

import asyncio
from typing import Any

from ray.train import BackendConfig, Result
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer


class SlotTrainer(DataParallelTrainer):
    """Runs Ray Train's controller in this process and not in an actor of its own, with which it lives and dies.

    It also lacks the process that splits data sets, since trials open their own. The one that frees a killed slot's
    resources stays: without it, a test with three deaths of workers took 175 s in place of 62 s under Ray 2.60, for
    reasons that were not found.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks: list[Any] = super()._create_default_callbacks()
        return [callback for callback in callbacks if not isinstance(callback, DatasetsCallback)]

    def _initialize_and_run_controller(self, **parts: Any) -> Result:
        policy: Any = _Unannounced
        controller: Any = TrainController(**parts | {"scaling_policy": policy(self.scaling_config)})
        asyncio.run(controller.run())
        result: Result = controller.get_result()
        return result


class _Unannounced(FixedScalingPolicy):
    """Tells nobody which resources it wants: the autoscaler sees the placement group that waits for them.

    Else the first slot waits until a process has started that shares out CPUs among Ray Train and Ray Data; the tasks
    of `data.stream` need none.
    """

    def after_controller_start(self, train_run_context: Any) -> None:
        """Nothing to ask for."""

    def _maybe_send_resource_request(self) -> None:
        """Nothing to ask for again."""


def backend_for(workers: int, gpus: float) -> BackendConfig:
    """What connects the ``workers``, with ``gpus`` among them: nothing for one alone, which spares this process torch.

    NCCL needs a whole GPU for each; counts and objects go from CPU to CPU.
    """
    if workers == 1:
        return BackendConfig()
    from ray.train.torch import TorchConfig

    return TorchConfig(backend="cpu:gloo,cuda:nccl" if gpus >= workers else "gloo")
