"""A worker's share of every batch of an epoch."""

from collections.abc import Generator
from contextlib import closing

from dmlray.data.batch import Batch, Batches
from dmlray.train.distributed import Peers
from dmlray.train.loop import BatchSource


class Shares:
    """As many batches for every worker, each a part of the batch of all; a share may hold no video.

    A source that only ever gives whole batches, such as a stream, is read as a whole by every worker.
    """

    def __init__(self, source: BatchSource, peers: Peers) -> None:
        self._source, self._peers = source, peers

    def epoch(self, epoch: int) -> Generator[Batch, None, None]:
        """This worker's part of each batch."""
        rank, size = self._peers.rank, self._peers.size
        if isinstance(self._source, Batches):
            yield from self._source.epoch(epoch, rank=rank, world_size=size)
            return
        with closing(self._source.epoch(epoch)) as batches:
            for batch in batches:
                yield batch.part(len(batch) * rank // size, len(batch) * (rank + 1) // size)
