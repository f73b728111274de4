"""A batch in parts, where memory does not hold all of it at once.

Gradients of the parts add up to those of the batch, because every term of the loss is a mean over videos and each part
weighs by its share. What looks at a batch as a whole, such as batch normalisation, would see the parts instead; no
layer here does. Dropout and mixup draw part by part.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch

from dmlray.data.batch import Batch

Result = TypeVar("Result")


@dataclass
class MicroBatch:
    """At most ``size`` videos go through the model at once (None: a whole batch); when memory ends, half as many."""

    size: int | None = None

    def run(
        self, batch: Batch, work: Callable[[Batch], Result], begin: Callable[[], None] = lambda: None
    ) -> list[Result]:
        """``work`` on each part of ``batch``; when memory runs out, again from the first of parts half as large.

        ``begin`` is called each time before the first part, to undo what an attempt has left. Raises
        torch.OutOfMemoryError where one video alone does not fit.
        """
        while True:
            begin()
            try:
                return [work(part) for part in self._parts(batch)]
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                if self._at_once(batch) == 1:
                    raise torch.OutOfMemoryError(str(error)) from error
            self.size = self._at_once(batch) // 2  # outside `except`, whose traceback holds the attempt's tensors
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _at_once(self, batch: Batch) -> int:
        return min(self.size or len(batch), len(batch))

    def _parts(self, batch: Batch) -> Iterator[Batch]:
        step = self._at_once(batch)
        if step == len(batch):
            yield batch
            return
        for first in range(0, len(batch), step):
            yield batch.part(first, first + step)


def _is_out_of_memory(error: RuntimeError) -> bool:
    """PyTorch's own allocator has a class for it; cuBLAS and cuDNN, which take some memory themselves, have a word."""
    return isinstance(error, torch.OutOfMemoryError) or "_ALLOC_FAILED" in str(error)
