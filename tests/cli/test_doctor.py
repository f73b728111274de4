"""`dmlray doctor`: each thing that can be wrong is found, with a remedy; what is right is left alone."""

import json
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dmlray.cli import facts as module
from dmlray.cli.app import app
from dmlray.cli.checks import GIB, examine, exit_code
from dmlray.cli.facts import Facts, Gpus, Outcome, Space, Token, gather, listening, locked
from dmlray.cli.probes import data_outcomes, storage_outcome, tracking_outcome
from tests.data.videos import VIDEO, random_block, write_dataset

SOUND = Facts(
    python=(3, 11, 7),
    requirements=["numpy>=2.0", "ray[data]>=2.60,<2.61", "pytest>=8; extra == 'dev'"],
    lock={"numpy": "2.4.0", "ray": "2.60.0", "torch": "2.13.0"},
    installed={"numpy": "2.4.0", "ray": "2.60.0", "torch": "2.13.0+cu130"},
    gpus=Gpus(),
    disk=Space("/results", 100 * GIB, 50 * GIB),
    writable=True,
    shared_memory=Space("/dev/shm", 8 * GIB, 8 * GIB),
    open_files=65_536,
    processes=sys.maxsize,
    environment={},
    token=Token("/home/me/.ray/auth_token", exists=False),
    listening=(),
    tracking=Outcome("mlflow.db, 3 runs"),
)
H200 = Gpus(("NVIDIA H200",), "580.1", None, 1, "13.0")


def test_a_sound_machine_has_nothing_but_ok() -> None:
    found = examine(SOUND)
    assert {finding.status for finding in found} == {"ok"}
    assert exit_code(found) == 0
    assert exit_code(examine(replace(SOUND, gpus=H200, ray=Outcome("1 node"), data={"d": Outcome("9 videos")}))) == 0


WRONG = [
    ({"python": (3, 10, 2)}, "Python", "problem", 78),
    ({"installed": {"numpy": "1.26.4", "ray": "2.60.0"}}, "packages", "problem", 78),
    ({"installed": {"numpy": "2.4.0"}}, "packages", "problem", 78),
    ({"installed": SOUND.installed | {"torch": "2.12.0+cpu"}}, "packages", "warning", 0),
    ({"gpus": Gpus(error="Driver/library version mismatch")}, "GPU", "problem", 69),
    ({"gpus": replace(H200, usable=0, cuda=None)}, "GPU", "problem", 78),
    ({"disk": Space("/results", GIB, GIB // 2)}, "disk", "problem", 78),
    ({"disk": Space("/results", 9 * GIB, 5 * GIB)}, "disk", "warning", 0),
    ({"writable": False}, "results", "problem", 78),
    ({"shared_memory": Space("/dev/shm", 2**26, 2**26)}, "shared memory", "problem", 78),
    ({"shared_memory": None}, "shared memory", "warning", 0),
    ({"open_files": 256}, "open files", "problem", 78),
    ({"open_files": 2048}, "open files", "warning", 0),
    ({"processes": 100}, "processes", "warning", 0),
    ({"environment": {"RAY_AUTH_MODE": "disabled"}}, "Ray's token", "problem", 78),
    ({"environment": {"RAY_ADDRESS": "10.0.0.1:6379"}}, "Ray's token", "problem", 78),
    ({"environment": {"RAY_AUTH_MODE": "token"}}, "Ray's token", "warning", 0),
    ({"token": Token("/home/me/.ray/auth_token", True, 0o644, is_exposed=True)}, "Ray's token", "problem", 78),
    ({"listening": [("*", 8265), ("*", 22)]}, "exposure", "warning", 0),
    ({"environment": {"MLFLOW_TRACKING_URI": "http://mlflow.example"}}, "exposure", "warning", 0),
    ({"tracking": Outcome("does not answer", error=True)}, "tracking", "problem", 69),
    ({"ray": Outcome("no Ray answers", error=True)}, "Ray", "problem", 69),
    ({"data": {"train": Outcome("is damaged", error=True)}}, "data", "problem", 78),
]


@pytest.mark.parametrize(("change", "check", "status", "code"), WRONG)
def test_what_is_wrong_is_found_alone_and_has_a_remedy(change: dict, check: str, status: str, code: int) -> None:
    found = examine(replace(SOUND, **change))
    wrong = [finding for finding in found if finding.status != "ok"]
    assert [(finding.check, finding.status) for finding in wrong] == [(check, status)]
    assert wrong[0].found
    assert wrong[0].remedy
    assert exit_code(found) == code


def test_what_does_not_answer_counts_less_than_what_must_change() -> None:
    found = examine(replace(SOUND, tracking=Outcome("no", error=True), open_files=10))
    assert exit_code(found) == 78


def test_sentences_name_what_was_found() -> None:
    assert "numpy 1.26.4 is not >=2.0; ray is missing" in str(examine(replace(SOUND, installed={"numpy": "1.26.4"})))
    assert "torch 2.12.0 (locked 2.13.0)" in str(
        examine(replace(SOUND, installed={**SOUND.installed, "torch": "2.12.0"}))
    )
    exposed = Token("/t", exists=True, mode=0o640, is_exposed=True)
    assert "mode 0640" in str(examine(replace(SOUND, token=exposed)))


def test_the_lock_is_read_as_pip_reads_it() -> None:
    text = "# set\nNumPy==2.4.0  # why\nruamel.yaml_x==1\npsycopg[binary]>=3\n"
    assert locked(text) == {"numpy": "2.4.0", "ruamel-yaml-x": "1"}
    assert locked(None) is None


def test_open_ports_are_those_that_others_reach() -> None:
    head = "  sl  local_address rem_address   st\n"
    rows = [
        " 0: 00000000:2049 00000000:0000 0A",  # 0.0.0.0:8265
        " 1: 0100007F:1388 00000000:0000 0A",  # 127.0.0.1:5000
        " 2: 020200C0:18EB 00000000:0000 0A",  # 192.0.2.2:6379
        " 3: 00000000:2711 00000000:0000 01",  # a connection, not an ear
    ]
    six = [
        f" 0: {'0' * 32}:2711 {'0' * 32}:0000 0A",  # [::]:10001
        f" 1: {'0' * 24}01000000:1388 {'0' * 32}:0000 0A",  # [::1]:5000
        f" 2: {'0' * 16}FFFF00000100007F:1388 {'0' * 32}:0000 0A",  # [::ffff:127.0.0.1]:5000
    ]
    found = list(listening([head + "\n".join(rows), head + "\n".join(six)]))
    assert [port for _, port in found] == [8265, 6379, 10001]
    assert found[0][0] == "*"


def test_a_token_is_exposed_where_its_folders_are_open_too(tmp_path: Path) -> None:
    folder = tmp_path / ".ray"
    folder.mkdir(mode=0o700)
    path = folder / "auth_token"
    assert not module._token(path).exists
    path.write_text("secret")
    path.chmod(0o644)
    assert module._token(path) == Token(str(path), exists=True, mode=0o644, is_exposed=False)


def test_the_tracking_store(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    uri = f"sqlite:///{path}"
    assert not tracking_outcome(uri, 1).error
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE runs (id)")
        connection.commit()
    assert tracking_outcome(uri, 1) == Outcome(f"{path}, 0 runs")
    path.write_bytes(b"nothing that SQLite knows" * 100)
    assert "cannot be read" in tracking_outcome(uri, 1).text
    assert tracking_outcome("http://127.0.0.1:9", 1).error
    assert tracking_outcome("postgresql://127.0.0.1:9/mlflow", 1).error


def test_the_data(tmp_path: Path) -> None:
    write_dataset(tmp_path, VIDEO, [[random_block(VIDEO, 3)]], "validation")
    found = data_outcomes(tmp_path)
    assert not any(outcome.error for outcome in found.values())
    assert "streams" in found[str(tmp_path / "train")].text
    next((tmp_path / "validation").glob("*.arrow")).write_bytes(b"cut")
    (broken,) = data_outcomes(tmp_path).values()
    assert broken.error
    assert data_outcomes(tmp_path / "nowhere")[str(tmp_path / "nowhere")].error


def test_this_machine_is_looked_at(tmp_path: Path) -> None:
    facts = gather(tmp_path / "not" / "there", f"sqlite:///{tmp_path}/mlflow.db", None, None, with_ray=False)
    assert facts.disk.path == str(tmp_path)
    assert facts.writable
    assert facts.lock is not None
    assert facts.lock.keys() & facts.installed.keys()
    assert facts.ray is None


@pytest.mark.parametrize(("change", "code"), [({}, 0), ({"tracking": Outcome("gone", error=True)}, 69)])
def test_the_command_answers_with_a_document_and_a_code(
    monkeypatch: pytest.MonkeyPatch, change: dict, code: int
) -> None:
    monkeypatch.setattr(module, "gather", lambda *given: replace(SOUND, **change))
    done = CliRunner().invoke(app, ["doctor", "--json"])
    document = json.loads(done.stdout)
    assert done.exit_code == code
    assert document["version"] == 1
    assert [row for row in document["findings"] if row["status"] == "problem"] == [
        {"check": "tracking", "status": "problem", "found": "gone", "remedy": document["findings"][-1]["remedy"]}
    ][: bool(code)]
    table = CliRunner().invoke(app, ["doctor"])
    assert table.exit_code == code
    assert all(len(line) <= 80 for line in table.stdout.splitlines())
    assert ("→ start it" in table.stdout) == bool(code)


@pytest.mark.ray
def test_ray_is_asked_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = module._ask_ray(None)
    assert not outcome.error
    assert outcome.text.startswith("1 node with")
    monkeypatch.setattr(module, "_RAY_S", 2.0)
    assert module._ask_ray("127.0.0.1:9") == Outcome("Ray did not answer within 2 s", error=True)


def test_a_storage_path_is_tried(tmp_path: Path) -> None:
    good, bad = storage_outcome(str(tmp_path / "there")), storage_outcome("/proc/nothing")
    assert not good.error
    assert not list((tmp_path / "there").iterdir())
    (finding,) = [each for each in examine(replace(SOUND, storage=bad)) if each.status != "ok"]
    assert (finding.check, finding.code) == ("storage path", 69)
    assert "/proc/nothing: could not be read or written" in finding.found
