"""Sweeps with an ensemble and its package, made once: look, do not touch; `own_package` is to be touched."""

import shutil
from pathlib import Path

import pytest

from dmlray.registry.export import export_package
from dmlray.sweep.settings import SweepFolder
from tests.data.videos import FRAME, VIDEO
from tests.registry.sweeps import FRAME_MODELS, VIDEO_MODELS, sweep_of


@pytest.fixture(scope="session")
def video_sweep(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    """Three linear models of video-level features."""
    return _packaged(sweep_of(tmp_path_factory.mktemp("video_sweep"), VIDEO, VIDEO_MODELS))


@pytest.fixture(scope="session")
def frame_sweep(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    """A linear model of 3 random frames, and a GRU."""
    return _packaged(sweep_of(tmp_path_factory.mktemp("frame_sweep"), FRAME, FRAME_MODELS))


@pytest.fixture
def own_package(video_sweep: SweepFolder, tmp_path: Path) -> Path:
    """A package of video-level models."""
    return Path(shutil.copytree(package_of(video_sweep), tmp_path / "package"))


def package_of(sweep: SweepFolder) -> Path:
    """The package of a sweep's only ensemble."""
    return sweep.ensemble("top5") / "package"


def _packaged(sweep: SweepFolder) -> SweepFolder:
    export_package(sweep, "top5")
    return sweep
