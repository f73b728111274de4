"""Fixtures of the tests that start Ray heads."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short() -> Iterator[Path]:
    """A home without a token, of a name short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="dr", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
