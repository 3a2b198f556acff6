"""A case: an input and a schedule, run and judged against the undisturbed run of the same input; and its shrinking."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from unittest.mock import patch

from panda_streams.streams import inputs
from tests.chaos.compare import COMPARED, ArmBook, Entry, check_account, check_books, check_log, compare
from tests.simulation.market import SCENARIOS, Market, Scenario
from tests.simulation.oracle import check_fates, check_order
from tests.simulation.runner import Broken
from tests.simulation.schedule import FULL, Bounds, disturb
from tests.simulation.world import Arm, World

__all__ = ["Case", "cases", "forget", "run", "shrink"]

_SCHEDULES = 8
"""Schedules of the same input: the undisturbed run is made once for them."""


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that a run is a function of."""

    scenario: str
    input: int
    schedule: int
    seconds: int | None = None
    """Seconds of the market; None for what the scenario has."""
    bounds: Bounds = FULL

    @property
    def command(self) -> str:
        """What repeats it."""
        options = [f"--case {self.scenario}/{self.input}/{self.schedule}"]
        if self.seconds is not None:
            options.append(f"--seconds {self.seconds}")
        options += [
            f"--{name} {int(getattr(self.bounds, name))}"
            for name in ("turns", "kills", "retries", "skips", "litter")
            if getattr(self.bounds, name) != getattr(FULL, name)
        ]
        return f'make simulate ARGS="{" ".join(options)}"'


def cases(schedules: int, seed: int) -> list[Case]:
    """That many cases, over all scenarios; those of one input are neighbours."""
    names, found = list(SCENARIOS), []
    for number in range(-(-schedules // _SCHEDULES)):
        found += [
            Case(names[number % len(names)], seed * 100_000 + number // len(names), schedule)
            for schedule in range(_SCHEDULES)
        ]
    return found[:schedules]


def run(case: Case) -> list[str]:
    """Run a case; what is wrong with it, in words."""
    scenario = SCENARIOS[case.scenario]
    if case.seconds is not None:
        scenario = replace(scenario, seconds=case.seconds)
    with patch.object(inputs, "HOLD", scenario.hold):
        undisturbed, wrong = _undisturbed(scenario, case.input)
        if wrong:
            return [f"undisturbed: {line}" for line in wrong]
        chance = random.Random(f"{case.scenario}/{case.input}/{case.schedule}")
        world = World(Market(scenario, case.input), chance)
        wrong = _carried_out(world, lambda: disturb(world, chance, case.bounds))
        return wrong or [
            line for arm, other in zip(world.arms, undisturbed, strict=True) for line in _judge(world, arm, other)
        ]


@dataclass(frozen=True, slots=True)
class _Run:
    """What an undisturbed run has said and stored of one arm."""

    log: list[Entry]
    books: dict[str, ArmBook]
    prices: dict[str, tuple[str | None, int]]
    rows: dict[str, Any]


@lru_cache(maxsize=64)
def _undisturbed(scenario: Scenario, seed: int) -> tuple[list[_Run], list[str]]:
    world = World(Market(scenario, seed), random.Random(0))
    wrong = _carried_out(world, lambda: None)
    if not wrong:
        wrong = [line for arm in world.arms for line in (*_contradictions(world, arm), *_oracles(world, arm))]
    return [_Run(world.log(arm), arm.books, arm.prices, arm.rows) for arm in world.arms], wrong


def _carried_out(world: World, disturbed: Callable[[], None]) -> list[str]:
    """Run a world to its end; what kept it from coming there."""
    try:
        disturbed()
        world.settle()
    except Broken as error:
        return [f"broken: {error}"]
    except Exception:  # noqa: BLE001  whatever an agent raises would end its process: that is a finding
        return [f"raised: {traceback.format_exc()}"]
    return [f"dead-lock: {line}" for line in world.left] + [f"dead letter: {line}" for line in world.wrong_letters()]


def _contradictions(world: World, arm: Arm) -> Iterator[str]:
    """What is wrong with an arm's log and books by themselves."""
    log, books = world.log(arm), arm.books
    for finding in [*check_log(log), *check_books(log, books), *check_account(log, arm.account, books)]:
        yield f"{finding.kind}: {finding.what}"


def _oracles(world: World, arm: Arm) -> Iterator[str]:
    """What is wrong with what an arm said, by its inputs."""
    log = world.log(arm)
    yield from check_fates(world, arm, log)
    if world.market.scenario.ordered:
        yield from check_order(arm, log)


def _judge(world: World, arm: Arm, undisturbed: _Run) -> Iterator[str]:
    yield from _contradictions(world, arm)
    ordered = world.market.scenario.ordered
    # The wall's verdicts depend on when feedback came; what the brain says depends on nothing but the ticks.
    topics = COMPARED if ordered else ("signals.raw",)
    expected, found = ([e for e in log if e.topic in topics] for log in (undisturbed.log, world.log(arm)))
    if not ordered:
        yield from (f"{finding.kind}: {finding.what}" for finding in compare(expected, found, {}, {}))
        yield from _oracles(world, arm)
        return
    for finding in compare(expected, found, undisturbed.books, arm.books):
        yield f"{finding.kind}: {finding.what}"
    if arm.prices != undisturbed.prices:
        yield f"different: last prices {arm.prices}, in the undisturbed run {undisturbed.prices}"
    rows = arm.rows
    for key in sorted(rows.keys() | undisturbed.rows.keys()):
        if rows.get(key) != undisturbed.rows.get(key):
            yield f"different: row {key}: {rows.get(key)}, in the undisturbed run {undisturbed.rows.get(key)}"


def forget() -> None:
    """Forget the undisturbed runs: the program has changed."""
    _undisturbed.cache_clear()


def shrink(case: Case, failing: Callable[[Case], object] = run) -> Case:
    """Look for a smaller case that fails, too: greedily, in some dozens of runs."""
    while (smaller := next((candidate for candidate in _smaller(case) if failing(candidate)), None)) is not None:
        case = smaller
    return case


def _smaller(case: Case) -> Iterable[Case]:
    bounds = case.bounds
    seconds = case.seconds or SCENARIOS[case.scenario].seconds
    for fewer in dict.fromkeys((seconds // 2, seconds * 3 // 4, seconds - 1)):
        if 0 < fewer < seconds:
            yield replace(case, seconds=fewer)
    for without in ({"litter": False}, {"retries": False}, {"skips": False}):
        if replace(bounds, **without) != bounds:
            yield replace(case, bounds=replace(bounds, **without))
    for kills in (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, bounds.kills - 1):
        if kills < min(bounds.kills, 257):
            yield replace(case, bounds=replace(bounds, kills=kills))
    for turns in (0, bounds.turns // 2, bounds.turns * 7 // 8, bounds.turns - 1):
        if turns < bounds.turns:
            yield replace(case, bounds=replace(bounds, turns=turns))
