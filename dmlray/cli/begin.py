"""From what `dmlray search` was asked for to the sweep: a new one, one that goes on, or a replay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dmlray.cli.console import note
from dmlray.cli.options import TrialCount, parse_override
from dmlray.errors import UsageError
from dmlray.sweep.names import SamplerName, StoppingName

if TYPE_CHECKING:
    from dmlray.sweep.settings import SweepFolder, WarmStart
    from dmlray.sweep.space import Space
    from dmlray.sweep.warm_start import Observation


@dataclass(frozen=True)
class Anew:
    """What only a sweep that begins can be asked: it is settled from then on."""

    data: str | None
    stream: str | None
    space: Path | None
    name: str | None
    seed: int | None
    sampler: SamplerName | None
    is_grid: bool
    stopping: StoppingName | None
    source: str | None
    overrides: Sequence[str]
    storage: str | None

    def given(self) -> dict[str, object]:
        """By option."""
        return {
            "--data": self.data,
            "--stream": self.stream,
            "--space": self.space,
            "--name": self.name,
            "--seed": self.seed,
            "--grid": self.is_grid or None,
            "--from": self.source,
            "--set": self.overrides or None,
            "--storage": self.storage,
        }

    def load_space(self) -> "Space":
        """The space with what the options change in it. Raises UsageError where there is none."""
        from dmlray.sweep.space import load_space

        if self.space is None:
            raise UsageError(
                "a new sweep needs the file of its space (`dmlray init` writes one); or give --resume NAME"
            )
        changes = [parse_override(text) for text in self.overrides]
        return load_space(self.space, changes + ([("stopping.rule", self.stopping)] if self.stopping else []))


@dataclass(frozen=True)
class Asked:
    """What a sweep can be asked whenever it runs. With ``job`` (the command's context) the cluster runs it."""

    results: Path
    trials: TrialCount | None
    resources: Mapping[str, float | None]
    budget: Mapping[str, float | None]
    tracking_uri: str | None
    storage_path: str | None
    address: str | None
    insecure: bool
    job: typer.Context | None


def begin(asked: Asked, new: Anew) -> None:
    """Check what was asked for, at once what takes no time; lay the sweep down, and run it, here or by ``job``."""
    from dmlray.sweep.settings import check_name

    if new.is_grid and new.sampler not in (None, "grid"):
        raise UsageError(f"--grid leaves nothing to --sampler {new.sampler}: give one of them")
    sampler: SamplerName = "grid" if new.is_grid else new.sampler or "tpe"
    space = new.load_space()
    assert new.space is not None, "it has been read"
    name = check_name(new.name or new.space.stem)
    data = new.data or space.data
    if data is None:
        raise UsageError(f"a new sweep needs --data FOLDER, or `data: FOLDER` in {new.space}")
    trials = asked.trials.in_all() if asked.trials else None
    if asked.job is not None:
        from dmlray.cli.submit import submit_search

        submit_search(asked.job, name, new.space, data, asked.address, asked.insecure, asked.results)
    else:
        _begin_here(asked, new, name, data, space, trials, sampler)


def _begin_here(
    asked: Asked, new: Anew, name: str, data: str, space: "Space", trials: int | None, sampler: SamplerName
) -> None:
    from dmlray.cli.run import run_shown
    from dmlray.remote import as_place, without_keys
    from dmlray.sweep.session import create_sweep, discarded_unless_started, new_config
    from dmlray.sweep.settings import SweepFolder
    from dmlray.tracking import default_uri

    place = as_place(without_keys(data, "--data"))
    stream = new.stream and without_keys(new.stream, "--stream")
    uri = asked.tracking_uri or default_uri(asked.results)
    learnt, prior = _learn(SweepFolder(asked.results, new.source), space) if new.source else (None, [])
    seed, resources, budget, storage_path = new.seed or 0, asked.resources, asked.budget, asked.storage_path
    config = new_config(name, place, space, trials, seed, sampler, resources, uri, stream, budget, storage_path)
    config = config.model_copy(update={"warm_start": learnt})
    folder = create_sweep(asked.results, config, space, new.storage, prior)
    with discarded_unless_started(folder):
        run_shown(folder, config, asked.address, insecure=asked.insecure)


def go_on(asked: Asked, name: str, retry_failed: bool) -> None:
    """Run what is left of a sweep, or more of it than it was asked for before."""
    from dmlray.cli.fetch import take_up
    from dmlray.cli.run import run_shown
    from dmlray.cli.submit import submit_search
    from dmlray.sweep.settings import SweepFolder, check_name, load_settings, resumed

    if asked.job is not None:
        sweep = check_name(name, "--resume")
        submit_search(asked.job, sweep, None, None, asked.address, asked.insecure, asked.results)
        return
    folder, storage_path = SweepFolder(asked.results, name), asked.storage_path
    if storage_path is not None:
        take_up(folder, storage_path)
    before = load_settings(folder)
    trials = asked.trials.in_all(before.trials) if asked.trials else None
    config = resumed(before, trials, asked.resources, asked.tracking_uri, asked.budget)
    if storage_path is not None:
        config = config.model_copy(update={"storage_path": storage_path})
    run_shown(folder, config, asked.address, retry_failed, asked.insecure)


def _learn(folder: "SweepFolder", space: "Space") -> "tuple[WarmStart, list[Observation]]":
    from contextlib import closing

    from dmlray.sweep.settings import load_settings
    from dmlray.sweep.study import Study
    from dmlray.sweep.warm_start import warm_start

    name = load_settings(folder).name
    with closing(Study.open(folder.study, read_only=True)) as study:
        learnt, prior = warm_start(space, name, study.trials())
    note(f"from {name}: {len(prior)} trials to learn from, {len(learnt.left_out)} left out")
    note(*(f"  trial {number} left out: {reason}" for number, reason in learnt.left_out.items()))
    if learnt.unused:
        note(f"  parameters that this space does not have: {', '.join(learnt.unused)}")
    return learnt, prior
