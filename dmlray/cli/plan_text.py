"""What `dmlray plan` prints for people."""

from typing import Any

from dmlray.sweep.calibrate import Calibration
from dmlray.sweep.plan import Plan, Recorded
from dmlray.sweep.settings import Resources
from dmlray.sweep.summary import span


def print_plan(
    made: Plan, resources: Resources, known: Recorded | None, storage: tuple[float, float], source: str
) -> None:
    """A line for each thing, then what is to be known beside; ``storage`` in bytes, times from ``source``."""
    nodes = ", ".join(f"{count} {name}" for name, count in made.nodes.items())
    rows: list[tuple[str, Any]] = [
        ("trials", f"{made.trials}, {made.at_once} at once"),
        ("nodes", nodes),
        ("CPUs left to data", f"{made.cpus_left:g} on a full node"),
        ("storage", f"{size(storage[0])} expected, {size(storage[1])} if every model were as large as the largest"),
    ]
    if known is None or made.hours is None:
        told = "unknown: try a few trials (search --trials 4), then give that sweep as --from NAME; or try --calibrate"
        rows.append(("time", told))
    else:
        least, most = (span(hours * 3600) for hours in made.hours)
        one = f"{span(known.mean_s)} a trial, {span(known.longest_s)} at most, by {known.trials} {source}"
        rows.append(("time", f"{least} to {most} ({one}; without the start of nodes)"))
        if resources.gpus_per_trial:
            rows.append(("GPU-hours", f"{made.gpu_hours:,.1f} of training"))
        cost = "unknown: give --price-per-hour" if made.cost is None else f"{made.cost[0]:,.2f} to {made.cost[1]:,.2f}"
        rows.append(("cost", cost))
    for word, text in rows:
        print(f"{word:<18} {text}")
    for sentence in made.notes:
        print(f"note: {sentence}")


def print_calibration(timed: Calibration, workers: int) -> None:
    """The cheapest, the middle and the dearest point that were timed, and what that leaves open."""
    for kind, one in timed.examples().items():
        text = f"{one.train_s * 1e3:.3g} ms a video and epoch, {one.epochs} epochs: {one.model}"
        print(f"{f'{kind} point':<18} {text}")
    for refusal in timed.refusals:
        print(f"note: cannot be trained here: {refusal}")
    left = timed.points - len(timed.timings) - len(timed.refusals)
    if left:
        print(f"note: {left} of {timed.points} points were not reached in the time")
    if workers > 1:
        print(f"note: one worker was timed; {workers} are supposed to be {workers} times as fast")
    print(
        "note: points were timed one after another; trials that run beside each other, or stop early, take other times"
    )


def size(count: float) -> str:
    """Bytes for people."""
    return f"{count / 1e9:,.2f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"
