"""Distributed hyperparameter and ensemble search for multimodal video classification.

The names that a notebook needs are those of `dmlray.api`, imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dmlray.api import Ensemble, Sweep, load_ensemble, load_sweep, read_tfrecords, select_ensemble

__version__ = "0.1.0"
__all__ = ["Ensemble", "Sweep", "__version__", "load_ensemble", "load_sweep", "read_tfrecords", "select_ensemble"]


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(import_module("dmlray.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
