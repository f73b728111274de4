"""Row 40: what only the environment may know is in nothing that a sweep says or leaves."""

import base64
import secrets
from collections.abc import Callable

import pytest

from tests.faults.conftest import MakeSandbox
from tests.faults.plan import Fault
from tests.faults.sandbox import NAME
from tests.faults.summary import Row
from tests.faults.test_tracking_faults import SERVERS

NAMES = (
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PGPASSWORD", "RAY_AUTH_TOKEN"),
    *("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
)


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_secrets_stay_in_the_environment(make: MakeSandbox, row: Callable[..., Row]) -> None:
    """A trial fails with a traceback, the tracking server with 500; then one that works, and the report."""
    row(40, "secrets in the environment", "a failing trial, a failing server, MLflow, the report")
    known = {name: secrets.token_hex(12) for name in NAMES}
    login = ":".join(known[f"MLFLOW_TRACKING_{part}"] for part in ("USERNAME", "PASSWORD"))
    needles = [*known.values(), base64.b64encode(login.encode()).decode()]
    said = ""
    with SERVERS["answering 500"]() as port:
        sandbox = make(tracking=f"http://127.0.0.1:{port}")
        driver = sandbox.begin(Fault("step", "break", {"trial": 1, "epoch": 1, "step": 2}), **known)
        answer = sandbox.ended(driver, code=0)
        assert "not up to date in MLflow" in answer.err
        said += answer.out + answer.err
    uri = f"sqlite:///{sandbox.folder / 'healthy.db'}"
    for words in (["search", "--resume", NAME, "--tracking-uri", uri], ["report", NAME], ["status", NAME, "--json"]):
        answer = sandbox.ended(sandbox.start(sandbox.folder, sandbox.plan(), words, known), code=0)
        said += answer.out + answer.err
    left = {path: path.read_bytes() for path in sandbox.folder.rglob("*") if path.is_file()}
    assert any(path.name == "error.txt" for path in left)
    assert any(path.name == "report.html" for path in left)
    for needle in needles:
        assert needle not in said
        assert [path for path, content in left.items() if needle.encode() in content] == []
