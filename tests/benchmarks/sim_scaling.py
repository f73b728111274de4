"""Trials an hour from 1 to 256 GPUs, by simulation: slots that read and train, and one driver that serves them in turn.

    python -m tests.benchmarks.sim_scaling [--report-ms 5.2] [--ask-s 0.093] [--epochs 10] [--gpu-videos 1000]
    python -m tests.benchmarks.sim_scaling --gpu-videos 8242 15691 --node-gbit 100

Each epoch's end is a report that the driver takes ``report`` seconds for; a trial's end also asks for the next trial.
A slot waits until it was served. Epochs last as long as given, give or take a fifth. The two costs are those of
`python -m tests.benchmarks.bench_study` for a study of that size; Ray's own work for an event is not among them.

A GPU that trains on so many videos a second asks for their bytes; what it gets is the least of what one process can
read, its node's share of disk or network, and its share of what all nodes have together (`planes`). Nothing of that is
reserved or queued for: shares are equal, all GPUs train at once, data do not fit into a node's memory.
"""

import argparse
import heapq
import random
from dataclasses import dataclass
from math import inf

GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
EPOCHS_S = (5.0, 20.0, 60.0, 300.0)
MIB, GIB = 2**20, 2**30


@dataclass(frozen=True)
class Plane:
    """Where videos come from: bytes a second that one process reads, that a node gets, that all nodes get together."""

    name: str
    process: float
    node: float = inf
    shared: float = inf

    def rate(self, wanted: float, gpus: int, gpus_per_node: int) -> float:
        """Bytes a second that each of ``gpus`` GPUs gets which ask for ``wanted``."""
        together = min(gpus, gpus_per_node)  # on the fullest node
        return min(wanted, self.process, self.node / together, self.shared / gpus)

    def bends_at(self, wanted: float, gpus_per_node: int) -> int | None:
        """With how many GPUs they begin to get less than they ask for; None where 256 do not."""
        return next((gpus for gpus in range(1, GPUS[-1] + 1) if self.rate(wanted, gpus, gpus_per_node) < wanted), None)


def planes(given: argparse.Namespace) -> list[Plane]:
    """Measured rates of a process, and what AWS promises of g6.2xlarge, gp3 and EFS, as options."""
    mapped, network = given.map_mb * 1e6, given.node_gbit * 1e9 / 8
    return [
        Plane("map, in memory", mapped),
        Plane("map, gp3 disk", mapped, node=given.disk_mib * MIB),
        Plane("map, EFS", mapped, node=min(network, given.efs_node_mib * MIB), shared=given.efs_gib * GIB),
        Plane("stream, S3", given.stream_mb * 1e6, node=network),
    ]


def trials_per_hour(slots: int, epoch_s: float, epochs: int, report_s: float, ask_s: float) -> float:
    """Trials that end in an hour, counted over 40 trials' lengths after the first 10; a slot trains one at a time."""
    luck = random.Random(slots)
    start, end = 10 * epochs * epoch_s, 50 * epochs * epoch_s
    ends = [(luck.uniform(0, epoch_s), slot) for slot in range(slots)]  # of epochs
    heapq.heapify(ends)
    left = [luck.randint(1, epochs) for _ in range(slots)]  # epochs of the trial under way
    free_at, finished = 0.0, 0  # when the driver has served everybody so far
    while ends[0][0] < end:
        now, slot = heapq.heappop(ends)
        left[slot] -= 1
        free_at = max(free_at, now) + report_s + (0.0 if left[slot] else ask_s)
        if not left[slot]:
            left[slot] = epochs
            finished += start < free_at <= end
        heapq.heappush(ends, (free_at + epoch_s * luck.uniform(0.8, 1.2), slot))
    return finished / (end - start) * 3600


def cell(gpus: int, epoch_s: float, ideal_s: float, given: argparse.Namespace) -> str:
    """Trials an hour, and the share of what as many GPUs would do whose epochs took ``ideal_s`` with no driver."""
    found = trials_per_hour(gpus, epoch_s, given.epochs, given.report_ms / 1000, given.ask_s)
    return f"{found:,.0f} ({found * given.epochs * ideal_s / gpus / 3600:.0%})"


def table(first: str, columns: list[str], rows: list[list[str]]) -> None:
    print(f"| {first} | " + " | ".join(columns) + " |")
    print("| ---: |" + " ---: |" * len(columns))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report-ms", type=float, default=5.2)
    parser.add_argument("--ask-s", type=float, default=0.093)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--videos", type=int, default=49_000, help="of an epoch: a hundredth of YouTube-8M")
    parser.add_argument("--video-kb", type=float, default=273, help="237 frames, as in bench_models")
    parser.add_argument("--gpu-videos", type=float, nargs="+", default=[1000.0], help="a second, of one GPU")
    parser.add_argument("--gpus-per-node", type=int, default=1)
    parser.add_argument("--map-mb", type=float, default=4000, help="a second and process: bench_models on an H200")
    parser.add_argument("--stream-mb", type=float, default=500, help="a second and process: bench_stream, 2 cores")
    parser.add_argument("--node-gbit", type=float, default=5, help="network of g6.2xlarge, lasting; 100: p5.4xlarge")
    parser.add_argument("--disk-mib", type=float, default=125, help="a second: gp3 as gpu.yaml has it")
    parser.add_argument("--efs-node-mib", type=float, default=1500, help="EFS elastic, a client (AWS, 2025)")
    parser.add_argument(
        "--efs-gib", type=float, default=3, help="EFS elastic, reads of a file system, 3 to 20 by region"
    )
    given = parser.parse_args()
    served = 3600 / (given.epochs * given.report_ms / 1000 + given.ask_s)
    print(f"the driver can serve {served:,.0f} trials an hour\n")
    columns = [f"epochs of {seconds:g} s" for seconds in EPOCHS_S]
    table("GPUs", columns, [[str(gpus), *(cell(gpus, each, each, given) for each in EPOCHS_S)] for gpus in GPUS])
    for videos in given.gpu_videos:
        wanted, ideal_s = videos * given.video_kb * 1e3, given.videos / videos
        print(f"GPUs that train on {videos:,.0f} videos and ask for {wanted / 1e6:,.0f} MB a second each:\n")
        found = planes(given)
        rates = {gpus: [plane.rate(wanted, gpus, given.gpus_per_node) for plane in found] for gpus in GPUS}
        rows = [
            [str(gpus), *(cell(gpus, ideal_s * wanted / rate, ideal_s, given) for rate in rates[gpus])] for gpus in GPUS
        ]
        bends = [plane.bends_at(wanted, given.gpus_per_node) for plane in found]
        table(
            "GPUs",
            [plane.name for plane in found],
            [*rows, ["too slow from", *("never" if each is None else str(each) for each in bends)]],
        )


if __name__ == "__main__":
    main()
