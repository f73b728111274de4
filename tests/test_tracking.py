"""Runs in MLflow: nothing twice, nothing lost, and a server that fails holds nobody up."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dmlray.errors import MissingInputError, UnavailableError, UsageError
from dmlray.tracking import (
    BackgroundTracker,
    DatasetRecord,
    ModelRecord,
    RunRecord,
    Tracker,
    default_uri,
    ui_command,
)
from dmlray.tracking import background as background_module
from dmlray.tracking.tracker import RefusedRunError

pytestmark = [pytest.mark.thorough, pytest.mark.filterwarnings("default")]  # MLflow's imports warn

SWEEP = RunRecord("first", "first", "running", tags={"dmlray.sweep": "first"}, params={"trials": 8})
TRIAL = RunRecord(
    key="first/0",
    name="gru",
    status="running",
    parent_key="first",
    tags={"state": "running"},
    params={"encoder.kind": "gru", "long": "x" * 9000},
    metrics=[(1, {"val_gap": 0.5, "loss": 2.0}), (2, {"val_gap": 0.6})],
    start_time_ms=1_700_000_000_000,
)
DONE = replace(
    TRIAL,
    status="finished",
    tags={"state": "complete"},
    metrics=[*TRIAL.metrics, (2, {"loss": 1.5, "val_gap": 0.9}), (3, {"val_gap": float("nan")})],
    end_time_ms=1_700_000_060_000,
)

READ = replace(
    DONE,
    datasets=[
        DatasetRecord(
            split,
            f"toy {split}",
            "ab" * 20,
            f"/data/toy/{split}",
            {"visual": {"type": "array", "items": {"type": "double"}}},
            {"num_rows": 9},
        )
        for split in ("train", "validation")
    ],
    model=ModelRecord("first-0", {"epoch": "2"}, {"dmlray.sha256": "aa"}, 2, {"validation": (2, {"val_gap": 0.6})}),
)
ENSEMBLE = RunRecord(
    "first/ensemble/top5/aa", "ensemble", "finished", "first", members=["first/0", "first/9", "first/0"]
)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One SQLite store for the module: its creation takes seconds. Every test has its own experiment."""
    return default_uri(tmp_path_factory.mktemp("results"))


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> str:
    return request.node.name


def contents(uri, experiment):
    """What the store holds: {key: (run, {metric: [(step, value, time)]})}; fails on a run that is there twice."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    found = {}
    for run in runs:
        history = {
            name: sorted((m.step, m.value, m.timestamp) for m in client.get_metric_history(run.info.run_id, name))
            for name in run.data.metrics
        }
        assert run.data.tags["dmlray.key"] not in found
        found[run.data.tags["dmlray.key"]] = run, history
    return found


def steps(history, name):
    return [step for step, *_ in history[name]]


@pytest.mark.thorough
def test_runs_nest_and_hold_what_was_sent(uri, experiment, tmp_path):
    file = tmp_path / "members.json"
    file.write_text("{}")
    Tracker(uri, experiment).sync([replace(DONE, artifacts=[file]), SWEEP])  # the child comes first
    found = contents(uri, experiment)
    parent, (run, history) = found["first"][0], found["first/0"]
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert run.info.run_name == "gru"
    assert (parent.info.status, run.info.status) == ("RUNNING", "FINISHED")
    assert (run.info.start_time, run.info.end_time) == (DONE.start_time_ms, DONE.end_time_ms)
    assert run.data.params == {"encoder.kind": "gru", "long": "x" * 6000}
    assert [(step, value) for step, value, _ in history["loss"]] == [(1, 2.0), (2, 1.5)]
    assert steps(history, "val_gap") == [1, 2, 3]
    artifacts = Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts" / experiment
    assert (artifacts / run.info.run_id / "artifacts" / "members.json").read_text() == "{}"


@pytest.mark.thorough
def test_syncing_again_changes_nothing(uri, experiment):
    tracker = Tracker(uri, experiment)
    tracker.sync([SWEEP, TRIAL])
    tracker.sync([SWEEP, DONE])
    once = contents(uri, experiment)
    tracker.sync([SWEEP, DONE])
    Tracker(uri, experiment).sync([DONE, SWEEP])  # another process
    again = contents(uri, experiment)
    assert str([history for _, history in again.values()]) == str([history for _, history in once.values()])  # with NaN
    assert again["first/0"][0].data.tags["state"] == "complete"
    assert again["first/0"][0].info.run_id == once["first/0"][0].info.run_id


def test_a_resumed_run_goes_on(uri, experiment):
    Tracker(uri, experiment).sync([replace(TRIAL, parent_key=None, status="killed", end_time_ms=1_700_000_030_000)])
    assert contents(uri, experiment)["first/0"][0].info.status == "KILLED"
    Tracker(uri, experiment).sync([replace(TRIAL, parent_key=None)])
    assert contents(uri, experiment)["first/0"][0].info.status == "RUNNING"
    Tracker(uri, experiment).sync([replace(DONE, parent_key=None)])
    run, history = contents(uri, experiment)["first/0"]
    assert (run.info.status, run.info.end_time) == ("FINISHED", DONE.end_time_ms)
    assert steps(history, "val_gap") == [1, 2, 3]


@contextmanager
def cut_off(monkeypatch, call, arrives):
    """The connection is lost in ``call`` of MLflow's client, which arrives or not, and the sync within says so."""
    from mlflow.tracking import MlflowClient

    real = getattr(MlflowClient, call)

    def fails(*args, **kwargs):
        if arrives:
            real(*args, **kwargs)
        raise OSError("connection lost")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, call, fails)
        with pytest.raises(UnavailableError, match=r"did not take run .*: connection lost"):
            yield


@pytest.mark.parametrize("call", ["create_run", "log_batch", "set_terminated"])
@pytest.mark.parametrize("arrives", [True, False])
def test_an_interrupted_sync_is_finished_by_the_next(uri, experiment, call, arrives, monkeypatch):
    tracker = Tracker(uri, experiment)
    with cut_off(monkeypatch, call, arrives):
        tracker.sync([SWEEP, DONE])
    tracker.sync([SWEEP, DONE])
    found = contents(uri, experiment)
    run, history = found["first/0"]
    assert found.keys() == {"first", "first/0"}
    assert run.info.status == "FINISHED"
    assert run.data.params.keys() == DONE.params.keys()
    assert steps(history, "val_gap") == [1, 2, 3]


def lineage(uri, experiment):
    """What runs read and end with: {key: ({context: data set}, {model: its metrics}, members' models)}; none twice."""
    from mlflow.tracking import MlflowClient

    client, found = MlflowClient(tracking_uri=uri), {}
    number = client.get_experiment_by_name(experiment).experiment_id
    models = {model.model_id: model for model in client.search_logged_models([number])}
    for some in client.search_runs([number]):
        run = client.get_run(some.info.run_id)  # a search does not tell of models that were read
        sets = [(each.tags[0].value, each.dataset) for each in run.inputs.dataset_inputs]
        outputs = [models.pop(output.model_id) for output in run.outputs.model_outputs]
        assert len({context for context, _ in sets}) == len(sets)
        members = [model.model_id for model in run.inputs.model_inputs]
        found[run.data.tags["dmlray.key"]] = dict(sets), outputs, members
    assert not models, "a model that no run has"
    return found


def test_runs_tell_what_they_read_and_end_with(uri, experiment):
    tracker = Tracker(uri, experiment)
    tracker.sync([SWEEP, READ, ENSEMBLE])
    tracker.sync([SWEEP, READ, ENSEMBLE])
    Tracker(uri, experiment).sync([SWEEP, READ, ENSEMBLE])  # another process
    found = lineage(uri, experiment)
    sets, (model,), _ = found["first/0"]
    assert sets.keys() == {"train", "validation"}
    assert sets["train"].digest == "ab" * 18
    assert sets["train"].source == '{"uri": "/data/toy/train"}'
    assert sets["train"].profile == '{"num_rows": 9}'
    assert (model.name, model.params, model.tags["dmlray.sha256"]) == ("first-0", {"epoch": "2"}, "aa")
    (metric,) = model.metrics
    assert (metric.key, metric.value, metric.step, metric.dataset_name) == ("val_gap", 0.6, 2, "toy validation")
    assert str(model.status) == "READY"
    assert found["first/ensemble/top5/aa"] == ({}, [], [model.model_id])
    history = contents(uri, experiment)["first/0"][1]
    assert steps(history, "val_gap") == [1, 2, 3]  # what is said of the model too is not said twice


@pytest.mark.parametrize("call", ["log_inputs", "create_logged_model", "finalize_logged_model", "log_outputs"])
@pytest.mark.parametrize("arrives", [True, False])
def test_an_interrupted_account_is_finished_by_the_next(uri, experiment, call, arrives, monkeypatch):
    tracker = Tracker(uri, experiment)
    with cut_off(monkeypatch, call, arrives):
        tracker.sync([SWEEP, READ])
    assert contents(uri, experiment)["first/0"][0].info.status == "FINISHED"  # it is told first
    tracker.sync([SWEEP, READ])
    sets, models, _ = lineage(uri, experiment)["first/0"]
    assert (len(sets), len(models), len(models[0].metrics)) == (2, 1, 1)


def test_what_a_run_lacks_is_found_and_repaired(uri, experiment):
    tracker = Tracker(uri, experiment)
    tracker.sync([SWEEP, DONE])
    assert tracker.audit([SWEEP, READ], "first/") == {
        "first/0": [
            f"lacks the data set toy train ({'ab' * 18})",
            f"lacks the data set toy validation ({'ab' * 18})",
            "lacks the model first-0",
        ]
    }
    tracker.sync([SWEEP, READ])
    assert tracker.audit([SWEEP, READ], "first/") == {}
    tracker.rebuild([SWEEP, READ], ["first/0"])
    assert tracker.audit([SWEEP, READ], "first/") == {}
    assert len(lineage(uri, experiment)["first/0"][1]) == 1  # the removed run's model went with it


def test_a_folder_is_sent_under_its_name(uri, experiment, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/01-gap.png").write_bytes(b"a picture")
    Tracker(uri, experiment).sync([replace(SWEEP, artifacts=[tmp_path / "pictures"])])
    run = contents(uri, experiment)["first"][0]
    artifacts = Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts" / experiment / run.info.run_id
    assert (artifacts / "artifacts/pictures/01-gap.png").read_bytes() == b"a picture"


def test_a_value_that_arrives_late_is_the_same_row(uri, experiment):
    """A request given up by the client may still be answered, after the client looked and sent again."""
    first, second = Tracker(uri, experiment), Tracker(uri, experiment)
    first.sync([SWEEP])
    second.sync([SWEEP])
    curve = replace(SWEEP, metrics=[(0, {"best": 0.1}), (1, {"best": 0.2})])
    first.sync([curve])
    second.sync([curve])
    assert steps(contents(uri, experiment)["first"][1], "best") == [0, 1]


@pytest.mark.thorough
def test_many_values_are_sent_in_pieces(uri, experiment):
    big = replace(
        SWEEP,
        params={f"p{number}": number for number in range(120)},
        metrics=[(step, {"loss": float(step)}) for step in range(1200)],
    )
    Tracker(uri, experiment).sync([big])
    run, history = contents(uri, experiment)["first"]
    assert len(run.data.params) == 120
    assert steps(history, "loss") == list(range(1200))


def test_a_refused_run_does_not_hold_others_back(uri, experiment, tmp_path):
    bad = replace(TRIAL, key="first/1", params={"a\nb": 1})
    gone = replace(TRIAL, key="first/2", artifacts=[tmp_path / "gone"])
    background = BackgroundTracker(uri, experiment)
    background.submit([SWEEP, bad, gone, TRIAL])
    assert "2 runs are not up to date in MLflow: " in background.close(20)
    assert "first/0" in contents(uri, experiment)
    with pytest.raises(RefusedRunError, match="did not take run first/1: "):
        Tracker(uri, experiment).sync([bad, TRIAL])


def test_the_background_sends_the_newest(uri, experiment):
    background = BackgroundTracker(uri, experiment)
    for record in (TRIAL, DONE):
        background.submit([SWEEP, record])
    assert background.close(20) is None
    run, history = contents(uri, experiment)["first/0"]
    assert run.info.status == "FINISHED"
    assert steps(history, "val_gap") == [1, 2, 3]


def test_what_failed_is_sent_later(uri, experiment, monkeypatch):
    background = BackgroundTracker(uri, experiment)
    sync = Tracker.sync

    def fails(self, records):
        raise UnavailableError("down")

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "sync", fails)
        background.submit([SWEEP])
        wait_for(lambda: background._error is not None)
    assert Tracker.sync is sync
    background.submit([TRIAL])
    assert background.close(20) is None
    assert contents(uri, experiment).keys() == {"first", "first/0"}


def test_a_server_that_comes_back_gets_what_it_missed_with_nothing_new(uri, experiment, monkeypatch):
    monkeypatch.setattr(background_module, "PAUSE_S", 0.01)
    monkeypatch.setattr(background_module, "RETRY_S", 0.05)
    sent = []

    def comes_back(self, records):
        if len(sent) < 3:
            sent.append("failed")
            raise UnavailableError("down")
        sent.extend(record.key for record in records)

    monkeypatch.setattr(Tracker, "sync", comes_back)
    background = BackgroundTracker(uri, experiment)
    background.submit([SWEEP, TRIAL])
    wait_for(lambda: len(sent) == 5)
    assert sent == ["failed"] * 3 + ["first", "first/0"]
    assert not background.is_failing
    assert background.close(5) is None


def test_what_changes_often_is_sent_in_its_newest_state(uri, experiment, monkeypatch):
    monkeypatch.setattr(background_module, "PAUSE_S", 0.2)
    sent = []
    monkeypatch.setattr(Tracker, "sync", lambda self, records: sent.extend(records))
    background = BackgroundTracker(uri, experiment)
    for step in range(30):
        background.submit([replace(SWEEP, metrics=[(step, {"loss": 1.0})])])
        time.sleep(0.005)
    assert background.close(5) is None
    assert len(sent) <= 4
    assert sent[-1].metrics[0][0] == 29


def test_runs_that_another_process_writes_are_left_alone(uri, experiment, monkeypatch):
    sent = []

    def fails(self, records):
        sent.extend(records)
        raise UnavailableError("down")

    monkeypatch.setattr(Tracker, "sync", fails)
    background = BackgroundTracker(uri, experiment)
    background.submit([SWEEP])
    wait_for(lambda: background.is_failing)
    background.abandon()
    assert background.close(5) is None
    assert len(sent) == 1


FIRST = """
import sys
from dmlray.tracking import RunRecord, Tracker
sys.stdin.read(1)
Tracker(sys.argv[1], "dmlray").sync([RunRecord(sys.argv[2], sys.argv[2], "finished", metrics=[(1, {"loss": 2.0})])])
"""


@pytest.mark.slow
def test_six_processes_may_be_the_first(tmp_path):
    uri = default_uri(tmp_path)
    started = [
        subprocess.Popen([sys.executable, "-c", FIRST, uri, f"run{number}"], stdin=subprocess.PIPE, text=True)
        for number in range(6)
    ]
    for process in started:
        process.stdin.write("x")
        process.stdin.flush()
    for process in started:
        process.communicate()
    assert [process.returncode for process in started] == [0] * 6
    found = contents(uri, "dmlray")
    assert found.keys() == {f"run{number}" for number in range(6)}
    assert all(steps(history, "loss") == [1] for _, history in found.values())


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


@contextmanager
def listening(answers: bool) -> Iterator[str]:
    """The address of a port that is closed, or of one that accepts and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if answers:
            server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("answers", [False, True], ids=["dead", "mute"])
def test_a_failing_server_holds_nobody_up(answers, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with listening(answers) as address:
        background = BackgroundTracker(address, "dmlray")
        begin = time.monotonic()
        for step in range(200):
            background.submit([replace(SWEEP, metrics=[(step, {"loss": 1.0})]), TRIAL])
        assert time.monotonic() - begin < 0.5
        warning = background.close(10)
        assert time.monotonic() - begin < 8
    reason = "Read timed out" if answers else "Failed to establish a new connection: [Errno 111] Connection refused"
    assert warning.startswith(f"2 runs are not up to date in MLflow: MLflow at {address} cannot be used: {reason}")
    assert "\n" not in warning


def test_closing_does_not_wait_longer_than_asked(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "4")
    with listening(True) as address:
        background = BackgroundTracker(address, "dmlray")
        background.submit([SWEEP])
        begin = time.monotonic()
        warning = background.close(0.2)
        assert time.monotonic() - begin < 1
        assert warning == f"1 run is not up to date in MLflow: MLflow at {address} did not answer within 0.2 s"


def test_a_store_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    def cut(*args):
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", cut)
        with pytest.raises(UnavailableError, match=r"cannot be used: .*killed"):
            Tracker(default_uri(tmp_path), "dmlray").sync([SWEEP])
    assert not list(tmp_path.glob("mlflow.db*"))
    Tracker(default_uri(tmp_path), "dmlray").sync([SWEEP])
    assert contents(default_uri(tmp_path), "dmlray").keys() == {"first"}


def test_a_damaged_store_is_one_sentence(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 200)
    with pytest.raises(UnavailableError, match=r"^MLflow at sqlite:.*mlflow.db cannot be used: ") as caught:
        Tracker(default_uri(tmp_path), "dmlray").sync([SWEEP])
    assert "\n" not in str(caught.value)


def test_the_page_is_served_to_this_machine_alone(tmp_path):
    uri = default_uri(tmp_path)
    with pytest.raises(MissingInputError, match="no MLflow store here"):
        ui_command(uri)
    (tmp_path / "mlflow.db").touch()
    command = ui_command(uri, port=5001)
    assert command[:4] == [sys.executable, "-m", "mlflow", "ui"]
    assert command[4:] == [
        *("--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db"),
        *("--default-artifact-root", f"file://{tmp_path}/mlartifacts"),
        *("--workers", "1", "--host", "127.0.0.1", "--port", "5001"),
    ]
    with pytest.raises(UsageError, match=r"host must be 127.0.0.1, got '0.0.0.0'"):
        ui_command(uri, host="0.0.0.0")
    with pytest.raises(UsageError, match="is a server already"):
        ui_command("https://mlflow.example")


def test_default_uri_is_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert default_uri(Path("results")) == f"sqlite:///{tmp_path}/results/mlflow.db"
