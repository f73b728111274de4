"""Reading the sources of a conversion, and keeping the books: every record of every file is counted once."""

from collections import Counter
from collections.abc import Iterator, Sequence

from dmlray.data.location import Location, reached
from dmlray.data.manifest import SourceFile, SourceRecords
from dmlray.data.reader import BadRecord, VideoBlock, read_files
from dmlray.data.schema import Schema


class Intake:
    """Files in order, given out in pieces for one shard each. Memory is bounded by one piece of bad records.

    Without ``keeps_bad`` the first bad record raises DataError.
    """

    def __init__(
        self, location: Location, files: Sequence[SourceFile], schema: Schema, block_videos: int, keeps_bad: bool
    ) -> None:
        self._files = {location.path(file.name): file for file in files}
        self._videos: Counter[str] = Counter()
        self._bad: list[BadRecord] = []
        self._bad_bytes = self._accounted = 0
        self._blocks = read_files(
            list(self._files),
            schema,
            filesystem=location.filesystem,
            block_videos=block_videos,
            on_bad=self._keep if keeps_bad else None,
        )
        self._location = location
        self._ahead = self._next()

    @property
    def is_finished(self) -> bool:
        """Whether everything has been given out."""
        return self._ahead is None

    def take(self, limit: int) -> Iterator[VideoBlock]:
        """The next blocks, until they and the bad records among them reach ``limit`` bytes."""
        taken = 0
        while self._ahead is not None and taken + self._bad_bytes < limit:
            block, paths = self._ahead
            taken += sum(values.nbytes for values in block.features.values())
            self._videos.update(paths)
            if len(block):
                yield block
            self._ahead = self._next()

    def close_books(self) -> tuple[tuple[SourceRecords, ...], list[tuple[str, BadRecord]]]:
        """What was read since the last closing: an account of each file, and (file name, record) of each bad one."""
        bad, lost = Counter(record.path for record in self._bad), Counter[str]()
        for record in self._bad:
            lost[record.path] += record.lost_bytes
        touched = [number for number, path in enumerate(self._files) if path in self._videos or path in bad]
        reached = len(self._files) if self.is_finished else max([self._accounted, *(number + 1 for number in touched)])
        accounts = tuple(
            SourceRecords(
                name=file.name,
                size=file.size,
                records=self._videos[path] + bad[path],
                quarantined=bad[path],
                unreadable_bytes=lost[path],
            )
            for number, (path, file) in enumerate(self._files.items())
            if number in touched or self._accounted <= number < reached
        )
        order = {path: number for number, path in enumerate(self._files)}
        kept = sorted(self._bad, key=lambda record: (order[record.path], record.record))
        self._accounted, self._bad_bytes = reached, 0
        self._videos, self._bad = Counter(), []
        return accounts, [(self._files[record.path].name, record) for record in kept]

    def _next(self) -> tuple[VideoBlock, list[str]] | None:
        with reached(self._location):
            return next(self._blocks, None)

    def _keep(self, record: BadRecord) -> None:
        self._bad.append(record)
        self._bad_bytes += len(record.data)
