"""What training changes in its process, put back when it ends: torch's thread count and its random generators.

A worker trains trial after trial in one process; the tenth must come out bit for bit as if it had been the first.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Run torch's CPU operators with ``count`` threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from generators seeded with ``seed`` inside the block: the CPU's, and ``device``'s where it is a GPU."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def generator_states(device: torch.device) -> dict[str, torch.Tensor]:
    """Where the generators are: the CPU's, and ``device``'s where it is a GPU."""
    states = {"cpu": torch.get_rng_state()}
    return states | {"gpu": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def set_generators(states: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """Let them go on from ``states``; one that has none there stays as it is."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "gpu" in states:
        torch.cuda.set_rng_state(states["gpu"], device)


def generator_mark(device: torch.device) -> Callable[[], None]:
    """What, when called, makes the generators (the CPU's, and ``device``'s) draw again from where they are now."""
    return partial(set_generators, generator_states(device), device)
