"""Contenders one after the other, round by round, so that a busy machine is unfair to all of them alike."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

Figures = dict[str, float]
REPOSITORY = Path(__file__).parents[2]


def run_child(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Figures:
    """Run a contender in a process of its own; the last line that it prints is its figures as JSON."""
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    figures: Figures = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def race(contenders: Mapping[str, Sequence[str]], rounds: int, **environment: str) -> dict[str, Figures]:
    """Medians of each contender's figures over ``rounds`` interleaved rounds (A B C A B C)."""
    found: dict[str, list[Figures]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, command in contenders.items():
            print(f"round {number + 1}: {name}", file=sys.stderr)
            found[name].append(run_child(command, environment))
    return {
        name: {key: statistics.median(figures[key] for figures in runs) for key in runs[0]}
        for name, runs in found.items()
    }


def table(results: Mapping[str, Figures], columns: Mapping[str, str], ratio: str) -> str:
    """A Markdown table: ``columns`` maps keys to headings; the last column is ``ratio`` relative to the first row."""
    first = next(iter(results.values()))
    lines = [f"| | {' | '.join(columns.values())} | relative |", "| --- |" + " ---: |" * (len(columns) + 1)]
    for name, figures in results.items():
        cells = [f"{figures[key]:,.2f}" if figures[key] < 10 else f"{figures[key]:,.0f}" for key in columns]
        lines.append(f"| {name} | {' | '.join(cells)} | {figures[ratio] / first[ratio]:.2f} |")
    return "\n".join(lines)
