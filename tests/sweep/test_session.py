"""A sweep's folder: made whole, kept by one driver, given back when nothing ever ran."""

from pathlib import Path

import pytest

from dmlray.errors import ConfigError, MissingInputError, StorageError, SweepExistsError
from dmlray.sweep.session import create_sweep, discarded_unless_started
from dmlray.sweep.settings import Resources, SweepConfig, SweepFolder, check_name, load_settings, resumed
from dmlray.sweep.space import Space, load_space
from dmlray.sweep.study import Study


@pytest.fixture
def space(tmp_path: Path) -> Space:
    path = tmp_path / "space.yaml"
    path.write_text("space: {epochs: 2}\n")
    return load_space(path, [("space.epochs", "5")])


def config(**changes: object) -> SweepConfig:
    settled = {"name": "toy", "data": Path("/data"), "fingerprints": {}, "trials": 8, "tracking_uri": "sqlite:///m.db"}
    return SweepConfig.model_validate(settled | changes)


def test_a_new_sweep_is_all_there_and_loads_again(tmp_path: Path, space: Space) -> None:
    folder = create_sweep(tmp_path, config(), space)
    assert load_settings(folder) == config()
    assert load_space(folder.space).fingerprint == space.fingerprint, "overrides are in the sweep's own copy"


def test_a_name_is_taken_once(tmp_path: Path, space: Space) -> None:
    create_sweep(tmp_path, config(), space)
    with pytest.raises(SweepExistsError, match=f"--resume toy --results {tmp_path}"):
        create_sweep(tmp_path, config(), space)


def test_a_sweep_that_cannot_be_laid_down_leaves_nothing(
    tmp_path: Path, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("sweep.yaml", "could not be written: No space left on device")

    monkeypatch.setattr("dmlray.sweep.session.save_settings", full)
    with pytest.raises(StorageError):
        create_sweep(tmp_path, config(), space)
    assert not SweepFolder(tmp_path, "toy").path.exists()


def test_a_sweep_of_which_no_trial_began_gives_its_name_back(tmp_path: Path, space: Space) -> None:
    folder = create_sweep(tmp_path, config(), space)
    with pytest.raises(ConfigError), discarded_unless_started(folder):
        raise ConfigError("--gpus-per-trial", 1, "at most the 0 GPUs of the largest node")
    assert not folder.path.exists()


def test_a_sweep_that_another_process_drives_by_now_is_kept(tmp_path: Path, space: Space) -> None:
    folder = create_sweep(tmp_path, config(), space)
    with (
        Study.driven(folder.study, pytest.fail, print),
        pytest.raises(KeyboardInterrupt),
        discarded_unless_started(folder),
    ):
        raise KeyboardInterrupt
    assert folder.study.is_file()


def test_a_sweep_that_has_begun_is_kept(tmp_path: Path, space: Space) -> None:
    folder = create_sweep(tmp_path, config(), space)
    study = Study.open(folder.study)
    study.start(study.ask(space).number)
    study.close()
    with pytest.raises(KeyboardInterrupt), discarded_unless_started(folder):
        raise KeyboardInterrupt
    assert folder.study.is_file()


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", "-flag", "a b", "x" * 65])
def test_names_that_would_leave_the_folder(name: str) -> None:
    with pytest.raises(ConfigError, match="--name"):
        check_name(name)


def test_settings_that_are_missing_or_damaged(tmp_path: Path, space: Space) -> None:
    with pytest.raises(MissingInputError, match="nothing"):
        load_settings(SweepFolder(tmp_path, "nothing"))
    folder = create_sweep(tmp_path, config(), space)
    whole = folder.settings.read_text()
    for damaged in ("", whole[: len(whole) // 2], "trials: [", whole.replace("trials: 8", "trials: -8")):
        folder.settings.write_text(damaged)
        with pytest.raises(StorageError, match=r"sweep\.yaml"):
            load_settings(folder)


def test_a_resume_can_extend_and_move_but_not_shrink() -> None:
    changed = resumed(config(), 12, {"gpus_per_trial": 0.5, "cpus_per_trial": None}, "http://tracking")
    assert (changed.trials, changed.resources, changed.tracking_uri) == (
        12,
        Resources(gpus_per_trial=0.5),
        "http://tracking",
    )
    assert resumed(config(), None, {}, None) == config()
    with pytest.raises(ConfigError, match="--trials must be at least the 8"):
        resumed(config(), 4, {}, None)
