"""The command line. `--help` answers fast: commands import what they need when they run."""

from dmlray.cli.app import main

__all__ = ["main"]
