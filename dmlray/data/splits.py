"""Which source file belongs to which split: a pure choice from the files' names.

A rule is ``NAME=GLOB`` or ``NAME=GLOB@a-b``. The glob is matched against the name relative to the source folder (``*``
also crosses folders); ``@a-b`` keeps files whose hash lies in [a, b) percent, so ``@0-90`` and ``@90-100`` share them
out. The hash is that of the file's own name, without folders. Without rules, folders named train, validation and test
are the splits; where there are none, files are shared out 80 / 10 / 10 by hash.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from dmlray.data.dataset import SPLITS
from dmlray.data.manifest import SourceFile
from dmlray.errors import UsageError
from dmlray.seeding import share

_RULE = re.compile(r"(?P<split>[^=]*)=(?P<glob>.+?)(@(?P<low>\d+(\.\d+)?)-(?P<high>\d+(\.\d+)?))?")
_HELP = "give each split as --split NAME=GLOB, for example --split 'train=train*' --split 'validation=validate*'"
_BY_HASH = ("train=*@0-80", "validation=*@80-90", "test=*@90-100")


@dataclass(frozen=True)
class SplitRule:
    """Files of ``split``: those that match ``glob`` and whose hash lies in [low, high) percent."""

    split: str
    glob: str
    low: float = 0.0
    high: float = 100.0

    def takes(self, name: str) -> bool:
        """Whether the file of this name belongs to the split."""
        if not fnmatchcase(name, self.glob):
            return False
        return self.low <= 100 * share(name.rpartition("/")[2]) < self.high


def parse_rule(text: str) -> SplitRule:
    """Raises UsageError when ``text`` is no rule."""
    match = _RULE.fullmatch(text)
    if match is None:
        raise UsageError(f"--split must be NAME=GLOB or NAME=GLOB@a-b, got {text!r}")
    if match["split"] not in SPLITS:
        raise UsageError(f"--split {text!r}: the name must be one of {', '.join(SPLITS)}, got {match['split']!r}")
    low, high = float(match["low"] or 0), float(match["high"] or 100)
    if not low < high <= 100:
        raise UsageError(f"--split {text!r}: @a-b must be percents with a < b <= 100, got {low:g} and {high:g}")
    return SplitRule(match["split"], match["glob"], low, high)


def assign(files: Sequence[SourceFile], rules: Sequence[str]) -> dict[str, list[SourceFile]]:
    """The files of each split, sorted by name. Raises UsageError when a split gets none or a file goes to two."""
    chosen = [parse_rule(text) for text in rules] or _default_rules(files)
    found = {split: _take(files, chosen, split) for split in SPLITS if any(rule.split == split for rule in chosen)}
    for rule in chosen:
        if not any(rule.takes(file.name) for file in files):
            share_text = "" if (rule.low, rule.high) == (0, 100) else f"@{rule.low:g}-{rule.high:g}"
            raise UsageError(f"{rule.split}={rule.glob}{share_text} matches none of the {len(files)} files; {_HELP}")
    owner: dict[str, str] = {}
    for split, members in found.items():
        for file in members:
            if owner.setdefault(file.name, split) != split:
                raise UsageError(f"{file.name} goes both to {owner[file.name]} and to {split}; {_HELP}")
    return found


def _take(files: Sequence[SourceFile], rules: Sequence[SplitRule], split: str) -> list[SourceFile]:
    own = [rule for rule in rules if rule.split == split]
    return sorted((file for file in files if any(rule.takes(file.name) for rule in own)), key=lambda file: file.name)


def _default_rules(files: Sequence[SourceFile]) -> list[SplitRule]:
    folders = {file.name.partition("/")[0] for file in files if "/" in file.name}
    splits = [split for split in SPLITS if split in folders]
    if not splits:
        return [parse_rule(text) for text in _BY_HASH]
    for file in files:
        if file.name.partition("/")[0] not in splits or "/" not in file.name:
            raise UsageError(f"{file.name} is in none of the folders {', '.join(splits)}; {_HELP}")
    return [SplitRule(split, f"{split}/*") for split in splits]
