"""An ensemble's members trained anew on all data but test: configurations, data, and what they reach.

What the members were chosen by, validation, becomes training data, so nothing is chosen any more: each trains as many
epochs as it had at its best, and its last epoch is what it becomes. Weights and temperatures stay.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from dmlray.config import CosineSchedule, TrialConfig, in_full
from dmlray.data.dataset import open_splits
from dmlray.data.union import join_splits
from dmlray.ensemble.candidates import Candidate
from dmlray.ensemble.choice import EnsembleSettings
from dmlray.ensemble.compare import gap_on_test
from dmlray.ensemble.dense import DenseBlender
from dmlray.ensemble.report import EnsembleReport
from dmlray.errors import UsageError
from dmlray.registry.contents import CARD, PackagedMember, Refit
from dmlray.registry.package import Package
from dmlray.sweep.lineage import dataset_records
from dmlray.sweep.runs import sweep_key, trial_key
from dmlray.sweep.settings import SweepConfig
from dmlray.sweep.space import Space, parse_space
from dmlray.sweep.yaml_lines import parse_yaml
from dmlray.tracking import RunRecord

SPLITS = "splits"  # the folder of the data, beside the package


def refit_data(folder: Path, data: Path) -> Path:
    """A folder whose ``train`` holds the training and validation videos of ``data``, and the other splits as they are.

    Raises as `data.dataset.open_splits` does.
    """
    splits = open_splits(data)
    folder.mkdir(parents=True, exist_ok=True)
    for name in splits.keys() - {"train"}:
        if not (folder / name).exists():
            (folder / name).symlink_to(splits[name].path.absolute(), target_is_directory=True)
    join_splits(folder / "train", [splits["train"], splits["validation"]])
    return folder


def refit_configuration(member: PackagedMember, is_average: bool, videos: int) -> TrialConfig:
    """How ``member`` is trained anew: to its best epoch, with the learning rates that it had, epoch by epoch.

    ``is_average`` where its model was the mean of its last epochs; ``videos`` are those trained on now. What stood
    behind an average is trained without one. Raises UsageError for a member that learnt from another ensemble, whose
    scores of validation videos are not there.
    """
    config = member.config
    if config.loss.distillation is not None:
        raise UsageError(f"member {member.name} was distilled: its teacher has no scores for the validation videos")
    average = config.average_last if is_average else 1
    last = {"epochs": member.epoch, "keep": "last", "snapshots": 1, "average_last": average}
    changed = config.model_copy(update=last)
    if member.is_raw and getattr(config.optimizer, "ema_decay", None) is not None:
        changed = changed.model_copy(update={"optimizer": changed.optimizer.model_copy(update={"ema_decay": None})})
    schedule = getattr(config.optimizer, "schedule", None)
    if isinstance(schedule, CosineSchedule) and schedule.examples is None:
        longer = schedule.model_copy(update={"examples": config.epochs * videos})
        changed = changed.model_copy(update={"optimizer": changed.optimizer.model_copy(update={"schedule": longer})})
    return TrialConfig.model_validate(changed.model_dump())


def refit_space(members: Sequence[PackagedMember], averaged: Sequence[bool], videos: int) -> tuple[Space, list[int]]:
    """The space of a sweep that trains every member once, and for each member the number of its trial there.

    ``averaged`` says of each whether its model was a mean of epochs. Members that are alike now share a trial.
    """
    pairs = zip(members, averaged, strict=True)
    configs = [refit_configuration(member, is_average, videos) for member, is_average in pairs]
    different = [config for place, config in enumerate(configs) if config not in configs[:place]]
    names = _names([members[configs.index(config)] for config in different])
    document = {
        "description": "An ensemble's members, to be trained anew.",
        "trials": len(different),
        "stopping": {"rule": "none"},
        "space": {"epochs": 1},  # of no trial: each has its own
        "configurations": {name: config.model_dump(mode="json") for name, config in zip(names, different, strict=True)},
    }
    text = yaml.safe_dump(document, sort_keys=False)
    return parse_space(parse_yaml(text, "the refit")), [different.index(config) for config in configs]


def trains_the_same(one: Space, other: Space) -> bool:
    """Whether two spaces name the same configurations; an older version may have written one, with fewer fields."""
    mine, theirs = ([in_full(row.config) for row in space.configurations] for space in (one, other))
    return mine == theirs


def _names(members: Sequence[PackagedMember]) -> list[str]:
    """By trial; of several models of one, by epoch too."""
    times = Counter(member.trial for member in members)
    return [
        f"trial {member.trial}"
        + (f" epoch {member.epoch}{' raw' if member.is_raw else ''}" if times[member.trial] > 1 else "")
        for member in members
    ]


def refit_report(report: EnsembleReport, trials: Sequence[int]) -> EnsembleReport:
    """The account of the original, with members that are ``trials`` of the refit's sweep."""
    pairs = zip(report.members, trials, strict=True)
    members = tuple(member.model_copy(update={"trial": trial}) for member, trial in pairs)
    return report.model_copy(update={"members": members})


def refit_run(config: SweepConfig, package: Package) -> RunRecord:
    """What MLflow is told of a ``package`` of new members: a run under that of the sweep that trained them."""
    contents = package.contents
    assert contents.refit is not None, "it is a refit's"
    figures = {"ensemble_test_gap": contents.refit.test, "original_test_gap": contents.refit.test_before}
    return RunRecord(
        key=f"{config.name}/refit/{package.digest[:12]}",  # trained again with another result, it is another run
        name=f"refit {contents.refit.ensemble}",
        parent_key=sweep_key(config.name),
        status="finished",
        tags={"dmlray.sweep": config.name, "dmlray.ensemble": contents.name},
        params={
            "original": contents.refit.original,
            "videos": str(contents.refit.videos),
            "members": ", ".join(f"{member.trial}: {member.weight:.4f}" for member in contents.members),
        },
        metrics=[(0, {name: value for name, value in figures.items() if value is not None})],
        artifacts=[package.path / CARD],
        datasets=dataset_records(config),
        members=[trial_key(config.name, member.trial) for member in contents.members],
    )


def measure_refit(
    ensemble: str,
    original: Package,
    report: EnsembleReport,
    candidates: Mapping[int, Candidate],
    blender: DenseBlender | None,
    videos: int,
) -> Refit:
    """What the members of ``report`` (of `refit_report`), trained on ``videos`` videos, reach on test together.

    ``candidates`` are the refit's trials by number; ``blender`` (None: there is no test split) has that split alone;
    ``original`` is the package of ``ensemble``. Raises as `ensemble.dense.DenseBlender.blend` does.
    """
    members = [candidates[member.trial] for member in report.members]
    weights = [member.weight for member in report.members]
    temperatures = [member.temperature for member in report.members]
    blended = blender.blend(members, weights, temperatures, report.precision) if blender else {}
    test, interval = gap_on_test(blended.get("test"), EnsembleSettings())
    return Refit(
        ensemble=ensemble,
        original=original.digest,
        videos=videos,
        test=test,
        test_interval=interval,
        test_before=report.figures["ensemble"].test,
    )
