"""From an ensemble of a sweep's trials to its package."""

import hashlib
import json
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
from pydantic import ValidationError

import dmlray
from dmlray.atomic import write_text
from dmlray.config.problem import first_problem
from dmlray.data.dataset import Dataset
from dmlray.data.schema import Schema
from dmlray.ensemble.members import build_member, evaluation_seed, load_trial_model
from dmlray.ensemble.origin import origin, shown, snapshot_of
from dmlray.ensemble.precision import Precision, compressed
from dmlray.ensemble.report import MEMBERS_FILE, EnsembleReport, Member
from dmlray.errors import MissingInputError, StorageError, UsageError
from dmlray.registry.card import model_card
from dmlray.registry.contents import (
    CARD,
    CONTENTS,
    MEMBERS,
    VOCABULARY,
    PackageContents,
    PackagedMember,
    Refit,
    contents_text,
)
from dmlray.sweep.settings import SweepConfig, SweepFolder, load_settings

PACKAGE = "package"


def load_report(directory: Path) -> EnsembleReport:
    """An ensemble's ``members.json``. Raises MissingInputError where there is no ensemble, StorageError for damage."""
    path = directory / MEMBERS_FILE
    try:
        return EnsembleReport.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingInputError(directory, f"ensemble ({MEMBERS_FILE})") from error
    except ValidationError as error:
        found = first_problem(error)
        raise StorageError(path, f"is damaged or of another version ({found.field}: {found.said})") from error


def discard_package(directory: Path) -> None:
    """Remove the package of an ensemble that is about to be chosen anew."""
    shutil.rmtree(directory / PACKAGE, ignore_errors=True)


def export_package(folder: SweepFolder, name: str, vocabulary: Sequence[str] | None = None) -> Path:
    """Write the package of a sweep's ensemble ``name``, replacing an earlier one; gives its folder.

    It appears whole or not at all. Raises MissingInputError for no such ensemble, UsageError where a member is no
    trial of the sweep, StorageError where a trial's files are missing or damaged.
    """
    directory = folder.ensemble(name)
    report, config = load_report(directory), load_settings(folder)
    if foreign := [member.name for member in report.members if member.trial < 0]:
        raise UsageError(f"ensemble {name} cannot be packaged: of its member {foreign[0]} there are only predictions")
    return write_package(directory, f"{config.name}/{name}", folder, config, report, vocabulary)


def write_package(
    directory: Path,
    name: str,
    folder: SweepFolder,
    config: SweepConfig,
    report: EnsembleReport,
    vocabulary: Sequence[str] | None,
    refit: Refit | None = None,
) -> Path:
    """Write the package ``name`` of the members of ``report``, trials of the sweep in ``folder`` or of those that the
    report names beside it, into ``directory``.

    Raises as `export_package` does.
    """
    schema = Dataset.open(config.data / "validation").schema
    target = directory / PACKAGE
    temporary = directory / f".{PACKAGE}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        (temporary / MEMBERS).mkdir(parents=True)
        members = [
            _export(folder, config, schema, member, report.sweeps, report.precision, temporary)
            for member in report.members
        ]
        files = {member.file: _sha256(temporary / member.file) for member in members}
        if vocabulary is not None:
            write_text(temporary / VOCABULARY, json.dumps(list(vocabulary), ensure_ascii=False, indent=0) + "\n")
            files[VOCABULARY] = _sha256(temporary / VOCABULARY)
        contents = PackageContents(
            dmlray=dmlray.__version__,
            name=name,
            contents=schema,
            data=config.fingerprints,
            videos=report.videos,
            members=tuple(members),
            figures=report.figures,
            gain=report.gain,
            summary=report.summary,
            refit=refit,
            files=files,
        )
        write_text(temporary / CARD, model_card(contents))
        write_text(temporary / CONTENTS, contents_text(contents))
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _export(
    folder: SweepFolder,
    config: SweepConfig,
    schema: Schema,
    member: Member,
    others: Sequence[str],
    precision: Precision,
    target: Path,
) -> PackagedMember:
    """Write one member's parameters; it may be a trial of one of the ``others``, which lie beside ``folder``."""
    sweep, trial = origin(member.trial, folder.path.name, others)
    if sweep != folder.path.name:
        folder = SweepFolder(folder.path.parent, sweep)
        config = load_settings(folder)
    directory = folder.trial(trial)
    snapshot = snapshot_of(member.trial)
    found = load_trial_model(directory, snapshot)
    build_member(found.config, schema, found.parameters, directory)  # what does not fit is not packaged
    file = f"{MEMBERS}/{member.trial:04d}.safetensors"
    stored = compressed(found.parameters, precision)
    parameters = {name: tensor.contiguous() for name, tensor in stored.items()}
    safetensors.torch.save_file(parameters, target / file)
    return PackagedMember(
        name=f"{shown(member.trial, others)} ({member.name})",
        sweep=config.name,
        trial=trial,
        epoch=found.epoch,
        gap=member.gap,
        weight=member.weight,
        temperature=member.temperature,
        seed=evaluation_seed(config.seed, trial),
        config=found.config,
        file=file,
        checkpoint=found.checkpoint,
        is_average=found.is_average,
        is_raw=snapshot is not None and snapshot.is_raw,
        precision=precision,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
