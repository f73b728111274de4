"""Errors that answer the user: one sentence, what was needed, what was found, and the exit code (sysexits.h).

Every constructor argument goes to ``super().__init__``, so that an error crosses Ray's process borders intact.
"""

from pathlib import Path


class DmlrayError(Exception):
    """Anything that dmlray reports in one sentence. ``exit_code`` is what the command line leaves with."""

    exit_code = 70


class UsageError(DmlrayError, ValueError):
    """The command line asks for something that cannot be (exit 2)."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(message)


class DataError(DmlrayError, ValueError):
    """A file holds what it should not (exit 65). ``offset`` is in bytes from the start of the (uncompressed) file."""

    exit_code = 65

    def __init__(self, path: str | Path, problem: str, record: int | None = None, offset: int | None = None) -> None:
        super().__init__(str(path), problem, record, offset)
        self.path, self.problem, self.record, self.offset = str(path), problem, record, offset

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), self.args

    def __str__(self) -> str:
        where = ", ".join(
            f"{word} {value}" for word, value in (("record", self.record), ("byte", self.offset)) if value is not None
        )
        return f"{self.path}{f' ({where})' if where else ''}: {self.problem}"


class MissingInputError(DmlrayError, FileNotFoundError):
    """A path that the user named holds nothing to read (exit 66)."""

    exit_code = 66

    def __init__(self, path: str | Path, expected: str) -> None:
        super().__init__(str(path), expected)
        self.path, self.expected = str(path), expected

    def __str__(self) -> str:
        return f"{self.path}: no {self.expected} here"


class UnavailableError(DmlrayError):
    """Something outside, such as the cluster or the tracking server, does not answer (exit 69)."""

    exit_code = 69

    def __init__(self, message: str) -> None:
        super().__init__(message)


class SweepExistsError(DmlrayError):
    """The name, or the sweep behind it, is taken (exit 73)."""

    exit_code = 73

    def __init__(self, message: str) -> None:
        super().__init__(message)


class BusyError(DmlrayError):
    """Another process holds what this one needs (exit 73)."""

    exit_code = 73

    def __init__(self, message: str) -> None:
        super().__init__(message)


class LeaseLostError(DmlrayError):
    """Another driver has taken the sweep over: this one must not write any more (exit 73)."""

    exit_code = 73

    def __init__(self, message: str) -> None:
        super().__init__(message)


class StorageError(DmlrayError, OSError):
    """What dmlray itself wrote cannot be read back, or cannot be written (exit 74)."""

    exit_code = 74

    def __init__(self, path: str | Path, problem: str) -> None:
        super().__init__(str(path), problem)
        self.path, self.problem = str(path), problem

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class TrainingError(DmlrayError):
    """A trial cannot be trained on. ``reason`` is a word for the study: nan, out_of_memory, timeout, bad_config, data,
    storage.

    ``epoch`` and ``step`` (of that epoch) count from 1 and are None when training had not begun.
    """

    def __init__(self, reason: str, problem: str, epoch: int | None = None, step: int | None = None) -> None:
        super().__init__(reason, problem, epoch, step)
        self.reason, self.problem, self.epoch, self.step = reason, problem, epoch, step

    def __str__(self) -> str:
        where = [f"{word} {value}" for word, value in (("epoch", self.epoch), ("step", self.step)) if value is not None]
        return f"{', '.join(where)}: {self.problem}" if where else self.problem


class InterruptedSweepError(DmlrayError):
    """The work stopped early and can be resumed (exit 75)."""

    exit_code = 75

    def __init__(self, message: str) -> None:
        super().__init__(message)


class ConfigError(DmlrayError, ValueError):
    """A configuration field holds what it must not (exit 78). ``field``: dotted path, with file and line if known."""

    exit_code = 78

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(field, value, expected)
        self.field, self.value, self.expected = field, value, expected

    def __str__(self) -> str:
        return f"{self.field} must be {self.expected}, got {self.value!r}"
