"""Trials without Ray: one worker process forked beforehand, the real channel and worker function over a pipe.

It stands in for `sweep.tuner.run_trials` where a row is about the driver, its store or its trials: a run takes a
second instead of thirty. Rows about processes run on Ray.
"""

import asyncio
import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import torch

from dmlray.sweep.slot import SlotSettings
from dmlray.sweep.tuner import Director
from dmlray.train import worker
from dmlray.train.channel import Channel, TrialEnd

SPARES = 8  # workers that may die in a run
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG
Runner = Callable[..., Any]


class Hands:
    """Workers forked while the process has one thread only; ``run_trials`` has the signature of the real one."""

    def __init__(self) -> None:
        fork = multiprocessing.get_context("fork")
        self._workers: list[Connection] = []
        for _ in range(SPARES):
            ours, theirs = fork.Pipe()
            fork.Process(target=_serve, args=(theirs, os.getpid()), daemon=True).start()
            theirs.close()
            self._workers.append(ours)

    def run_trials(self, director: Director, slot: SlotSettings, concurrency: int) -> None:
        channel, loop = Channel(), asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()

        def call(coroutine: Coroutine[Any, Any, Any]) -> Any:
            return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

        threading.Thread(target=self._relay, args=(channel, slot.runner, call), daemon=True).start()
        while not director.wants_to_stop() and (task := director.next_task()) is not None:
            call(channel.assign(task))
            while self._step(director, channel, call):
                pass
        call(channel.close())

    def _step(self, director: Director, channel: Channel, call: Callable[..., Any]) -> bool:
        """True while the trial goes on; as `Slot.step` and Tune's loop do."""
        call(channel.go_on())
        event = None
        while event is None:
            if director.wants_to_stop():
                return False
            event = call(channel.next_event(0.1))
        return director.on_event(event) and not director.wants_to_stop() and not isinstance(event.what, TrialEnd)

    def _relay(self, channel: Channel, runner: Runner, call: Callable[..., Any]) -> None:
        for connection in self._workers:  # the next one once this one has died
            try:
                connection.send(runner)
                while True:
                    name, arguments = connection.recv()
                    connection.send(call(getattr(channel, name)(*arguments)))
            except (EOFError, BrokenPipeError, ConnectionResetError):
                continue


def _serve(connection: Connection, parent: int) -> None:
    ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # a Ray worker's tracebacks are not on the driver's stderr either
    context = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 1)
    train = SimpleNamespace(torch=SimpleNamespace(get_device=lambda: torch.device("cpu")), get_context=lambda: context)
    here = SimpleNamespace(get_node_id=lambda: "here", current_actor=None)
    worker.ray = SimpleNamespace(get=lambda value: value, train=train, get_runtime_context=lambda: here)
    worker._listen = lambda channel: threading.Event()  # nobody takes a machine away from a pipe
    worker.serve_trials({"runner": connection.recv(), "channel": _Remote(connection)})


class _Remote:
    """A channel as Ray shows an actor, at the other end of a pipe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        def remote(*arguments: Any) -> Any:
            self._connection.send((name, arguments))
            return self._connection.recv()

        return SimpleNamespace(remote=remote)
