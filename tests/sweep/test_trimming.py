"""A trial that has ended keeps its best epoch's checkpoint; one that goes on keeps all that it goes on from."""

from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from dmlray.ensemble.members import load_trial_model
from dmlray.sweep import session
from dmlray.sweep.director import Change
from dmlray.sweep.fsck import check_files
from dmlray.sweep.records import TrialState
from dmlray.sweep.settings import SweepFolder, load_settings
from dmlray.sweep.study import Study
from dmlray.sweep.trimming import Trimming
from tests.sweep.trained import drive, new_sweep, train_sweep

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's imports warn


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return train_sweep(tmp_path, trials=2)


def left(folder: SweepFolder, number: int) -> list[str]:
    return sorted(path.name for path in (folder.trial(number) / "checkpoints").iterdir())


def test_of_an_ended_trial_the_best_checkpoint_is_left(folder: SweepFolder) -> None:
    with closing(Study.open(folder.study, read_only=True)) as study:
        trials = study.trials()
    assert len(left(folder, 0)) == 2
    Trimming(folder).trim(trials)
    for trial in trials:
        assert left(folder, trial.number) == [f"epoch-{trial.best_epoch:04d}.safetensors"]
        assert load_trial_model(folder.trial(trial.number)).epoch == trial.best_epoch
    assert list(check_files(folder, load_settings(folder), trials)) == []


def test_a_trial_that_goes_on_keeps_its_checkpoints(folder: SweepFolder) -> None:
    with closing(Study.open(folder.study, read_only=True)) as study:
        ended = study.trials()[0]
    running = replace(ended, state=TrialState.running)
    Trimming(folder)(Change("epoch", running))
    assert len(left(folder, 0)) == 2
    Trimming(folder)(Change("complete", ended))
    assert len(left(folder, 0)) == 1


def test_a_stopped_trial_whose_best_checkpoint_is_gone_keeps_what_it_has(folder: SweepFolder) -> None:
    """It was to keep its last epoch, and was stopped before that."""
    with closing(Study.open(folder.study, read_only=True)) as study:
        stopped = replace(study.trials()[0], state=TrialState.pruned, best_epoch=7)
    Trimming(folder)(Change("pruned", stopped))
    assert len(left(folder, 0)) == 2


@pytest.mark.thorough
@pytest.mark.parametrize(("is_copied", "kept"), [(False, 1), (True, 2)])
def test_what_is_copied_to_a_storage_path_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_copied: bool, kept: int
) -> None:
    """There a trial's folder may be on its way to the storage, by another process."""
    storage = {"storage_path": str(tmp_path / "storage")} if is_copied else {}
    (tmp_path / "storage").mkdir()
    folder, config = new_sweep(tmp_path, 2, **storage)
    monkeypatch.setattr(session, "_run_in_slots", lambda director, *_: drive(director, [1, 1]))
    monkeypatch.setattr(session, "check_nodes", lambda *_: None)
    session.run_sweep(folder, config, [], print, nullcontext())
    assert [len(left(folder, number)) for number in (0, 1)] == [kept, kept]
