"""The simulation: whatever the schedule, an arm comes to the same end, and each mend of the core is needed for that."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from panda_streams.streams import inputs
from tests.simulation.campaign import campaign, shrunk
from tests.simulation.cases import Case, cases, forget, run, shrink
from tests.simulation.market import SCENARIOS, Market
from tests.simulation.sabotage import SABOTAGES
from tests.simulation.schedule import FULL, Bounds, disturb
from tests.simulation.world import World


@pytest.fixture
def changed_program() -> Iterator[None]:
    """The undisturbed runs of another program are not to be compared with."""
    forget()
    yield
    forget()


def test_a_thousand_schedules_come_to_the_same_end_as_the_undisturbed_run() -> None:
    failures = [failure for found in campaign(cases(1000, seed=1), jobs=2) for failure in found]

    assert not failures, f"{len(failures)} failures, one of them\n{failures[0]}\nshrunk to\n{shrunk(failures[0])}"


@pytest.mark.usefixtures("changed_program")
@pytest.mark.parametrize("mend", SABOTAGES)
def test_a_mend_that_is_taken_away_is_missed(mend: str) -> None:
    varied = sorted(cases(len(SCENARIOS) * 24, seed=2), key=lambda case: case.schedule)

    with SABOTAGES[mend]():
        missed = any(run(case) for case in varied)

    assert missed, f"{len(varied)} schedules came to the same end although {mend}"


_DRAWN = (
    *("NOTHING_TO_EXIT", "CASH_INSUFFICIENT", "POSITION_LIMIT", "SHORT_NOT_ALLOWED", "NOT_SETTLED", "TARGET_REACHED"),
    *(
        "QUOTE_STALE",
        "POSITION_OPPOSITE",
        "PRICE_BAND",
        "PRICE_COLLAR",
        "ORDER_RATE",
        "OPEN_ORDERS",
        "DUPLICATE_SIGNAL",
    ),
    *("ARM_REDUCING", "ARM_HALTED", "DAILY_LOSS", "DRAWDOWN", "FEED_STALE", "GROSS_EXPOSURE"),
    *("STOP_LOSS", "TRAILING_STOP", "TAKE_PROFIT", "TIME_EXIT"),
    *("TRIGGERED", "ENTRY_FILLED", "OTHER_LEG_FILLED", "POSITION_CLOSED", "MODIFIED_BY_STRATEGY"),
    *("CANCELLED_BY_STRATEGY", "IOC_REMAINDER", "TTL_ENDED", "DAY_ENDED", "SQUARED_OFF", "END_OF_DATA"),
    *("CONTRACT_EXPIRED", "MARKET_CLOSED", "CONTRACT_NOTE", "day-end"),
    *(
        "ENTRY",
        "EXIT",
        "TARGET",
        "STOP",
        "SQUARE_OFF",
        "SETTLEMENT",
        "PROTECTION",
        "MIS",
        "CNC",
        "NRML",
        "SL",
        "SL-M",
        "LIMIT",
    ),
)
"""Refusals, ends of orders, bookings and kinds of orders of which some scenario has one."""


def test_every_scenario_has_what_it_is_for() -> None:
    heard: dict[str, str] = {}
    for name, scenario in SCENARIOS.items():
        said = []
        for seed in range(1, 6):
            world = World(Market(scenario, seed), random.Random(seed))
            world.settle()
            said += [entry.value.decode() for arm in world.arms for entry in world.log(arm)]
        heard[name] = " ".join(said)

    quiet = {name for name, said in heard.items() if '"kind":"fill"' not in said}
    assert quiet <= {"no-signal", "sparse"}
    missing = [word for word in _DRAWN if not any(f'"{word}"' in said for said in heard.values())]
    assert not missing
    assert '"signal"' not in heard["no-signal"]
    assert '"2021-06-08"' not in heard["early-end"]
    assert '"namespace":"second","signal"' not in heard["unlisted-arm"]
    assert '"namespace":"second","signal"' in heard["two-arms"]


def test_a_schedule_kills_retries_and_lets_streams_fall_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "HOLD", SCENARIOS["tiny-buffers"].hold)
    seen = {"killed": 0, "retried": 0, "refilled": 0}
    refill = inputs.Inputs.refill

    def counted(self: inputs.Inputs, *arguments: object) -> None:
        seen["refilled"] += 1
        refill(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(inputs.Inputs, "refill", counted)
    for seed in range(8):
        world = World(Market(SCENARIOS["tiny-buffers"], seed), chance := random.Random(seed))
        disturb(world, chance, FULL)
        seen["killed"] += sum(runner.deaths for runner in world.runners)
        said = [entry.key for arm in world.arms for entry in world.log(arm)]
        seen["retried"] += len(said) - len(set(said))

    assert all(count > 10 for count in seen.values()), seen


def test_a_case_is_a_function_of_its_numbers() -> None:
    def logs() -> list[bytes]:
        world = World(Market(SCENARIOS["dense"], 5), chance := random.Random("5"))
        disturb(world, chance, FULL)
        return [entry.value for arm in world.arms for entry in world.log(arm)]

    assert logs() == logs()


@pytest.mark.usefixtures("changed_program")
def test_a_failing_case_is_shrunk_and_its_command_repeats_it() -> None:
    with SABOTAGES["no beat at the start"]():
        failing = next(case for case in cases(1000, seed=3) if case.scenario == "plain" and run(case))
        smallest = shrink(failing)
        wrong = run(smallest)

    assert wrong
    assert smallest.bounds.kills <= 256
    assert smallest.bounds.turns < FULL.turns
    assert (smallest.seconds or 99) < SCENARIOS["plain"].seconds
    assert f"--case {failing.scenario}/{failing.input}/{failing.schedule}" in smallest.command
    assert f"--turns {smallest.bounds.turns}" in smallest.command


def test_shrinking_keeps_what_the_failure_needs() -> None:
    def fails(case: Case) -> bool:
        return case.bounds.turns >= 100 and case.bounds.kills >= 3 and case.bounds.skips

    smallest = shrink(Case("plain", 1, 1), fails)

    assert smallest == Case(
        "plain", 1, 1, seconds=1, bounds=Bounds(turns=100, kills=3, retries=False, skips=True, litter=False)
    )
