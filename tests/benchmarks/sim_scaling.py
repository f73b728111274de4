"""Trials an hour from 1 to 256 GPUs, by simulation: slots that train, and one driver that serves them in turn.

    python -m tests.benchmarks.sim_scaling [--report-ms 5.2] [--ask-s 0.093] [--epochs 10]

Each epoch's end is a report that the driver takes ``report`` seconds for; a trial's end also asks for the next trial.
A slot waits until it was served. Epochs last as long as given, give or take a fifth. The two costs are those of
`python -m tests.benchmarks.bench_study` for a study of that size; Ray's own work for an event is not among them.
"""

import argparse
import heapq
import random

GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
EPOCHS_S = (5.0, 20.0, 60.0, 300.0)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report-ms", type=float, default=5.2)
    parser.add_argument("--ask-s", type=float, default=0.093)
    parser.add_argument("--epochs", type=int, default=10)
    given = parser.parse_args()
    report_s = given.report_ms / 1000
    served = 3600 / (given.epochs * report_s + given.ask_s)
    print(f"the driver can serve {served:,.0f} trials an hour\n")
    print("| GPUs | " + " | ".join(f"epochs of {seconds:g} s" for seconds in EPOCHS_S) + " |")
    print("| ---: |" + " ---: |" * len(EPOCHS_S))
    for gpus in GPUS:
        cells = []
        for epoch_s in EPOCHS_S:
            found = trials_per_hour(gpus, epoch_s, given.epochs, report_s, given.ask_s)
            ideal = gpus * 3600 / (given.epochs * epoch_s)
            cells.append(f"{found:,.0f} ({found / ideal:.0%})")
        print(f"| {gpus} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
