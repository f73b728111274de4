"""The mailbox between a slot and its worker, without Ray."""

import asyncio
from pathlib import Path

import pytest

from dmlray.config import TrialConfig
from dmlray.errors import UnavailableError
from dmlray.process import Process
from dmlray.train.channel import MAX_STARTS, Channel, Event, Presence, TrialEnd
from dmlray.train.task import EpochReport, TrialOutcome, TrialTask

DONE = TrialEnd(outcome=TrialOutcome("complete", 1, 0.5, {}))


def task(number: int) -> TrialTask:
    return TrialTask("s", number, TrialConfig(), Path("data"), Path("trial"), seed=0)


def report(epoch: int) -> EpochReport:
    return EpochReport(epoch, {"val_gap": 0.1}, f"epoch-{epoch}", f"digest-{epoch}")


async def report_later(channel: Channel, number: int, epoch: int) -> "asyncio.Task[bool]":
    waiting = asyncio.create_task(channel.report(number, report(epoch)))
    await asyncio.sleep(0)
    return waiting


def test_a_report_waits_for_the_verdict() -> None:
    async def scene() -> None:
        channel = Channel()
        await channel.assign(task(0))
        assert await channel.next_task() == task(0)
        waiting = await report_later(channel, 0, 1)
        assert await channel.next_event(1) == Event(0, report(1))
        assert not waiting.done()
        await channel.go_on()
        assert await waiting is True

    asyncio.run(scene())


def test_nobody_consents_to_a_report_that_was_not_heard() -> None:
    async def scene() -> None:
        channel = Channel()
        await channel.assign(task(0))
        await channel.next_task()
        waiting = await report_later(channel, 0, 1)  # before the slot's first step, which begins so:
        await channel.go_on()
        await asyncio.sleep(0)
        assert not waiting.done(), "else the trial trains on, whatever is decided about its first epoch"
        assert await channel.next_event(1) == Event(0, report(1))
        await channel.go_on()
        assert await waiting is True

    asyncio.run(scene())


def test_what_an_earlier_trial_has_said_is_not_heard_any_more() -> None:
    async def scene() -> None:
        channel = Channel()
        await channel.assign(task(0))
        await channel.next_task()
        waiting = await report_later(channel, 0, 1)
        await channel.assign(task(1))
        assert await waiting is False
        assert await channel.next_event(0.01) is None

    asyncio.run(scene())


def test_a_new_task_stops_the_trial_that_waits() -> None:
    async def scene() -> None:
        channel = Channel()
        await channel.assign(task(0))
        await channel.next_task()
        waiting = await report_later(channel, 0, 1)
        await channel.next_event(1)
        await channel.assign(task(1))
        assert await waiting is False
        await channel.end(0, DONE)  # what the stopped trial says on its way out is nobody's business
        assert await channel.next_event(0.01) is None
        assert await channel.next_task() == task(1)

    asyncio.run(scene())


def test_a_restarted_worker_continues_from_its_last_report() -> None:
    async def scene() -> None:
        channel = Channel()
        await channel.assign(task(3))
        await channel.next_task()
        dead = await report_later(channel, 3, 2)
        restarted = await channel.next_task()
        assert restarted is not None
        assert (restarted.number, restarted.checkpoint, restarted.checkpoint_digest) == (3, "epoch-2", "digest-2")
        dead.cancel()

    asyncio.run(scene())


def test_a_trial_that_kills_its_worker_is_given_up() -> None:
    async def scene() -> None:
        channel = Channel()
        await channel.assign(task(5))
        for _ in range(MAX_STARTS):
            assert await channel.next_task() == task(5)
        waiting = asyncio.create_task(channel.next_task())
        event = await channel.next_event(1)
        assert event is not None
        assert isinstance(event.what, TrialEnd)
        assert (event.number, event.what.reason) == (5, "worker_lost")
        await channel.assign(task(6))
        assert await waiting == task(6)

    asyncio.run(scene())


def test_closing_lets_the_worker_go_wherever_it_is() -> None:
    async def scene() -> None:
        channel = Channel()
        await channel.assign(task(0))
        await channel.next_task()
        waiting = await report_later(channel, 0, 1)
        await channel.close()
        assert await waiting is False
        assert await channel.next_task() is None
        idle = Channel()
        asking = asyncio.create_task(idle.next_task())
        await asyncio.sleep(0)
        await idle.close()
        assert await asking is None

    asyncio.run(scene())


def test_a_stale_worker_is_told_to_stop() -> None:
    async def scene() -> None:
        channel = Channel()
        await channel.assign(task(1))
        assert await channel.report(0, report(1)) is False

    asyncio.run(scene())


def worker(rank: int, pid: int) -> Presence:
    return Presence(rank, Process(pid, "place", 1), "node", actor=None)


def test_workers_that_must_leave_are_told_and_others_take_over() -> None:
    async def scene() -> None:
        channel, old, new = Channel(), [worker(1, 12), worker(0, 11)], worker(0, 21)
        for each in old:
            await channel.arrive(each)
        assert await channel.workers() == [old[1], old[0]]
        told = [asyncio.create_task(channel.notice(each.process)) for each in old]
        idle = asyncio.create_task(channel.next_task())
        await asyncio.sleep(0)
        assert not any(task.done() for task in told)
        await channel.leave()
        await asyncio.gather(*told)
        with pytest.raises(UnavailableError, match="about to go"):
            await idle
        await channel.assign(task(4))
        with pytest.raises(UnavailableError):
            await channel.next_task()
        await channel.arrive(new)
        assert await channel.next_task() == task(4)

    asyncio.run(scene())


def test_a_node_that_goes_is_no_failed_start() -> None:
    async def scene() -> None:
        channel = Channel()
        await channel.assign(task(4))
        for pid in range(2 * MAX_STARTS):
            await channel.arrive(worker(0, pid))
            assert await channel.next_task() == task(4)
            await channel.leave()

    asyncio.run(scene())


def test_a_worker_that_waits_while_another_takes_its_place_gets_no_task() -> None:
    async def scene() -> None:
        channel, old, new = Channel(), worker(0, 11), worker(0, 21)
        await channel.arrive(old)
        idle = asyncio.create_task(channel.next_task(old.process))
        await asyncio.sleep(0)
        await channel.arrive(new)
        with pytest.raises(UnavailableError, match="another worker has come"):
            await idle
        await channel.assign(task(4))
        for _ in range(MAX_STARTS):
            assert await channel.next_task(new.process) == task(4), "every start is its own"

    asyncio.run(scene())


def test_a_worker_in_whose_place_another_has_come_is_not_listened_to() -> None:
    """Its node was out of reach, and the trial went on elsewhere; what it has to say must not reach the new one."""

    async def scene() -> None:
        channel, old, new = Channel(), worker(0, 11), worker(0, 21)
        await channel.assign(task(4))
        await channel.arrive(old)
        assert await channel.next_task(old.process) == task(4)
        await channel.arrive(new)
        assert await channel.next_task(new.process) == task(4)
        waiting = asyncio.create_task(channel.report(4, report(1), new.process))
        assert await channel.next_event(1) == Event(4, report(1))
        assert await channel.report(4, report(2), old.process) is False
        await channel.end(4, DONE, old.process)
        with pytest.raises(UnavailableError, match="another worker has come"):
            await channel.next_task(old.process)
        assert await channel.next_event(0.01) is None
        await channel.go_on()
        assert await waiting is True

    asyncio.run(scene())
