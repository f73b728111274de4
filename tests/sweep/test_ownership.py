"""One head for a sweep's storage: as leases in a study, without a database that could decide."""

import json
import threading
from pathlib import Path

import pytest

from dmlray.errors import BusyError, DmlrayError, LeaseLostError
from dmlray.remote import Remote
from dmlray.sweep import ownership
from dmlray.sweep.holder import Holder
from dmlray.sweep.ownership import Claim, Ownership, claims

ELSEWHERE = json.dumps({"host": "other", "pid": 1, "since": "now", "place": "another/1", "ticks": 1})


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Remote:
    monkeypatch.setattr(ownership, "SETTLE_S", 0.02)
    monkeypatch.setattr(ownership, "EXPIRY_S", 0.2)
    monkeypatch.setattr(ownership, "_LOOK_S", 0.02)
    return Remote(str(tmp_path / "sweep"))


def take(remote: Remote, heard: list[str] | None = None) -> Ownership:
    return Ownership.take(remote, (heard if heard is not None else []).append)


def put(remote: Remote, claim: Claim) -> None:
    remote.put(claim.name, claim.model_dump_json().encode())


def test_heads_follow_each_other(remote: Remote) -> None:
    heard: list[str] = []
    for epoch in (1, 2, 3):
        head = take(remote, heard)
        assert head.epoch == epoch
        head.beat()
        head.release()
    assert [claim.epoch for claim in claims(remote)] == [3]
    assert heard == []
    take(remote).release(forget=True)
    assert claims(remote) == []


def test_a_living_head_is_not_replaced(remote: Remote) -> None:
    other = Claim(epoch=4, token="aa", holder=ELSEWHERE, began=True)
    put(remote, other)
    beats = threading.Timer(0.05, lambda: put(remote, other.model_copy(update={"beat": 1})))
    beats.start()
    with pytest.raises(BusyError, match="is being run by process 1 on other"):
        take(remote)
    beats.join()


def test_a_head_on_this_machine_is_known_to_live_or_to_be_dead(remote: Remote) -> None:
    own = json.loads(Holder.this_process().to_json())
    put(remote, Claim(epoch=4, token="aa", holder=json.dumps(own | {"ticks": 1}), began=True))
    heard: list[str] = []
    assert take(remote, heard).epoch == 5
    assert heard == []


def test_a_silent_head_is_followed_and_told_when_it_wakes(remote: Remote) -> None:
    heard: list[str] = []
    silent = Ownership(remote, Claim(epoch=4, token="aa", holder=ELSEWHERE, began=True))
    silent.beat()
    head = take(remote, heard)
    assert head.epoch == 5
    assert "whether process 1 on other" in heard[0]
    for work in (silent.check, silent.beat):
        with pytest.raises(LeaseLostError, match="another process goes on with"):
            work()
    head.beat()


@pytest.mark.parametrize("seed", range(3))
def test_of_heads_that_begin_together_one_goes_on(remote: Remote, seed: int) -> None:
    """All see no other, all write, all look again."""
    begun: list[Ownership] = []
    refused: list[DmlrayError] = []
    barrier = threading.Barrier(4)

    def begin() -> None:
        barrier.wait()
        try:
            begun.append(take(remote))
        except BusyError as error:
            refused.append(error)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(begun) + len(refused) == 4
    lasting = []
    for head in begun:  # slow writes may let several begin; at the next beat there is one
        try:
            head.check()
            lasting.append(head)
        except LeaseLostError:
            pass
    assert len(lasting) == 1


def test_of_two_claims_exactly_one_outranks_the_other() -> None:
    every = [
        Claim(epoch=epoch, token=token, holder="", began=began)
        for epoch in (1, 2)
        for token in ("aa", "bb")
        for began in (False, True)
    ]
    for one in every:
        for other in every:
            if one.name != other.name:
                assert one.outranks(other) != other.outranks(one)


def test_files_that_are_no_claims_are_passed_over(remote: Remote) -> None:
    remote.put("owners/00000009-zz.json", b'{"epoch": 9')
    remote.put("owners/00000008-yy.json", Claim(epoch=8, token="yy", holder='{"host": 1}').model_dump_json().encode())
    assert take(remote).epoch == 1
