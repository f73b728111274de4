"""Rows 19 to 27: a trial's worker dies, hangs, or finds its checkpoints damaged; its configuration is poison."""

from collections.abc import Callable

import pytest

from dmlray.sweep.records import TrialState
from tests.faults.conftest import MakeSandbox
from tests.faults.invariants import Table, check, interrupted_steps, table
from tests.faults.orphans import processes_of
from tests.faults.plan import Fault
from tests.faults.runs import OnRay
from tests.faults.sandbox import SPACE, Sandbox
from tests.faults.summary import Row

pytestmark = pytest.mark.timeout(600)
DEATHS = {
    "between steps": ("19", Fault("step", "kill", {"trial": 0, "epoch": 2, "step": 2})),
    "before the first step": ("19", Fault("step", "kill", {"trial": 0, "epoch": 1, "step": 1})),
    "checkpoint half written": ("20", Fault("checkpoint-written", "cut", {"trial": 0, "epoch": 2})),
    "checkpoint not yet renamed": ("20", Fault("checkpoint-written", "kill", {"trial": 0, "epoch": 2})),
    "checkpoint saved, not logged": ("20", Fault("checkpoint-saved", "kill", {"trial": 0, "epoch": 2})),
    "epoch logged, not reported": ("20", Fault("epoch-logged", "kill", {"trial": 0, "epoch": 3})),
}


def survive(sandbox: Sandbox, row: Row, uninterrupted: Table, fault: Fault) -> None:
    """The sweep goes on by itself: no driver has died."""
    sandbox.ended(sandbox.begin(fault), code=0, timeout_s=300)
    assert len(sandbox.events("fault")) == 1
    row.tally = check(sandbox)
    assert table(sandbox) == uninterrupted, "I8"
    assert row.tally.steps <= interrupted_steps(1)


@pytest.mark.ray
def test_quick(make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table) -> None:
    number, fault = DEATHS["checkpoint half written"]
    survive(make(), row(number, "worker killed", "checkpoint half written"), uninterrupted, fault)


@pytest.mark.faults
@pytest.mark.parametrize("point", DEATHS)
def test_killed(make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, point: str) -> None:
    number, fault = DEATHS[point]
    survive(make(), row(number, "worker killed", point), uninterrupted, fault)


@pytest.mark.faults
@pytest.mark.parametrize("point", ["between steps", "checkpoint half written"])
def test_killed_on_ray(
    make: MakeSandbox, row: Callable[..., Row], on_ray: OnRay, uninterrupted: Table, point: str
) -> None:
    number, fault = DEATHS[point]
    survive(make(on_ray), row(number, "worker killed", point, "Ray"), uninterrupted, fault)


def damage(sandbox: Sandbox, how: str, keep: int) -> list[str]:
    """Damage the newest checkpoints of trial 0, all but ``keep``; their names."""
    files = sorted((sandbox.sweep / "trials/0000/checkpoints").glob("epoch-*"))
    for path in files[keep:]:
        whole = path.read_bytes()
        if how == "missing":
            path.unlink()
        else:
            flipped = bytes([whole[len(whole) // 2] ^ 1])
            contents = {
                "truncated": whole[: len(whole) // 2],
                "emptied": b"",
                "one bit flipped": whole[: len(whole) // 2] + flipped + whole[len(whole) // 2 + 1 :],
            }
            path.write_bytes(contents[how])
    return [path.name for path in files[keep:]]


@pytest.mark.faults
@pytest.mark.parametrize("how", ["truncated", "emptied", "one bit flipped", "missing"])
@pytest.mark.parametrize("keep", [1, 0])
def test_checkpoints_are_damaged(
    make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table, how: str, keep: int
) -> None:
    """Trial 0 is cut off after its second epoch; it goes on from the first, or, without any, from the start."""
    which = "newest checkpoint" if keep else "all checkpoints"
    sandbox, named = make(), row(21, f"{which} {how}", "before a resume")
    sandbox.kill_at(Fault("after-report", "kill", {"trial": 0, "epoch": 2}))
    last = sandbox.trials()[0].checkpoint
    damaged = damage(sandbox, how, keep)
    assert last in damaged
    sandbox.finish()
    named.tally = check(sandbox, is_fallback=True)
    assert table(sandbox) == uninterrupted, "I8"
    log = (sandbox.sweep / "trials/0000/log.jsonl").read_text()
    assert f"passed over {last}" in log


def fail_alone(sandbox: Sandbox, row: Row, reason: str, *faults: Fault, options: tuple[str, ...] = ()) -> None:
    """Trial 1 fails by ``reason``, all others are as ever; the sweep is a success."""
    sandbox.ended(sandbox.begin(*faults, options=options), code=0, timeout_s=300)
    assert sandbox.events("fault"), "it did happen"
    row.tally = check(sandbox)
    records = sandbox.trials()
    assert [record.state is TrialState.failed for record in records] == [number == 1 for number in range(6)]
    assert records[1].reason == reason, records[1]
    assert records[1].message


def step_of(trial: int) -> dict[str, int]:
    return {"trial": trial, "epoch": 1, "step": 2}


@pytest.mark.faults
def test_a_poisoned_configuration(make: MakeSandbox, row: Callable[..., Row]) -> None:
    fault = Fault("step", "break", step_of(1), times=99)
    fail_alone(make(), row(22, "trial that always raises", "step"), "error", fault)


@pytest.mark.faults
def test_a_trial_that_always_kills_its_worker(make: MakeSandbox, row: Callable[..., Row]) -> None:
    fault = Fault("step", "kill", step_of(1), times=99)
    named = row(22, "trial that always kills its worker", "step")
    sandbox = make(space=SPACE.replace("stopping:", "# stopping:"))
    sandbox.ended(sandbox.begin(fault), code=0, timeout_s=300)
    named.tally = check(sandbox)
    assert sandbox.trials()[1].reason == "worker_lost"


@pytest.mark.faults
def test_a_loss_that_is_no_number(make: MakeSandbox, row: Callable[..., Row]) -> None:
    """Of a learning rate beyond what float32 holds; samplers and rungs take the other trials as they are."""
    named = row(23, "NaN loss", "step")
    rates = "learning_rate: {choice: [0.1, 0.03, 0.01, 3.0e+38]}"
    space = SPACE.replace("learning_rate: {float: [1e-3, 3e-1], log: true}", rates)
    assert space != SPACE
    sandbox = make(space=space)
    sandbox.ended(sandbox.begin(options=("--sampler", "random", "--seed", "3")), code=0)
    named.tally = check(sandbox)
    for record in sandbox.trials():
        is_mad = record.config["optimizer"]["learning_rate"] > 1
        assert (record.reason == "nan") == is_mad, record
        assert record.state is not TrialState.running
    assert any(record.reason == "nan" for record in sandbox.trials())


@pytest.mark.faults
@pytest.mark.parametrize("do", ["hang", "hang-deafly"])
def test_a_hanging_trial(make: MakeSandbox, row: Callable[..., Row], on_ray: OnRay, do: str) -> None:
    named = row(24, {"hang": "trial hangs", "hang-deafly": "trial hangs, deaf to signals"}[do], "step", "Ray")
    fault = Fault("step", do, step_of(1), times=99)
    fail_alone(make(on_ray), named, "hang", fault, options=("--stall-seconds", "3"))


@pytest.mark.faults
def test_memory_runs_out(make: MakeSandbox, row: Callable[..., Row]) -> None:
    fault = Fault("step", "exhaust-memory", step_of(1), times=99)
    fail_alone(make(), row(25, "host memory runs out", "step"), "host_oom", fault)


@pytest.mark.faults
def test_gpu_memory_runs_out(make: MakeSandbox, row: Callable[..., Row], uninterrupted: Table) -> None:
    """Once: the micro-batch is halved and nothing is lost. For ever: the trial fails, alone."""
    named, sandbox = row(26, "CUDA out of memory, injected", "step"), make()
    fail_alone(sandbox, named, "out_of_memory", Fault("step", "exhaust-gpu", step_of(1), times=99))


@pytest.mark.faults
def test_a_worker_that_leaves_a_child_behind(
    make: MakeSandbox, row: Callable[..., Row], on_ray: OnRay, uninterrupted: Table
) -> None:
    sandbox, named = make(OnRay(None, {})), row(27, "worker forks a child and dies", "step", "its own Ray")
    survive(sandbox, named, uninterrupted, Fault("step", "orphan", {"trial": 0, "epoch": 1, "step": 2}))
    assert processes_of(sandbox.folder) == [], "I9"
