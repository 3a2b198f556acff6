"""A session on the wall's clock, in which the arm is suspended for longer than its group waits, and another worker
takes over; then the other way round. Each time there is an order of which nobody knows whether the broker has it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from tests.chaos.compare import Finding, Kind
from tests.chaos.kills import COURIER, Kill, Moment, Point
from tests.chaos.kite.market import INDIA, Day, write_calendar, write_recording
from tests.chaos.kite.world import KiteWorld, Outcome, Scene
from tests.chaos.victims import GaveUp, Victim
from tests.servers import RunningServers

__all__ = ["take_over"]

_SESSION_S = 85
_UP_WITHIN_S = 40.0
_STARTS_IN_S = 14
"""From the making of the recording to its first tick: the workers are up by then."""
_LEAD_S = 1.5
"""A feed needs so long to start."""
_NTH = 25
"""The order at which the arm is suspended, after it was allowed to leave."""
_NAP_S = 3.0
"""Within the session of the arm's group: it goes on by itself."""
_COMA_S = 15.0
"""Longer than the session of the arm's group (10 s): another worker has its partitions then."""


def take_over(directory: Path, servers: RunningServers, ports: int, seed: int) -> Outcome:
    """Run the session, and judge what it leaves. Takes two minutes."""
    directory.mkdir(parents=True)
    opens = datetime.now(INDIA).replace(microsecond=0) + timedelta(seconds=_STARTS_IN_S)
    days = [Day(opens, _SESSION_S)]
    scene = Scene(
        recording=write_recording(days, seed, directory / "recording.csv.gz"),
        calendar=write_calendar(days, directory / "calendar.yaml"),
        seed=seed,
        speed="1",
        wall=True,
    )
    world, begun = KiteWorld(directory / f"{directory.name}.world", servers, ports, scene), time.monotonic()
    try:
        world.arm.plan([Kill("arm", Point(*COURIER, _NTH), freeze_s=_COMA_S)])
        world.prepare()
        wrong: list[Finding] = []
        try:
            _look_until(world, world.ready, "the arm is ready")
            _look_until(world, lambda: time.time() >= opens.timestamp() - _LEAD_S, "the session begins")
            world.start_feed()
            _disturb(world)
        except GaveUp as error:
            wrong.append(Finding(Kind.ENDED, str(error)))
        return world.finish(begun, wrong)
    finally:
        world.stop()


def _disturb(world: KiteWorld) -> None:
    first = world.arm
    _look_until(world, lambda: first.frozen, "the arm is suspended with an order in hand")
    second = world.second_arm()
    _look_until(world, lambda: first.at_peace, "the arm goes on")
    _look_until(world, lambda: world.ready(1), "the second worker is ready")
    _look_for(world, 5)
    _lose_an_answer(world, "timeout_after")
    _freeze(world, second, _COMA_S)
    _look_for(world, 3)
    world.kill_kitesim()
    _look_for(world, 3)
    _lose_an_answer(world, "timeout_before")
    _freeze(world, first, _NAP_S)


def _lose_an_answer(world: KiteWorld, kind: str) -> None:
    """Return while a call waits for an answer that never comes in time."""
    _look_until(world, lambda: world.set_fault(kind, count=1, seconds=30), "kitesim is told of a fault")
    before = world.fired()[kind]
    _look_until(world, lambda: world.fired()[kind] > before, f"a call meets {kind}")


def _freeze(world: KiteWorld, victim: Victim, seconds: float) -> None:
    victim.plan([Kill(victim.name, Moment(0), freeze_s=seconds)])
    _look_until(world, lambda: victim.at_peace, f"{victim.name} goes on")


def _look_for(world: KiteWorld, seconds: float) -> None:
    until = time.monotonic() + seconds
    _look_until(world, lambda: time.monotonic() >= until, "time passes")


def _look_until(world: KiteWorld, check: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _UP_WITHIN_S
    while not check():
        if time.monotonic() > deadline:
            raise GaveUp(f"not within {_UP_WITHIN_S:g} s: {what}")
        world.look()
