"""The lease: a worker may write only while the group's last word is young."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator

from panda_streams.streams import lease as lease_module
from panda_streams.streams.lease import Lease


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lease_module, "boot_time", clock)
    return clock


def a_lease() -> Lease:
    """A session of 10 s, of which 6 are taken; a rebalance of 15 s, of which 7.5 are."""
    return Lease(10.0, 15.0)


def test_nobody_may_write_before_the_group_has_said_anything(clock: Clock) -> None:
    assert not a_lease().valid()


@pytest.mark.parametrize(("age", "valid"), [(0.0, True), (6.0, True), (6.1, False)])
def test_an_assignment_is_good_for_a_share_of_the_session(clock: Clock, age: float, valid: bool) -> None:
    lease = a_lease()
    lease.assigned()

    clock.now += age

    assert lease.valid() is valid


def test_a_heartbeat_counts_from_its_sending(clock: Clock) -> None:
    lease = a_lease()
    lease.assigned()
    clock.now += 8.0
    lease.renew(clock.now - 3.0)

    clock.now += 3.0
    young = lease.valid()
    clock.now += 0.1

    assert (young, lease.valid()) == (True, False)


def test_an_older_answer_that_comes_later_takes_nothing_back(clock: Clock) -> None:
    lease = a_lease()
    lease.assigned()

    lease.renew(clock.now - 100)

    assert lease.valid()


@pytest.mark.parametrize(("age", "valid"), [(7.5, True), (7.6, False)])
def test_what_is_in_hand_may_be_finished_for_half_of_the_time_that_a_rebalance_waits(
    clock: Clock, age: float, valid: bool
) -> None:
    lease = a_lease()
    lease.assigned()
    lease.revoked()

    clock.now += age / 2
    lease.revoked()  # Faust and the worker's own stop may both say so
    clock.now += age / 2
    lease.renew(clock.now)

    assert lease.valid() is valid


def test_the_next_assignment_ends_a_rebalance(clock: Clock) -> None:
    lease = a_lease()
    lease.revoked()
    clock.now += 100

    lease.assigned()

    assert lease.valid()


class Member:
    """A group member whose heartbeats take two seconds to be answered."""

    def __init__(self, clock: Clock, *, accepted: bool = True, rejoin: bool = False) -> None:
        self.clock, self.accepted = clock, accepted
        self._rejoin_needed_fut = SimpleNamespace(done=lambda: rejoin)

    async def answer(self) -> bool:
        self.clock.now += 2.0
        return self.accepted


def follow(lease: Lease, member: Member, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Let `lease` follow the heartbeats of `member`, and send one."""
    monkeypatch.setattr(GroupCoordinator, "_do_heartbeat", Member.answer)
    lease.follow()
    return bool(asyncio.run(GroupCoordinator._do_heartbeat(member)))


@pytest.mark.parametrize("accepted", [True, False])
def test_a_heartbeat_renews_only_if_the_group_has_accepted_it(
    clock: Clock, accepted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = a_lease()

    said = follow(lease, Member(clock, accepted=accepted), monkeypatch)
    clock.now += 4.0
    young = lease.valid()
    clock.now += 0.1

    assert (said, young, lease.valid()) == (accepted, accepted, False)


@pytest.mark.parametrize("rejoin", [True, False])
def test_a_heartbeat_whose_answer_tells_of_a_rebalance_begins_it(
    clock: Clock, rejoin: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = a_lease()
    lease.assigned()

    follow(lease, Member(clock, rejoin=rejoin), monkeypatch)
    clock.now += 7.6
    lease.renew(clock.now)

    assert lease.valid() is not rejoin
