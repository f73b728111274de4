"""Work on the videos of a matrix, a span of them at a time, on as many cores as torch may use."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

SPAN_VIDEOS = 512  # also bounds the memory of a matrix that is only mapped

Made = TypeVar("Made")


def in_spans(work: Callable[[slice], Made], videos: int) -> list[Made]:
    """``work`` on each span of ``videos`` rows, in their order; on one span, an empty one, where there are none.

    Threads pay since NumPy lets go of Python's lock. torch's own are of no use here: on a busy machine they wait for
    each other many times in every small chunk.
    """
    spans = [slice(start, min(start + SPAN_VIDEOS, videos)) for start in range(0, max(1, videos), SPAN_VIDEOS)]
    threads = min(torch.get_num_threads(), len(spans))
    if threads == 1:
        return [work(span) for span in spans]
    with ThreadPoolExecutor(threads, thread_name_prefix="metrics") as pool:
        return list(pool.map(work, spans))
