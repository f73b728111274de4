"""Copies of a folder's files on a `Remote`: files named by their content, then one list of them, written last.

A file's name there ends with its SHA-256, so nothing is ever overwritten by something else, and whoever reads the list
gets the files that it means or is told that they are damaged. Files that no list names are of no consequence.

A trial's folder passes from process to process. Each has a list of its own, ``copies-<turn>-...``; the highest turn
counts, of one turn the name that sorts first. Who takes the folder up claims it by an empty list, which counts as the
one below it does, and fills it with what that one says. Only who finds its own list first, after it was written,
deletes files. So whatever is read below a claim stays true: a process that was cut off writes a list that nobody reads.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import file_digest
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, NonNegativeInt, ValidationError

from dmlray.atomic import write_text
from dmlray.config import Config
from dmlray.config.problem import first_problem
from dmlray.errors import StorageError, UnavailableError
from dmlray.failpoints import reach
from dmlray.remote import Remote

LIST = "copies.json"  # its name in the folder; there it was the only one, once
_TURNS = re.compile(r"copies(?:-(\d{8})-[0-9a-f]{8})?\.json")
_AT_ONCE = 8  # files that are read: each costs two requests, and waits most of the time
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

    A damaged or missing copy leaves no file of its name behind. Raises StorageError where one cannot be read or
    written, which says nothing of the copy.
    """
    remote = Remote(copies.uri)

    def fetch(name: str) -> str | None:
        path, copy = folder / name, copies.files[name]
        if not wanted(name) or (path.is_file() and copy_of(path) == copy):
            return None
        try:
            found = remote.fetch(copies.place(name), path)
        except StorageError as error:
            if failed_here(error):
                raise
            path.unlink(missing_ok=True)
            return str(error)
        if found != copy.sha256:
            path.unlink(missing_ok=True)
            return f"{remote}/{copies.place(name)} is altered or damaged: its SHA-256 is not the list's"
        return None

    return _problems(copies.files, fetch)


def failed_here(error: StorageError) -> bool:
    """Whether a disk or a mount refused, such as one that is full; else what was to be read is missing or damaged."""
    return isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError)


class FolderCopy:
    """The copy of one folder, kept by one process at a time; the list that it goes by is `LIST` in the folder."""

    def __init__(self, folder: Path, remote: Remote) -> None:
        self.folder, self.remote = folder, remote
        self._own: str | None = None  # this process's list, once it keeps the copy
        self._there: Copies | None = None
        self._looked: dict[str, tuple[tuple[int, ...], Copy]] = {}  # by name: which file it was, what is in it

    def take(self) -> None:
        """Keep the copy from now on, as it is; whoever kept it before can no longer change it. `pull` comes after it.

        Raises UnavailableError where another process takes it in the same moment, otherwise as `Remote` does.
        """
        own = f"copies-{max(map(_turn, _lists(self.remote)), default=0) + 1:08d}-{secrets.token_hex(4)}.json"
        self.remote.put(own, b"")
        lists = _lists(self.remote)
        if lists[:1] != [own]:
            self.remote.delete(own)
            raise UnavailableError(f"{self.remote} is being taken by another process")
        if data := newest_list(self.remote)[1]:
            self.remote.put(own, data)
        for name in lists[1:]:
            self.remote.delete(name)
        self._own = own

    def push(self, left_out: frozenset[str] = frozenset()) -> None:
        """Make the copy what the folder is now, after `take`. Raises as `Remote` does; the copy is then what it was.

        Raises UnavailableError where another process keeps the copy by now.
        """
        assert self._own is not None, "who has not taken the copy does not change it"
        files = {name: self._look(name) for name in self._names() - left_out}
        copies = upload(self.folder, files, self.remote, self._there)
        if copies == self._there:
            return
        reach("before-list", file=LIST)
        text = copies.model_dump_json(indent=1) + "\n"
        self.remote.put(self._own, text.encode())
        write_text(self.folder / LIST, text)
        if _lists(self.remote)[:1] != [self._own]:
            raise UnavailableError(f"another process goes on with {self.remote}: what is written here does not count")
        before, self._there = self._there, copies
        for place in sorted(copies.differing(before)) if before else ():
            self.remote.delete(place)

    def pull(self, wanted: Callable[[str], bool] = lambda name: True) -> list[str]:
        """Make the folder what its copy is, as far as files are ``wanted``; gives a sentence for each damaged one.

        Files that no copy is known of stay. Raises StorageError for a damaged list, which leaves the folder alone.
        """
        _, data = newest_list(self.remote)
        if not data:
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
    remote = Remote(copies.uri)

    def read(name: str) -> str | None:
        try:
            is_good = remote.digest(copies.place(name)) == copies.files[name].sha256
        except StorageError as error:
            return error.problem
        return None if is_good else "is altered or damaged: its SHA-256 is not the list's"

    return {f"{remote}/{copies.place(name)}": problem for name, problem in _problems(copies.files, read).items()}


def _problems(names: Iterable[str], look: Callable[[str], str | None]) -> dict[str, str]:
    """What ``look`` has to say of each of ``names``, in their order, several of them looked at together."""
    with ThreadPoolExecutor(_AT_ONCE, "dmlray-copies") as pool:
        said = list(pool.map(lambda name: (name, look(name)), names))
    return {name: problem for name, problem in said if problem is not None}


def newest_list(remote: Remote) -> tuple[str, bytes]:
    """Name and content of the list that counts at ``remote``; `LIST` and nothing where there is none."""
    while True:
        for name in _lists(remote):
            data = remote.get(name)
            if data is None:
                break  # gone since: a list that counts more has taken its place
            if data:
                return name, data
        else:
            return LIST, b""


def _lists(remote: Remote) -> list[str]:
    """Names of lists and of claims, those that count more first."""
    return sorted(filter(_TURNS.fullmatch, remote.names()), key=lambda name: (-_turn(name), name))


def _turn(name: str) -> int:
    """0 for the only list that there once was."""
    match = _TURNS.fullmatch(name)
    assert match is not None
    return int(match[1] or 0)
