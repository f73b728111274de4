"""MLflow as a projection of what dmlray knows: written by one process, again and again, without duplicates."""

from dmlray.tracking.background import BackgroundTracker
from dmlray.tracking.record import DatasetRecord, ModelRecord, RunRecord
from dmlray.tracking.store import default_uri, ui_command
from dmlray.tracking.tracker import Tracker

__all__ = [
    "BackgroundTracker",
    "DatasetRecord",
    "ModelRecord",
    "RunRecord",
    "Tracker",
    "default_uri",
    "ui_command",
]
