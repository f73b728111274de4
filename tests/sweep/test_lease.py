"""One driver per sweep: who holds it, who may take it, and what a driver that lost it can still do."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, update

from dmlray.errors import BusyError, LeaseLostError, StorageError
from dmlray.sweep import lease
from dmlray.sweep.holder import Holder
from dmlray.sweep.lease import LEASES
from dmlray.sweep.space import Space
from dmlray.sweep.study import Study
from tests.sweep.spaces import load_text

pytestmark = pytest.mark.thorough

DRIVE = """
import sys
from pathlib import Path
from dmlray.sweep.study import Study
with Study.driven(Path(sys.argv[1]), print, print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("study") / "study.db"
    Study.create(path, "toy", seed=0).close()
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path, empty: bytes) -> Path:
    path = tmp_path / "toy" / "study.db"
    path.parent.mkdir()
    path.write_bytes(empty)
    return path


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return load_text(
        tmp_path, "space: {epochs: 2, optimizer: {kind: adam, learning_rate: {float: [1e-4, 1.0], log: true}}}"
    )


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(lease, "EXPIRY_S", 0.3)
    monkeypatch.setattr(lease, "_LOOK_S", 0.02)


def leave_behind(path: Path, holder: Holder) -> None:
    """What a driver that can do nothing more has left in the table."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(update(LEASES).values(epoch=LEASES.c.epoch + 1, holder=holder.to_json()))
    engine.dispose()


def elsewhere() -> Holder:
    return replace(Holder.this_process(), host="far", pid=7, place="another machine")


@contextmanager
def driver(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that drives the study."""
    other = subprocess.Popen(
        [sys.executable, "-c", DRIVE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    yield other
    other.kill()
    other.communicate()


def is_driven(path: Path) -> bool:
    with closing(Study.open(path, read_only=True)) as study:
        return study.is_driven()


@pytest.mark.thorough
def test_a_second_driver_is_refused_and_a_killed_one_makes_way_at_once(path: Path) -> None:
    with driver(path) as other:
        assert is_driven(path)
        started = time.monotonic()
        refused = pytest.raises(BusyError, match=f"toy is being run by process {other.pid} on ")
        with refused, Study.driven(path, pytest.fail, print):
            pass
        assert time.monotonic() - started < 3 * lease.HEARTBEAT_S
        other.kill()  # and not waited for: a zombie is dead enough
        while is_driven(path):
            time.sleep(0.01)
        started = time.monotonic()
        with Study.driven(path, pytest.fail, print):
            assert time.monotonic() - started < 1
            assert is_driven(path)
    assert not is_driven(path)


def test_a_holder_elsewhere_that_beats_is_left_alone(path: Path, impatient: None) -> None:
    said: list[str] = []
    with Study.driven(path, pytest.fail, print):
        stranger = replace(Holder.this_process(), host="far", pid=7, place="another machine")
        engine = create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            connection.execute(update(LEASES).values(holder=stranger.to_json()))
        engine.dispose()
        assert is_driven(path)
        with pytest.raises(BusyError, match="process 7 on far"), Study.driven(path, pytest.fail, said.append):
            pass
    assert "process 7 on far" in said[0]


def test_a_holder_that_fell_silent_is_replaced(path: Path, impatient: None) -> None:
    leave_behind(path, elsewhere())
    assert not is_driven(path)
    started = time.monotonic()
    with Study.driven(path, pytest.fail, print):
        assert time.monotonic() - started >= lease.EXPIRY_S


@pytest.mark.parametrize("hours", [-1, 1])
def test_wall_clocks_decide_nothing(path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    lost: list[LeaseLostError] = []
    with Study.driven(path, lost.append, print):
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + hours * 3600)
        time.sleep(0.5)
        with pytest.raises(BusyError), Study.driven(path, lost.append, print):
            pass
    assert lost == []


def test_a_driver_that_lost_its_lease_hears_of_it_and_cannot_write(
    path: Path, space: Space, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[LeaseLostError] = []
    with Study.driven(path, lost.append, print) as old:
        number = old.start(old.ask(space).number).number
        old.report(number, 1, {"val_gap": 0.5}, "c", "d")
        leave_behind(path, elsewhere())
        writes = [
            lambda: old.ask(space),
            lambda: old.report(number, 2, {"val_gap": 0.9}, "c", "d"),
            lambda: old.complete(number, 0.5, 1, {}),
            lambda: old.fail(number, "data", "gone"),
            lambda: old.forgive(number, "storage"),
        ]
        for write in writes:
            with pytest.raises(LeaseLostError, match=r"process 7 on far .* has taken over .*toy"):
                write()
        deadline = time.monotonic() + 10
        while not lost and time.monotonic() < deadline:
            time.sleep(0.01)
    assert [error.exit_code for error in lost] == [73]
    with closing(Study.open(path, read_only=True)) as seen:
        (record,) = seen.trials()
    assert (record.state.value, record.history) == ("running", ((1, 0.5),))


def test_of_two_that_want_a_free_lease_one_gets_it(path: Path) -> None:
    with closing(Study.open(path)) as study:
        seen = study._store._leases.state()
        with Study.driven(path, pytest.fail, print), pytest.raises(BusyError):
            study._store._leases._take(seen)


def test_an_open_study_is_fenced_once_somebody_drives_it(path: Path, space: Space) -> None:
    with closing(Study.open(path)) as study:
        study.ask(space)
        with Study.driven(path, pytest.fail, print), pytest.raises(LeaseLostError):
            study.ask(space)


def test_a_lease_in_a_file_that_cannot_be_written_is_told(path: Path) -> None:
    with (
        closing(Study.open(path, read_only=True)) as study,
        pytest.raises(StorageError, match="readonly"),
        study._store.driving(pytest.fail, print),
    ):
        pass


def test_a_holder_is_known_by_its_start_not_by_its_number() -> None:
    me = Holder.this_process()
    assert Holder.parse(me.to_json()) == me
    assert me.fate() == "alive"
    assert replace(me, ticks=me.ticks + 1).fate() == "dead"
    assert replace(me, pid=2**22 + 1).fate() == "dead"
    assert replace(me, place="elsewhere").fate() == "unknown"
