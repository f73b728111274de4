"""What lies at an address, for `dmlray init`: a converted data set or TFRecords, and the commands that search it."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dmlray.data.dataset import SPLITS
from dmlray.data.find_schema import find_schema
from dmlray.data.location import Location, list_files, locate
from dmlray.data.manifest import MANIFEST, SourceFile, read_manifest
from dmlray.data.splits import assign
from dmlray.data.tfrecord import read_records
from dmlray.errors import MissingInputError, UsageError
from dmlray.sweep.proposal import Facts

_BY_NAME = {"train": "train*", "validation": "valid*", "test": "test*"}
_SAMPLE = 500  # records whose mean size tells how many there are


@dataclass(frozen=True)
class Survey:
    """``lines`` say for people what was found; ``commands`` make of it what can be searched."""

    facts: Facts
    lines: tuple[str, ...]
    data: Path
    commands: tuple[str, ...] = ()

    def then(self, space: Path, hours: float | None) -> list[str]:
        """The commands from here to the end of a sweep of ``space``, which lasts ``hours``."""
        search = f"dmlray search {shlex.quote(str(space))}" + (f" --hours {hours:g}" if hours else "")
        return [*self.commands, search + (" --gpus-per-trial 1" if self.facts.has_gpu else "")]


def survey(source: str, results: Path, has_gpu: bool) -> Survey:
    """Look at ``source``. Raises as `data.manifest.read_manifest` and `data.find_schema.find_schema` do."""
    if any((Path(source) / split / MANIFEST).is_file() for split in SPLITS):
        return _converted(Path(source), has_gpu)
    if (Path(source) / MANIFEST).is_file():
        raise MissingInputError(
            source, "folder of train/, validation/ and test/ (it is one of them: name the one above)"
        )
    return _tfrecords(source, results, has_gpu)


def proposed_rules(files: Sequence[SourceFile]) -> list[str]:
    """Rules for `--split` where the names of the files tell; none where folders do, or where nothing does."""
    found = {split: glob for split, glob in _BY_NAME.items() if any(file.name.startswith(glob[:-1]) for file in files)}
    is_flat = all("/" not in file.name for file in files)
    return (
        [f"{split}={glob}" for split, glob in found.items()]
        if is_flat and {"train", "validation"} <= set(found)
        else []
    )


def _converted(folder: Path, has_gpu: bool) -> Survey:
    manifests = {split: read_manifest(folder / split)[0] for split in SPLITS if (folder / split).is_dir()}
    if "validation" not in manifests:
        raise MissingInputError(folder / "validation", f"converted data set ({MANIFEST}), which a sweep needs")
    videos = {split: manifest.videos for split, manifest in manifests.items()}
    facts = Facts(manifests["validation"].contents, videos, has_gpu)
    return Survey(facts, (_line(str(folder), facts), _counts(videos, "")), folder)


def _tfrecords(source: str, results: Path, has_gpu: bool) -> Survey:
    location = locate(source)
    files = list_files(location)
    rules = proposed_rules(files)
    try:
        splits = assign(files, rules)
    except UsageError:
        splits = {"train": files}  # `convert` explains what to do about it
    name = Path(location.only or location.root).name.partition(".")[0] or "data"
    videos = {split: _estimate(location, members) for split, members in splits.items() if members}
    facts = Facts(find_schema(location, files), videos, has_gpu)
    target = results / "data" / name
    options = "".join(f" --split {shlex.quote(rule)}" for rule in rules)
    command = f"dmlray convert {shlex.quote(source)} --out {shlex.quote(str(target))}{options}"
    proposed = "by their folders or names" if rules or any("/" in file.name for file in files) else "by hash, 80/10/10"
    lines = (
        _line(source, facts),
        _counts(videos, "about "),
        f"splits {proposed}; the schema is a guess: dmlray inspect",
    )
    return Survey(facts, lines, target, (command,))


def _line(source: str, facts: Facts) -> str:
    schema = facts.schema
    widths = " and ".join(f"{each.name} {each.width}" for each in schema.modalities)
    return f"{source}, {schema.level}-level, {widths} wide, {schema.classes:,} classes"


def _counts(videos: Mapping[str, int], about: str) -> str:
    return f"{about}{', '.join(f'{count:,} {split}' for split, count in videos.items())} videos"


def _estimate(location: Location, files: Sequence[SourceFile]) -> int:
    """Records in ``files``, by the mean size of the first ones."""
    path = location.path(files[0].name)
    sizes = [len(record.data) + 16 for record in islice(read_records(path, filesystem=location.filesystem), _SAMPLE)]
    return round(sum(file.size for file in files) * len(sizes) / sum(sizes)) if sizes else 0
