"""A sweep taken up from its storage path: the newest good copy of settings and study, and what trials left there.

``<storage path>/<sweep>/`` holds ``copies/<epoch>-<number>-<token>.json``, each a list of files in ``files/``; the
copies of trials' folders in ``trials/``; and who is at work in ``owners/`` (see `sweep.ownership`). Epoch and token of
a list are the head's; the highest counts, so that an old copy never stands for a newer one.
"""

import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from dmlray.atomic import write_text
from dmlray.config import Config
from dmlray.copies import Copies, FolderCopy, download, read_list
from dmlray.errors import MissingInputError, StorageError, SweepExistsError
from dmlray.remote import Remote
from dmlray.sweep.records import TrialRecord, TrialState
from dmlray.sweep.settings import (
    STUDY_FILE,
    STUDY_POINTER,
    SweepConfig,
    SweepFolder,
    load_settings,
    save_settings,
)
from dmlray.tracking.store import database_of, default_uri

TRIALS = "trials"
COPIES, FILES = "copies", "files"
_ORIGIN = "storage.json"  # in the sweep's folder: which copy it is, or that a head worked there
_NAME = re.compile(rf"{COPIES}/(\d{{8}})-(\d{{8}})-([0-9a-f]+)\.json")
SHIPPED = ("sweep.yaml", "space.yaml", STUDY_FILE, STUDY_POINTER, "live_ensemble.json")

Rank = tuple[int, int, str]


class Origin(Config):
    """``rank`` of the newest copy that a folder holds; ``is_head`` where it holds all that came after it, too."""

    rank: Rank
    is_head: bool


def sweep_remote(storage_path: str, name: str) -> Remote:
    """Where a sweep lies."""
    return Remote(storage_path).below(name)


def newest_copies(remote: Remote) -> list[tuple[Rank, str]]:
    """Rank and name of each list of copies, newest first."""
    found = ((_NAME.fullmatch(name), name) for name in remote.names(COPIES))
    ranked = [((int(match[1]), int(match[2]), match[3]), name) for match, name in found if match]
    return sorted(ranked, reverse=True)


def check_new(remote: Remote) -> None:
    """Try the storage, before anything else begins. Raises SweepExistsError where a sweep of that name lies there."""
    remote.probe()
    if newest_copies(remote):
        name = remote.uri.rstrip("/").rpartition("/")[2].partition("?")[0]
        raise SweepExistsError(
            f"{remote} holds a sweep already: choose another --name, or go on with it by --resume {name} --storage-path"
        )


def fetch_sweep(folder: SweepFolder, remote: Remote, say: Callable[[str], None]) -> None:
    """Fill ``folder`` with the newest good copy of settings and study.

    Raises MissingInputError where there is none, StorageError where all are damaged, SweepExistsError where the folder
    holds what a head wrote that is not this copy's past.
    """
    known = origin_of(folder)
    copies = newest_copies(remote)
    if not copies:
        raise MissingInputError(str(remote), "copy of a sweep")
    newest = copies[0][0]
    if known is not None and (newest == known.rank or (known.is_head and newest[0] <= known.rank[0])):
        return  # this folder is that copy, or is where it came from
    _check_replaceable(folder, known, remote)
    problems: list[str] = []
    for rank, name in copies:
        try:
            found = _fetch(folder, remote, name)
        except StorageError as error:
            found = [str(error)]
        if not found:
            note_origin(folder, Origin(rank=rank, is_head=False))
            _track_here(folder)
            for problem in problems:
                say(f"passed over a newer copy: {problem}")
            return
        problems += found
    raise StorageError(str(remote), f"holds no good copy of the sweep; {problems[0]}")


def _check_replaceable(folder: SweepFolder, known: Origin | None, remote: Remote) -> None:
    if folder.settings.exists() and (known is None or known.is_head):
        raise SweepExistsError(
            f"{folder.path} holds a sweep that another machine has gone on with at {remote}: move it aside, then again"
        )


def _fetch(folder: SweepFolder, remote: Remote, name: str) -> list[str]:
    """What was damaged; the folder is then as it was."""
    copies = read_list(remote.get(name) or b"", remote.below(FILES).uri)
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.path.name}-", dir=folder.path.parent) as scratch:
        problems = download(copies, Path(scratch), lambda name: name in SHIPPED)
        if not problems:
            folder.path.mkdir(exist_ok=True)
            for suffix in ("-wal", "-shm"):  # of the study that is replaced
                Path(f"{folder.path / STUDY_FILE}{suffix}").unlink(missing_ok=True)
            for file in sorted(copies.files.keys() & set(SHIPPED), key=SHIPPED.index, reverse=True):
                (Path(scratch) / file).replace(folder.path / file)  # sweep.yaml last: then it is a whole sweep
        return list(problems.values())


def _track_here(folder: SweepFolder) -> None:
    """MLflow's file was the lost head's: it is made again from the study, beside the sweep."""
    config = load_settings(folder)
    database = database_of(config.tracking_uri)
    if database is not None and not database.parent.is_dir():
        save_settings(folder, config.model_copy(update={"tracking_uri": default_uri(folder.path.parent)}))


def origin_of(folder: SweepFolder) -> Origin | None:
    """None for a folder that has nothing to do with a storage path. Raises StorageError where the note is damaged."""
    path = folder.path / _ORIGIN
    try:
        return Origin.model_validate_json(path.read_bytes()) if path.is_file() else None
    except ValidationError as error:
        raise StorageError(path, "is damaged; move the sweep's folder aside and fetch it again") from error


def note_origin(folder: SweepFolder, origin: Origin) -> None:
    """Keep it in the folder, whole or not at all."""
    write_text(folder.path / _ORIGIN, origin.model_dump_json() + "\n")


def is_head(folder: SweepFolder) -> bool:
    """Whether a head works, or last worked, in this folder: then what runs may be newer here than its copy."""
    origin = origin_of(folder)
    return origin is not None and origin.is_head


def fetch_trial(folder: SweepFolder, config: SweepConfig, number: int, *, checkpoints: bool = False) -> Path:
    """A trial's folder here, with what another node left of it on the storage path; ``checkpoints`` only if wanted.

    Raises StorageError where a copy is damaged.
    """
    path = folder.trial(number)
    if config.storage_path is not None:
        remote = sweep_remote(config.storage_path, config.name).below(f"{TRIALS}/{path.name}")
        problems = FolderCopy(path, remote).pull(lambda name: checkpoints or not name.startswith("checkpoints/"))
        if problems:
            raise StorageError(path, problems[0])
    return path


def fetch_ended(folder: SweepFolder, config: SweepConfig, trials: Sequence[TrialRecord]) -> None:
    """Bring what the ensemble needs of complete trials that other nodes trained."""
    for trial in trials:
        if trial.state is TrialState.complete and not (folder.trial(trial.number) / "predictions.arrow").exists():
            fetch_trial(folder, config, trial.number)


def past_copies(remote: Remote) -> list[tuple[str, Copies]]:
    """The lists of earlier heads, oldest first; a damaged one has no files."""
    files = remote.below(FILES).uri
    found = []
    for _, name in reversed(newest_copies(remote)):
        try:
            copies = read_list(remote.get(name) or b"", files)
        except StorageError:
            copies = Copies(uri=files, files={})
        found.append((name, copies))
    return found
