"""The report: a worker's rows are mirrored again whenever what they show may have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from panda_streams import reporting
from panda_streams.codec import decode, encode
from panda_streams.events import Health, Level
from panda_streams.identity import Home, Identity, Ports, Role, World
from panda_streams.levels import Levels
from panda_streams.reporting import Reporter
from panda_streams.streams.health import Health as Look
from panda_streams.topics import level_key
from tests.unit.agents.fakes import FakeMirror

WELL = {"recovered": "", "flowing": ""}


class Worker:
    """A reporter on fakes."""

    def __init__(self, tmp_path: Path, namespace: str | None = None) -> None:
        self.seen, self.levels, self.mirror, self.rewrites = Look(WELL), Levels(), FakeMirror(), 0
        self.app: Any = SimpleNamespace(consumer_generation_id=1, should_stop=False)
        self.scope = namespace or "brain"
        role = Role.ARM if namespace else Role.BRAIN
        identity = Identity(role, namespace, 0, World("sim"), Home(tmp_path), Ports(20_000), "")
        self.said = True

        async def carried_out(within_s: float) -> bool:
            return self.said

        loop: Any = SimpleNamespace(
            events=0, last_event_time=None, dead_letters=0, reached={}, waiting={}, carried_out=carried_out
        )
        self.loop = loop
        mirror: Any = self.mirror
        self.reporter = Reporter(self.app, identity, mirror, self, loop, self.levels, self.rewrite)  # type: ignore[arg-type]

    def rewrite(self) -> Iterable[None]:
        self.rewrites += 1
        return ()

    def set(self, scope: str, setting: str, value: str, *, at: int = 0) -> None:
        level = Level(world="sim", scope=scope, setting=setting, value=value, who="me", at=at, reason="")
        self.levels.apply("control", level_key(scope, setting), encode(level))

    async def look(self) -> Look:
        return self.seen

    def report(self) -> Health:
        asyncio.run(self.reporter.report())
        return decode(Health, self.mirror.values[f"{self.scope}:health:0"])


def test_the_rows_are_written_once_and_again_after_a_rebalance(tmp_path: Path) -> None:
    worker = Worker(tmp_path)

    for generation in (1, 1, 2, 2):
        worker.app.consumer_generation_id = generation
        worker.report()

    assert worker.rewrites == 2


def test_a_strategy_that_is_paused_is_shown_at_the_next_report(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    worker.report()

    worker.set("strategy:Momentum", "state", "PAUSED")
    worker.report()

    assert worker.rewrites == 2


def test_nothing_is_written_while_tables_are_being_recovered(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    worker.seen = Look({"recovered": "recovering its tables", "flowing": ""})

    report = worker.report()

    assert (worker.rewrites, report.state, report.ready) == (0, "recovering", False)


def test_an_arm_reports_its_mode_and_the_brain_none(tmp_path: Path) -> None:
    arm, brain = Worker(tmp_path, "paper"), Worker(tmp_path)
    for worker in (arm, brain):
        worker.set("paper", "mode", "HALTED")

    assert (arm.report().mode, brain.report().mode) == ("HALTED", None)


def test_a_mode_is_not_confirmed_before_all_is_said_that_was_decided_under_the_last_one(tmp_path: Path) -> None:
    arm = Worker(tmp_path, "paper")
    arm.set("paper", "mode", "ACTIVE", at=1)
    arm.report()
    arm.set("all", "mode", "HALTED", at=2)

    arm.said = False
    waiting = arm.report()
    arm.said = True
    obeyed = arm.report()

    assert (waiting.mode, waiting.modes_set) == ("ACTIVE", {"paper": 1})
    assert (obeyed.mode, obeyed.modes_set) == ("HALTED", {"paper": 1, "all": 2})


def test_a_halt_that_changes_no_mode_is_confirmed_too(tmp_path: Path) -> None:
    arm = Worker(tmp_path, "paper")
    arm.set("paper", "mode", "HALTED", at=1)
    arm.report()

    arm.set("paper", "mode", "HALTED", at=2)

    assert arm.report().modes_set == {"paper": 2}


def test_dead_letters_are_counted_where_people_look(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    worker.loop.dead_letters = 3

    assert worker.report().detail == "3 records went to the dead-letter topic since the start"


def test_the_books_have_come_as_far_as_execution_once_nothing_waits_for_them(tmp_path: Path) -> None:
    arm = Worker(tmp_path, "paper")
    arm.app.agents = {"portfolio": SimpleNamespace(channel=SimpleNamespace(topics=["fills", "marks"]))}
    booked = []

    for said, behind in ((1000, {"marks"}), (2000, {"ticks"}), (3000, {"fills"}), (4000, set())):
        arm.loop.reached = {"execution": said}
        arm.seen = Look(WELL, 0, frozenset(behind))
        booked.append(arm.report().reached.get("portfolio"))

    assert booked == [None, 2000, 2000, 4000]


class ClosingMirror(FakeMirror):
    async def stop(self) -> None:
        """Nothing is pending."""


def test_a_worker_that_stops_says_where_it_stood(tmp_path: Path) -> None:
    brain = Worker(tmp_path)
    brain.mirror = brain.reporter._mirror = ClosingMirror()  # type: ignore[assignment]
    brain.loop.reached = {"strategy": 7000}
    brain.report()
    brain.loop.reached = {}

    asyncio.run(brain.reporter.on_stop())

    assert decode(Health, brain.mirror.values["brain:health:0"]).reached == {"strategy": 7000}


@pytest.mark.parametrize(("stopping", "given_up"), [(False, ["it died"]), (True, [])])
def test_a_worker_that_cannot_get_well_gives_up_unless_it_is_being_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopping: bool, given_up: list[str]
) -> None:
    reasons: list[str] = []
    monkeypatch.setattr(reporting, "give_up", reasons.append)
    brain = Worker(tmp_path)
    brain.app.should_stop = stopping
    brain.seen = Look(WELL | {"coordinator": "it died"})

    brain.report()
    brain.report()

    assert reasons == given_up
