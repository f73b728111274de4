"""A study in PostgreSQL: the same promises as in a file, and no secret anywhere."""

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dmlray.errors import BusyError, ConfigError, LeaseLostError, StorageError, SweepExistsError, UnavailableError
from dmlray.sweep.session import create_sweep, discarded_unless_started
from dmlray.sweep.settings import STUDY_POINTER, SweepConfig, SweepFolder
from dmlray.sweep.space import Space
from dmlray.sweep.study import Study
from tests.sweep.spaces import SPACE, load_text

pytestmark = pytest.mark.thorough
PASSWORD = secrets.token_hex(8)


def programs() -> Path:
    """Where PostgreSQL's server is."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders or not (folders[-1] / "initdb").exists():
        pytest.skip("PostgreSQL's server is not installed (apt-get install postgresql)")
    return folders[-1]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a database that a password protects."""
    pytest.importorskip("psycopg", reason="the driver is not installed (pip install 'psycopg[binary]')")
    binaries, folder = programs(), Path("/tmp") / f"dmlray-postgresql-{os.getpid()}"  # a socket's path must be short
    folder.mkdir()
    (folder / "password").write_text(PASSWORD)
    account = []
    if os.geteuid() == 0:  # it refuses root
        shutil.chown(folder, "postgres")
        shutil.chown(folder / "password", "postgres")
        account = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(name: str, *arguments: str) -> None:
        command = [*account, str(binaries / name), "-D", str(folder / "data"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/")
        assert done.returncode == 0, done.stderr

    settings = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off -c log_min_messages=fatal"
    run("initdb", "-U", "dmlray", "-A", "scram-sha-256", "--pwfile", str(folder / "password"), "-N")
    run("pg_ctl", "-l", str(folder / "log"), "-o", settings, "-w", "start")
    yield f"postgresql://dmlray@127.0.0.1:{port}/postgres"
    run("pg_ctl", "-m", "immediate", "-w", "stop")
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return load_text(tmp_path, SPACE)


def new_sweep(results: Path, name: str, space: Space, storage: str) -> SweepFolder:
    config = SweepConfig(name=name, data=results, fingerprints={}, trials=3, tracking_uri="")
    return create_sweep(results, config, space, storage)


def test_a_trial_lives_there_as_in_a_file(server: str, tmp_path: Path, space: Space) -> None:
    folder, other = (new_sweep(tmp_path, name, space, server) for name in ("first", "second"))
    local = tmp_path / "local.db"
    Study.create(local, "first", seed=0).close()
    for path in (folder.study, local):
        with Study.driven(path, pytest.fail, print) as study:
            for number in range(3):
                assert study.start(study.ask(space).number).attempts == 1
                study.report(number, 1, {"val_gap": 0.1 + 0.2 * number, "loss": 1e-9}, "c", "d")
            study.complete(0, 0.1, 1, {"test_gap": 1 / 3})
            study.prune(1, 0.30000000000000004, 1, {})
            study.fail(2, "nan", "no number")
            study.retry_failed()
    with (
        closing(Study.open(folder.study, read_only=True)) as there,
        closing(Study.open(local, read_only=True)) as here,
        closing(Study.open(other.study, read_only=True)) as empty,
    ):
        assert empty.trials() == []
        for one, two in zip(there.trials(), here.trials(), strict=True):
            assert (one.params, one.config, one.curve, one.value) == (two.params, two.config, two.curve, two.value)
            assert (one.state, one.metrics, one.attempts) == (two.state, two.metrics, two.attempts)
        with pytest.raises(StorageError, match="read-only transaction"):
            there.ask(space)


def test_one_driver_there_too(server: str, tmp_path: Path, space: Space) -> None:
    path = new_sweep(tmp_path, "driven", space, server).study
    lost: list[LeaseLostError] = []
    with Study.driven(path, lost.append, print) as old:
        old.ask(space)
        refused = pytest.raises(BusyError, match=f"driven is being run by process {os.getpid()}")
        with refused, Study.driven(path, pytest.fail, print):
            pass
        leases = old._store._leases
        leases._take(leases.state())
        with pytest.raises(LeaseLostError):
            old.ask(space)
    with closing(Study.open(path, read_only=True)) as study:
        assert len(study.trials()) == 1


def test_a_name_is_taken_once_in_a_database(server: str, tmp_path: Path, space: Space) -> None:
    folder = new_sweep(tmp_path / "a", "taken", space, server)
    with pytest.raises(SweepExistsError, match="holds a study 'taken' already"):
        new_sweep(tmp_path / "b", "taken", space, server)
    with pytest.raises(KeyboardInterrupt), discarded_unless_started(folder):
        raise KeyboardInterrupt
    new_sweep(tmp_path / "b", "taken", space, server)


def test_no_secret_is_written_or_said(
    server: str, tmp_path: Path, space: Space, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with_password = server.replace("dmlray@", f"dmlray:{PASSWORD}@")
    with pytest.raises(ConfigError, match="PGPASSWORD") as refused:
        new_sweep(tmp_path, "secret", space, with_password)
    folder = new_sweep(tmp_path, "secret", space, server)
    monkeypatch.setenv("PGPASSWORD", "wrong" + PASSWORD)
    with pytest.raises(UnavailableError, match="password authentication failed") as failed:
        Study.open(folder.study)
    written = "".join(file.read_text() for file in folder.path.rglob("*") if file.is_file())
    assert PASSWORD not in f"{refused.value} {failed.value} {written} {caplog.text}"


def test_a_server_that_is_gone_is_told(server: str, tmp_path: Path, space: Space) -> None:
    folder = new_sweep(tmp_path, "gone", space, server)
    text = folder.study.read_text()
    (folder.path / STUDY_POINTER).write_text(text.replace(server.rpartition(":")[2].partition("/")[0], "1"))
    with pytest.raises(
        UnavailableError, match=r"study's database postgresql://dmlray@127\.0\.0\.1:1/.* does not answer"
    ):
        Study.open(folder.study)
    (folder.path / STUDY_POINTER).write_text(text[: len(text) // 3])
    with pytest.raises(StorageError, match=r"study\.url: is damaged"):
        Study.open(folder.study)


@pytest.mark.parametrize("url", ["mysql://a@b/c", "sqlite:///x.db", "nonsense", "postgresql://h/d?password=x"])
def test_other_addresses_are_refused(url: str, tmp_path: Path, space: Space) -> None:
    with pytest.raises(ConfigError, match="--storage must be") as refused:
        new_sweep(tmp_path, "other", space, url)
    assert "password=x" not in str(refused.value)
    assert not (tmp_path / "other").exists()
