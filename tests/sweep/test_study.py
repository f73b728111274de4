"""The study survives what happens to its driver: nothing lost, nothing twice, the same suggestions."""

import math
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dmlray.config import TrialConfig
from dmlray.errors import ConfigError, DmlrayError, StorageError, SweepExistsError
from dmlray.sweep import asking
from dmlray.sweep.asking import fingerprint
from dmlray.sweep.frozen import FrozenTrials
from dmlray.sweep.sampler import Proposal
from dmlray.sweep.space import Space
from dmlray.sweep.store import Store
from dmlray.sweep.study import Study, TrialRecord, TrialState
from tests.sweep.spaces import SPACE, load_text, quality

METRICS = {"val_gap": 0.5, "train_loss": 3.25}
TOY = """
space:
  encoder: {choice: {none: {}, gru: {hidden: {int: [8, 64], log: true}}}}
  optimizer: {kind: adam, learning_rate: {float: [1e-4, 1], log: true}}
"""


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Space:
    return load_text(tmp_path_factory.mktemp("space"), SPACE)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("study") / "study.db"
    Study.create(path, "fresh", seed=3).close()
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path, empty: bytes) -> Path:
    (tmp_path / "study.db").write_bytes(empty)
    return tmp_path / "study.db"


@pytest.fixture
def study(path: Path) -> Iterator[Study]:
    with closing(Study.open(path)) as study:
        yield study


def train(study: Study, record: TrialRecord) -> None:
    study.start(record.number)
    value = quality(record.config)
    study.report(record.number, 1, {"val_gap": value}, "epoch-0001.safetensors", "aa")
    study.complete(record.number, value, 1, {"val_gap": value})


def started(study: Study, space: Space) -> int:
    return study.start(study.ask(space).number).number


def test_what_an_older_version_tried_is_not_tried_again(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its configurations have not the fields that came later."""
    few = load_text(tmp_path, "space: {batch_size: {choice: [16, 32, 64]}}\n")
    resolve = asking._resolve

    def older(proposal: Proposal, check: asking.Check | None) -> asking.Candidate:
        found = resolve(proposal, check)
        return replace(found, config={key: found.config[key] for key in found.config.keys() - {"snapshots"}})

    with monkeypatch.context() as then, closing(Study.open(path)) as study:
        then.setattr(asking, "_resolve", older)
        tried = [study.ask(few) for _ in range(2)]
    assert all("snapshots" not in record.config for record in tried)
    with closing(Study.open(path)) as study:
        third = study.ask(few)
        assert third.config["batch_size"] not in {record.config["batch_size"] for record in tried}
        with pytest.raises(asking.SpaceExhaustedError):
            study.ask(few)


def test_the_life_of_a_trial(study: Study, space: Space) -> None:
    asked = study.ask(space)
    assert (asked.number, asked.state, asked.attempts) == (0, TrialState.waiting, 0)
    assert TrialConfig.model_validate(asked.config).model_dump(mode="json") == asked.config
    assert asked.params["optimizer.learning_rate"] == asked.config["optimizer"]["learning_rate"]
    running = study.start(0)
    assert (running.state, running.attempts) == (TrialState.running, 1)
    assert running.started is not None
    study.report(0, 1, {"val_gap": 0.4, "train_loss": 9.0}, "epoch-0001.safetensors", "aa")
    reported = study.report(0, 2, {"val_gap": 0.3, "train_loss": 8.0}, "epoch-0002.safetensors", "bb")
    assert reported.history == ((1, 0.4), (2, 0.3))
    assert (reported.checkpoint, reported.digest, reported.best_so_far) == ("epoch-0002.safetensors", "bb", 0.4)
    done = study.complete(0, 0.4, 1, {"val_gap": 0.4, "test_gap": 0.35})
    assert (done.state, done.value, done.best_epoch) == (TrialState.complete, 0.4, 1)
    assert done.metrics == {"val_gap": 0.4, "test_gap": 0.35}
    assert done.finished is not None


def test_pruned_and_failed_trials_say_so(study: Study, space: Space) -> None:
    number = started(study, space)
    study.report(number, 1, METRICS, "c", "d")
    pruned = study.prune(number, 0.5, 1, METRICS)
    assert (pruned.state, pruned.value, pruned.best_epoch) == (TrialState.pruned, 0.5, 1)
    failed = study.fail(started(study, space), "out_of_memory", "no room")
    assert (failed.state, failed.reason, failed.message) == (TrialState.failed, "out_of_memory", "no room")
    assert set(study.histories()) == {number}


def test_the_same_again_changes_nothing(study: Study, space: Space) -> None:
    number = started(study, space)
    for _ in range(2):
        reported = study.report(number, 1, METRICS, "c", "d")
    assert reported.history == ((1, 0.5),)
    done = study.complete(number, 0.5, 1, METRICS)
    assert study.complete(number, 0.5, 1, METRICS) == done
    assert study.report(number, 1, METRICS, "c", "d") == done


def test_an_epoch_trained_again_replaces_the_first(study: Study, space: Space) -> None:
    number = started(study, space)
    study.report(number, 1, METRICS, "c", "d")
    study.report(number, 1, {"val_gap": 0.6}, "c", "e")
    with closing(Study.open(study.path, read_only=True)) as seen:
        assert seen.trials()[number].history == ((1, 0.6),)
        assert seen.trials()[number].digest == "e"


def test_a_finished_trial_takes_nothing_more(study: Study, space: Space) -> None:
    number = started(study, space)
    study.complete(number, 0.5, 1, METRICS)
    late: list[Callable[[], TrialRecord]] = [
        lambda: study.start(number),
        lambda: study.report(number, 2, METRICS, "c", "d"),
        lambda: study.complete(number, 0.6, 1, METRICS),
        lambda: study.prune(number, 0.5, 1, METRICS),
        lambda: study.fail(number, "nan", "late"),
    ]
    for call in late:
        with pytest.raises(DmlrayError, match="complete and takes nothing more"):
            call()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_trial_without_a_finite_value_fails(study: Study, space: Space, value: float) -> None:
    number = started(study, space)
    reported = study.report(number, 1, {"val_gap": value, "train_loss": 1.0}, "c", "d")
    assert math.isnan(reported.history[0][1])
    assert reported.best_so_far is None
    failed = study.complete(number, value, 1, {})
    assert (failed.state, failed.reason) == (TrialState.failed, "nan")
    with closing(sqlite3.connect(study.path)) as database:
        assert database.execute("SELECT count(*) FROM trial_intermediate_values").fetchone() == (0,)


def test_a_new_driver_finds_what_the_old_one_left(study: Study, space: Space) -> None:
    train(study, study.ask(space))
    number = started(study, space)
    study.report(number, 1, METRICS, "epoch-0001.safetensors", "dd")
    waiting = study.ask(space).number
    with closing(Study.open(study.path)) as again:
        assert [record.number for record in again.interrupted()] == [number]
        assert [record.number for record in again.waiting()] == [waiting]
        resumed = again.start(number)
        assert (resumed.attempts, resumed.checkpoint, resumed.digest) == (2, "epoch-0001.safetensors", "dd")
        assert again.ask(space).number == waiting + 1


@pytest.mark.thorough
def test_suggestions_do_not_depend_on_crashes(study: Study, tmp_path: Path, empty: bytes) -> None:
    toy = load_text(tmp_path, TOY)
    for _ in range(25):
        train(study, study.ask(toy))
    other = tmp_path / "other.db"
    other.write_bytes(empty)
    for number in range(25):  # a new driver for every trial; some die between asking and starting
        with closing(Study.open(other)) as again:
            record = again.ask(toy)
            if number % 5:
                train(again, record)
        if number % 5 == 0:
            with closing(Study.open(other)) as again:
                train(again, *again.waiting())
    with closing(Study.open(other)) as again:
        assert [(t.params, t.config, t.value) for t in again.trials()] == [
            (t.params, t.config, t.value) for t in study.trials()
        ]


OPERATIONS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(1, 3)), max_size=8)


@settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS, seed=st.integers(0, 9))
@pytest.mark.thorough
def test_memory_and_file_agree(
    tmp_path: Path, empty: bytes, space: Space, operations: list[tuple[int, int, int]], seed: int
) -> None:
    path = tmp_path / "law.db"
    for leftover in tmp_path.glob("law.db*"):
        leftover.unlink()
    path.write_bytes(empty)
    with closing(Study.open(path)) as study:
        for what, number, epoch in operations:
            records = study.trials()
            if what == 0 or number >= len(records):
                study.ask(space)
            elif records[number].state == TrialState.waiting:
                study.start(number)
            elif records[number].state == TrialState.running:
                [
                    lambda n, e: study.start(n),
                    lambda n, e: study.report(n, e, {"val_gap": seed / 10 + e, "loss": 1e-3}, f"e{e}", f"d{seed}"),
                    lambda n, e: study.complete(n, 0.1 * e, e, {"test_gap": 0.3}),
                    lambda n, e: study.prune(n, 0.1 * e, e, {}),
                    lambda n, e: study.fail(n, "data", "gone"),
                ][what - 1](number, epoch)
        with closing(Study.open(path, read_only=True)) as seen:
            assert seen.trials() == study.trials()


def test_a_watcher_sees_the_driver_write(study: Study, space: Space) -> None:
    with closing(Study.open(study.path, read_only=True)) as watcher:
        assert watcher.trials() == []
        number = started(study, space)
        assert [record.state for record in watcher.trials()] == [TrialState.running]
        study.complete(number, 0.5, 1, METRICS)
        assert watcher.trials() == study.trials()
        with pytest.raises(StorageError, match="readonly"):
            watcher.ask(space)


def test_asks_for_something_new_where_there_is_something(study: Study, tmp_path: Path) -> None:
    small = load_text(tmp_path, "space: {epochs: {choice: [1, 2, 3]}}")
    epochs = [study.ask(small).config["epochs"] for _ in range(3)]
    assert sorted(epochs) == [1, 2, 3]


def test_keeps_what_cannot_be_built_as_failed(study: Study, space: Space) -> None:
    def check(config: TrialConfig) -> None:
        if config.encoder.kind == "none":
            raise ConfigError("encoder.kind", "none", "gru, in this test")

    asked = [study.ask(space, check) for _ in range(6)]
    assert {record.config["encoder"]["kind"] for record in asked} == {"gru"}
    refused = [record for record in study.trials() if record.state == TrialState.failed]
    assert refused
    assert all(record.reason == "bad_config" and "in this test" in str(record.message) for record in refused)
    assert [record.number for record in study.trials()] == list(range(6 + len(refused)))


def test_gives_up_on_a_space_that_cannot_be_built(study: Study, space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(config: TrialConfig) -> None:
        raise ConfigError("encoder.kind", config.encoder.kind, "anything else")

    monkeypatch.setattr("dmlray.sweep.study.MAX_REFUSALS", 3)
    with pytest.raises(ConfigError, match=r"3 in a row.*anything else"):
        study.ask(space, check)


def test_refuses_another_space(study: Study, space: Space, tmp_path: Path) -> None:
    study.ask(space)
    with pytest.raises(ConfigError, match="the one that this study began with"):
        study.ask(load_text(tmp_path, SPACE, {"space.epochs": "2"}))


def test_keeps_how_it_began(study: Study) -> None:
    with closing(Study.open(study.path, read_only=True)) as again:
        assert (again.name, again.seed, again.sampler) == ("fresh", 3, "tpe")


def test_creates_once_and_nothing_by_halves(tmp_path: Path) -> None:
    path = tmp_path / "a {strange}% name?" / "study.db"
    Study.create(path, "sweep", seed=2**62, sampler="random").close()
    assert {file.name for file in path.parent.iterdir()} <= {"study.db", "study.db-wal", "study.db-shm"}
    with pytest.raises(SweepExistsError, match=r"study\.db exists already"):
        Study.create(path, "sweep", seed=1)
    with closing(Study.open(path)) as study:
        assert (study.seed, study.sampler) == (2**62, "random")


def test_a_study_that_is_removed_or_replaced_under_its_driver_takes_nothing_more(study: Study, space: Space) -> None:
    number, content = started(study, space), study.path.read_bytes()
    study.path.unlink()
    with pytest.raises(StorageError, match="the study is missing: No such file"):
        study.report(number, 1, METRICS, "c", "d")
    study.path.write_bytes(content)
    with pytest.raises(StorageError, match="another file"):
        study.fail(number, "data", "gone")


def test_refuses_an_unknown_sampler(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sampler must be one of tpe, random"):
        Study.create(tmp_path / "study.db", "sweep", 1, "luck")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: None, "missing"),
        (lambda data: b"", "empty"),
        (lambda data: b"not a database, but long enough to be taken for one" * 50, "not a database"),
        (lambda data: data[: len(data) // 2], "malformed|damaged"),
        (lambda data: data[:4096] + bytes(8192) + data[12288:], "malformed|damaged"),
    ],
)
def test_refuses_a_damaged_file(
    path: Path, damage: Callable[[bytes], bytes | None], message: str, read_only: bool
) -> None:
    data = damage(path.read_bytes())
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(StorageError, match=rf"study\.db.*({message})"):
        Study.open(path, read_only=read_only)
    assert path.exists() == (data is not None)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE study_user_attributes SET value_json = '{\"format\": 3}' WHERE key = 'dmlray'", "format 3.*newer"),
        ("DELETE FROM study_user_attributes", "format None"),
        ("DELETE FROM studies", "holds 0 studies"),
        ("DROP TABLE trials", "no such table"),
        ("UPDATE alembic_version SET version_num = 'v99.0.0'", "no longer compatible"),
        (
            "UPDATE trial_user_attributes SET value_json = '{\"ki' WHERE key = 'asked'",
            "trial 0 does not fit its checksum",
        ),
        (
            "UPDATE trial_user_attributes SET value_json = replace(value_json, 'epochs', 'epochz')",
            "does not fit its checksum",
        ),
        ("DELETE FROM trial_user_attributes", "damaged: 'asked'"),
        ("UPDATE trial_params SET param_value = param_value + 1e-9", "not those of its attribute"),
        ("UPDATE trials SET number = 1", "trial 1 does not fit its checksum"),
        ("UPDATE trials SET state = 'LOST'", "LOST"),
    ],
)
def test_refuses_a_study_that_it_does_not_understand(path: Path, space: Space, statement: str, message: str) -> None:
    with closing(Study.open(path)) as study:
        study.ask(space)
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
        database.commit()
    with pytest.raises(StorageError, match=message):
        Study.open(path)


def test_a_study_of_the_first_format_is_read_as_it_is_and_migrated_by_whoever_writes(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    old = optuna.create_study(storage=storage, study_name="old", direction="maximize")
    old.set_user_attr("dmlray", {"format": 1, "seed": 5, "sampler": "tpe"})
    old.set_user_attr("space", None)
    rate = optuna.distributions.FloatDistribution(1e-4, 1.0, log=True)
    config = TrialConfig.model_validate({"optimizer": {"kind": "adam", "learning_rate": 0.01}}).model_dump(mode="json")
    begun = {"config": config, "attempts": 1, "epoch:0001": {"metrics": METRICS, "checkpoint": "c", "digest": "d"}}
    outcome = {"value": 0.5, "best_epoch": 1, "metrics": METRICS | {"bad": None}}
    failure = {"reason": "nan", "message": "no number"}
    states = optuna.trial.TrialState
    for state, value, more in [
        (states.RUNNING, None, {}),
        (states.COMPLETE, 0.5, {"outcome": outcome}),
        (states.FAIL, None, {"failure": failure}),
    ]:
        old.add_trial(
            optuna.trial.create_trial(
                state=state, value=value, params={"lr": 0.01}, distributions={"lr": rate}, user_attrs=begun | more
            )
        )
    storage.engine.dispose()
    with closing(Study.open(path, read_only=True)) as seen:
        before = seen.trials()
        assert not seen.is_driven()
    assert [record.state.value for record in before] == ["running", "complete", "failed"]
    assert (before[1].value, before[2].reason, before[0].digest) == (0.5, "nan", "d")
    for _ in range(2):
        with closing(Study.open(path)) as study:
            assert repr(study.trials()) == repr(before)  # NaN is no equal of itself
    assert study.complete(0, 0.25, 1, {}).value == 0.25


def test_optuna_reads_the_study_as_its_own(study: Study, space: Space) -> None:
    train(study, study.ask(space))
    failed = started(study, space)
    study.fail(failed, "data", "gone")
    study.ask(space)
    storage = optuna.storages.RDBStorage(f"sqlite:///{study.path}")
    seen = optuna.load_study(study_name="fresh", storage=storage).get_trials()
    storage.engine.dispose()
    assert [trial.state.name for trial in seen] == ["COMPLETE", "FAIL", "WAITING"]
    record = study.trials()[0]
    assert (seen[0].params, seen[0].value) == (record.params, record.value)
    assert seen[0].intermediate_values == dict(record.history)
    assert seen[0].datetime_complete.astimezone() == record.finished


def test_failed_trials_are_retried_on_request(study: Study, space: Space) -> None:
    def check(config: TrialConfig) -> None:
        if config.encoder.kind == "none":
            raise ConfigError("encoder.kind", "none", "gru, in this test")

    numbers = [study.start(study.ask(space, check).number).number for _ in range(4)]
    study.report(numbers[0], 1, METRICS, "c", "d")
    study.forgive(numbers[0], "storage")
    for number in numbers[:2]:
        study.fail(number, "storage", "full")
    study.complete(numbers[2], 0.5, 1, METRICS)
    before = study.trials()
    assert [record.number for record in study.retry_failed()] == numbers[:2]
    with closing(Study.open(study.path)) as again:
        after = again.trials()
        assert again.start(numbers[0]).attempts == 2
    for old, new in zip(before, after, strict=True):
        assert (new.params, new.curve, new.digest) == (old.params, old.curve, old.digest)
        expected = TrialState.waiting if old.number in numbers[:2] else old.state
        assert (new.state, new.retries) == (expected, {})
    assert all(record.reason == "bad_config" for record in after if record.state is TrialState.failed)


def test_samplers_see_nan_as_the_worst(study: Study, space: Space) -> None:
    for reason in ("nan", "data"):
        study.fail(started(study, space), reason, "why")
    with closing(Store(study.path)) as store:
        worst, lost = FrozenTrials().of(store.read())
    assert (worst.state.name, worst.value, lost.state.name) == ("COMPLETE", 0.0, "FAIL")


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1))
@pytest.mark.thorough
def test_a_log_cut_anywhere_opens_at_its_last_whole_change(
    tmp_path: Path, empty: bytes, space: Space, share: float
) -> None:
    path, crashed = tmp_path / "study.db", tmp_path / "crashed"
    for leftover in tmp_path.glob("study.db*"):
        leftover.unlink()
    path.write_bytes(empty)
    states: list[list[TrialRecord]] = []
    with closing(Study.open(path)) as study:
        for change in (
            lambda: study.ask(space),
            lambda: study.start(0),
            lambda: study.report(0, 1, METRICS, "c", "d"),
            lambda: study.complete(0, 0.5, 1, METRICS),
        ):
            states.append(list(study.trials()))
            change()
        states.append(list(study.trials()))
        shutil.rmtree(crashed, ignore_errors=True)
        crashed.mkdir()
        shutil.copy(path, crashed / "study.db")
        log = (tmp_path / "study.db-wal").read_bytes()
    (crashed / "study.db-wal").write_bytes(log[: int(share * len(log))])
    with closing(Study.open(crashed / "study.db")) as again:
        assert again.trials() in states


def test_equal_configurations_have_equal_fingerprints() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1}) != fingerprint({"a": 1, "b": [3]})
