"""Fixtures for all tests: one Ray for the whole session, the folder of real shards."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("dmlray", deadline=None)  # torch's first call takes a second
settings.load_profile("dmlray")

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Ray on this machine, started once: a start costs 10 s."""
    from dmlray.cluster import ray_cluster

    with ray_cluster(cpus=2):
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Genuine YouTube-8M and AudioSet shards; absent outside the founders' machines."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"the real shards are not at {REAL_DATA}")
    return REAL_DATA
