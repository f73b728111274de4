"""Copies of a folder's files on a `Remote`: files named by their content, then one list of them, written last.

A file's name there ends with its SHA-256, so nothing is ever overwritten by something else, and whoever reads the list
gets the files that it means or is told that they are damaged. Files that no list names are of no consequence.
"""

import re
from collections.abc import Callable, Mapping
from hashlib import file_digest
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, NonNegativeInt, ValidationError

from dmlray.atomic import write_text
from dmlray.config import Config
from dmlray.config.problem import first_problem
from dmlray.errors import StorageError
from dmlray.failpoints import reach
from dmlray.remote import Remote

LIST = "copies.json"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


def _check_name(name: str) -> str:
    """Whoever can write to the storage must not reach beyond the folder that is filled from it."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a file in the folder")
    return name


class Copy(Config):
    """A file's size in ``bytes`` and its SHA-256 in hex."""

    bytes: NonNegativeInt
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Copies(Config):
    """Files by name, relative to the folder that they were copied from, and the address of their copies."""

    uri: str
    files: dict[Annotated[str, AfterValidator(_check_name)], Copy]

    def place(self, name: str) -> str:
        """The name of a file's copy, relative to ``uri``."""
        return f"{name}.{self.files[name].sha256[:16]}"

    def differing(self, other: "Copies") -> set[str]:
        """Places that ``other`` has and this has not."""
        return {other.place(name) for name in other.files} - {self.place(name) for name in self.files}


def read_list(data: bytes, uri: str) -> Copies:
    """What `Copies.model_dump_json` gave, now found at ``uri``. Raises StorageError when it is something else."""
    try:
        return Copies.model_validate_json(data).model_copy(update={"uri": uri})
    except ValidationError as error:
        raise StorageError(f"{Remote(uri)}", f"holds a damaged list of copies: {first_problem(error).said}") from error


def copy_of(path: Path) -> Copy:
    """Look at a file."""
    with path.open("rb") as file:
        return Copy(bytes=path.stat().st_size, sha256=file_digest(file, "sha256").hexdigest())


def upload(folder: Path, files: Mapping[str, Copy], remote: Remote, there: Copies | None) -> Copies:
    """Copy ``files`` of ``folder``, but for those that ``there`` has already; the list is left to the caller."""
    copies = Copies(uri=remote.uri, files=dict(sorted(files.items())))
    for name, copy in copies.files.items():
        if there is None or there.files.get(name) != copy:
            reach("before-upload", file=name)
            remote.put(copies.place(name), folder / name)
    return copies


def download(copies: Copies, folder: Path, wanted: Callable[[str], bool]) -> dict[str, str]:
    """Bring the ``wanted`` files that ``folder`` lacks or has otherwise; gives a sentence for each that is damaged.

    A damaged or missing copy leaves no file of its name behind.
    """
    remote, problems = Remote(copies.uri), dict[str, str]()
    for name, copy in copies.files.items():
        path = folder / name
        if not wanted(name) or (path.is_file() and copy_of(path) == copy):
            continue
        try:
            found = remote.fetch(copies.place(name), path)
        except StorageError as error:
            problems[name] = str(error)
            path.unlink(missing_ok=True)
            continue
        if found != copy.sha256:
            path.unlink(missing_ok=True)
            problems[name] = f"{remote}/{copies.place(name)} is altered or damaged: its SHA-256 is not the list's"
    return problems


class FolderCopy:
    """The copy of one folder, kept by one process: its list is `LIST`, here and there."""

    def __init__(self, folder: Path, remote: Remote) -> None:
        self.folder, self.remote = folder, remote
        self._there: Copies | None = None
        self._looked: dict[str, tuple[tuple[int, ...], Copy]] = {}  # by name: which file it was, what is in it

    def push(self, left_out: frozenset[str] = frozenset()) -> None:
        """Make the copy what the folder is now. Raises as `Remote` does; the copy is then what it was."""
        files = {name: self._look(name) for name in self._names() - left_out}
        copies = upload(self.folder, files, self.remote, self._there)
        if copies == self._there:
            return
        text = copies.model_dump_json(indent=1) + "\n"
        reach("before-list", file=LIST)
        self.remote.put(LIST, text.encode())
        write_text(self.folder / LIST, text)
        before, self._there = self._there, copies
        for place in sorted(copies.differing(before)) if before else ():
            self.remote.delete(place)

    def pull(self, wanted: Callable[[str], bool] = lambda name: True) -> list[str]:
        """Make the folder what its copy is, as far as files are ``wanted``; gives a sentence for each damaged one.

        Files that no copy is known of stay. Raises StorageError for a damaged list, which leaves the folder alone.
        """
        data = self.remote.get(LIST)
        if data is None:
            return []
        found = read_list(data, self.remote.uri)
        problems = download(found, self.folder, wanted)
        good = {name: copy for name, copy in found.files.items() if name not in problems}
        self._there = found.model_copy(update={"files": good})  # what is damaged is copied again
        write_text(self.folder / LIST, found.model_dump_json(indent=1) + "\n")
        return list(problems.values())

    def _look(self, name: str) -> Copy:
        status = (self.folder / name).stat()
        identity = (status.st_ino, status.st_size, status.st_mtime_ns)
        if name not in self._looked or self._looked[name][0] != identity:
            self._looked[name] = identity, copy_of(self.folder / name)
        return self._looked[name][1]

    def _names(self) -> set[str]:
        found = (path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())
        return {name for name in found if _NAME.fullmatch(name)} - {LIST}


def copied_files(folder: Path) -> Copies | None:
    """The list that a folder came with, or was copied by; None where there is none. Raises StorageError if damaged."""
    path = folder / LIST
    if not path.is_file():
        return None
    try:
        return Copies.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise StorageError(path, "is damaged; remove it, and fetch the sweep again") from error


def bring(folder: Path, sha256: str) -> None:
    """Bring the file of that content into ``folder`` if it is missing there and a copy of it is known."""
    copies = copied_files(folder)
    if copies is None:
        return
    for name, copy in copies.files.items():
        if copy.sha256 == sha256 and not (folder / name).is_file():
            download(copies, folder, name.__eq__)


def check(copies: Copies) -> Mapping[str, str]:
    """Read all copies that a list tells of; gives what is wrong, by place."""
    remote, found = Remote(copies.uri), {}
    for name, copy in copies.files.items():
        place = f"{remote}/{copies.place(name)}"
        try:
            if remote.digest(copies.place(name)) != copy.sha256:
                found[place] = "is altered or damaged: its SHA-256 is not the list's"
        except StorageError as error:
            found[place] = error.problem
    return found
