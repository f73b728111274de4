"""`dmlray search --replay`: compare strategies on a sweep's recorded curves."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dmlray.errors import ConfigError, DataError
from dmlray.sweep.names import SamplerName, StoppingName

if TYPE_CHECKING:
    from dmlray.sweep.comparison import Comparison, Reach, Spread
    from dmlray.sweep.pool import Pool
    from dmlray.sweep.settings import SweepFolder

MIN_RECORDED = 4


def replay_sweep(
    folder: "SweepFolder",
    sampler: SamplerName | None,
    stopping: StoppingName | None,
    trials: int | None,
    seeds: int,
    slots: int,
    gaps: Sequence[float],
    as_json: bool,
) -> None:
    """Replay the sweep in ``folder`` with each strategy and seed, and print what each of them spent."""
    from contextlib import closing
    from dataclasses import asdict

    from dmlray.cli.options import answer
    from dmlray.sweep.comparison import compare
    from dmlray.sweep.pool import Pool
    from dmlray.sweep.replay import replay, strategies
    from dmlray.sweep.samplers import check_sampler
    from dmlray.sweep.settings import load_settings
    from dmlray.sweep.space import load_space
    from dmlray.sweep.study import Study

    load_settings(folder)
    space = load_space(folder.space)
    if sampler is not None:
        check_sampler(sampler, space)
    with closing(Study.open(folder.study, read_only=True)) as study:
        pool = Pool(space, study.trials())
    if len(pool.curves) < MIN_RECORDED:
        raise DataError(folder.study, f"a replay needs at least {MIN_RECORDED} trials with a curve, it has too few")
    if trials is not None and trials > len(pool.curves):
        raise ConfigError("--trials", trials, f"at most the {len(pool.curves)} recorded trials of {folder.as_typed}")
    count = trials or len(pool.curves) // 2
    rules = [stopping] if stopping else ["none", "asha", "hyperband", "median"]
    compared = strategies(space.stopping, [sampler] if sampler else ["random", "tpe"], rules)
    runs = [(one, [replay(space, pool, one, seed, count, slots) for seed in range(seeds)]) for one in compared]
    comparisons = compare(runs, gaps)
    if as_json:
        head = {"version": 1, "sweep": folder.path.name, "recorded": len(pool.curves), "spread": pool.spread}
        curves = {one.name: [run.points for run in replayed] for one, replayed in runs}
        rows = [asdict(comparison) for comparison in comparisons]
        answer({**head, "trials": count, "seeds": seeds, "slots": slots, "strategies": rows, "curves": curves})
    else:
        _print(comparisons, pool, count, seeds, slots)


def _print(comparisons: "Sequence[Comparison]", pool: "Pool", count: int, seeds: int, slots: int) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    played = f"{count} of {len(pool.curves)} recorded trials, {slots} at once, seeds 0 to {seeds - 1}"
    console.print(f"{played}: medians (least-most)", soft_wrap=True)
    marks = [f"{epochs}" for epochs, _ in comparisons[0].best_within]
    spent = Table(
        "strategy", "epochs", *marks, "best GAP", "off", title="best GAP by epochs spent", box=box.SIMPLE_HEAD
    )
    for row in comparisons:
        within = [f"{gap:.4f}" for _, gap in row.best_within]
        off = f"{row.distance / pool.spread:.2f}" if pool.spread else ""
        spent.add_row(row.strategy, _text(row.epochs), *within, f"{row.best.median:.4f}", off)
    console.print(spent)
    for index, target in enumerate(comparisons[0].reaches):
        what = "to random search's best GAP, seed by seed" if target.gap is None else f"to GAP {target.gap:g}"
        columns = ("strategy", "seeds", "epochs", "hours", "of random's", "of all random's")
        reached = Table(*columns, title=what, box=box.SIMPLE_HEAD)
        for row in comparisons:
            reached.add_row(row.strategy, *_reach(row.reaches[index], seeds))
        console.print(reached)
    console.print("off: how unlike a suggestion its stand-in was; 1 is as unlike as two trials are.", soft_wrap=True)


def _reach(reach: "Reach", seeds: int) -> list[str]:
    figures = [(reach.epochs, 0), (reach.hours, 2), (reach.share, 2), (reach.share_of_all, 2)]
    texts = ["" if value is None else f"{value:.{digits}f}" for value, digits in figures]
    return [f"{reach.reached} of {seeds}", *texts]


def _text(spread: "Spread") -> str:
    if spread.least == spread.most:
        return f"{spread.median:.0f}"
    return f"{spread.median:.0f} ({spread.least:.0f}-{spread.most:.0f})"
