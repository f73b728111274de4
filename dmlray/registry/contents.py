"""What is in a package: ``package.json``, written last, with the SHA-256 of every file and of itself.

A package is a folder: ``package.json``, ``members/*.safetensors`` (parameters only), perhaps ``vocabulary.json``, and
``README.md``, the model card, which is for people and read by nothing.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, StringConstraints, ValidationError

from dmlray.config import Config, TrialConfig
from dmlray.config.problem import first_problem
from dmlray.data.schema import Schema
from dmlray.ensemble.precision import Precision
from dmlray.ensemble.report import Figures, Gain
from dmlray.errors import DataError, MissingInputError

CONTENTS = "package.json"
CARD = "README.md"
VOCABULARY = "vocabulary.json"
MEMBERS = "members"
_FILE = r"(members/)?[A-Za-z0-9][A-Za-z0-9_-]*\.(safetensors|json)"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class PackagedMember(Config):
    """A member: trial ``trial`` of ``sweep`` after ``epoch`` epochs, its share, and where its parameters are, stored in
    ``precision``.

    ``gap`` is its own on the selection part; scores are sigmoid(logits / ``temperature``); ``seed`` draws its frames
    where its configuration asks for random ones; ``checkpoint`` is the SHA-256 of the file it was taken from.
    ``is_average`` where the mean of the last epochs' models stood for the last one's (None: packed by a version that
    did not note it), ``is_raw`` where it is what was trained, beside which an average was kept.
    """

    name: str
    sweep: str
    trial: int
    epoch: PositiveInt
    gap: float
    weight: PositiveFloat
    temperature: PositiveFloat = 1.0
    seed: int
    config: TrialConfig
    file: str
    checkpoint: str
    is_average: bool | None = None
    is_raw: bool = False
    precision: Precision = "float32"


class Refit(Config):
    """Members trained anew on ``videos`` videos of training and validation, as those of the ``ensemble`` whose package
    is ``original``. GAP@20 on test (None: there is no test split), with its 95 % interval, and ``test_before``.
    """

    ensemble: str
    original: Sha256
    videos: PositiveInt
    test: float | None
    test_interval: tuple[float, float] | None
    test_before: float | None


class PackageContents(Config):
    """A whole package. ``contents`` is the schema of the features it reads, ``data`` has the fingerprints of the splits
    of its sweep, ``files`` the SHA-256 of each file but the card, by path within the package. With a ``refit``, figures
    are those of the members before it."""

    format: Literal[1] = 1
    dmlray: str
    name: str
    contents: Schema
    data: dict[str, str]
    videos: dict[str, NonNegativeInt]
    members: Annotated[tuple[PackagedMember, ...], Field(min_length=1)]
    figures: dict[str, Figures]
    gain: Gain | None
    summary: str
    refit: Refit | None = None
    files: dict[str, Sha256]


def digest_of(document: Any) -> str:
    """SHA-256 of a package's contents as JSON, and so of every file: the package's identity."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def contents_text(contents: PackageContents) -> str:
    """``package.json``."""
    document = contents.model_dump(mode="json")
    return json.dumps({"sha256": digest_of(document), "package": document}, indent=1) + "\n"


def read_contents(folder: Path) -> tuple[PackageContents, str]:
    """Read and check ``package.json``, not yet the files that it names; gives it with its digest.

    Raises MissingInputError where there is no package, DataError when it is altered, damaged or of another version, or
    names a file outside the package.
    """
    path = folder / CONTENTS
    try:
        document = json.loads(path.read_bytes())
        digest, recorded = digest_of(document["package"]), str(document["sha256"])
        if digest != recorded:
            raise DataError(path, _altered(recorded, digest))
        contents = PackageContents.model_validate(document["package"])
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingInputError(folder, f"package ({CONTENTS})") from error
    except ValidationError as error:
        found = first_problem(error)
        raise DataError(path, f"is of another version ({found.field or 'document'}: {found.said})") from error
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(path, "is not a package's contents as dmlray writes them") from error
    _check(path, contents)
    return contents, digest


def read_file(folder: Path, contents: PackageContents, name: str) -> bytes:
    """A file of the package whose SHA-256 is the recorded one. Raises DataError where it is not, or is missing."""
    path = folder / name
    try:
        payload = path.read_bytes()
    except OSError as error:
        raise DataError(path, f"a file of the package cannot be read: {error.strerror}") from error
    found = hashlib.sha256(payload).hexdigest()
    if found != contents.files[name]:
        raise DataError(path, _altered(contents.files[name], found))
    return payload


def _altered(recorded: str, found: str) -> str:
    return f"altered or damaged: SHA-256 {recorded[:12]}… was recorded, it has {found[:12]}…"


def _check(path: Path, contents: PackageContents) -> None:
    for name in contents.files:
        if not re.fullmatch(_FILE, name):
            raise DataError(path, f"names the file {name!r}, which is not one of a package's own")
    for member in contents.members:
        if member.file not in contents.files:
            raise DataError(path, f"member {member.name} has no file: {member.file!r} is not recorded")
    total = sum(member.weight for member in contents.members)
    if abs(total - 1) > 1e-6:
        raise DataError(path, f"the members' weights must sum to 1, they sum to {total:g}")
