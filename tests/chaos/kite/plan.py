"""How a torture of so many orders is cut into runs, and which process dies or freezes when: a function of its seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.kills import Kill, Moment, Point

__all__ = ["POINTS", "TAKEN_OVER", "RunPlan", "draw"]

TAKEN_OVER = 150
"""Orders of the session in which a second worker takes over: at least so many, whatever is asked for."""
_ORDERS_A_SECOND = 4.0
"""Of event time, but for the first seconds and the last ones of a day."""
_LOST_A_DAY = 100
"""Orders that a day lacks for them."""
_A_RUN = 2000
_A_DAY = 250
"""The book of the day is read with every change: a longer one takes its square of time."""
_ORDERS_A_KILL = 80
_STEPS = ("stepped", "written", "stored", "sent", "said", "acknowledged")
POINTS = tuple(("trader", step) for step in _STEPS) + tuple(("execution", step) for step in _STEPS)
"""Crash points of the arm: each step of the loop that makes a call durable before it leaves, and its answer after."""
_LATEST = 40
"""A point is taken at its first to fortieth passing."""
_OTHERS = {"arm": 3, "frozen": 3, "kitesim": 4, "feed": 2}
"""Kills at random moments, and freezes, beside one at each crash point."""
_MOMENT_S = {"arm": (3.0, 14.0), "frozen": (1.0, 8.0), "kitesim": (4.0, 14.0), "feed": (1.0, 4.0)}
"""Seconds after the start, or after the thaw."""
_FROZEN_S = (0.5, 5.0)
"""From shorter than the timeout of a call to just below the lease of the arm's heartbeats."""
_WIPED = 0.2
"""Share of the killed arms that lose their tables' files too, so that the changelog alone brings them back."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """One run on the replay clock."""

    seed: int
    days: int
    seconds: int
    """Of event time, a day."""
    kills: tuple[Kill, ...]


def draw(seed: int, orders: int) -> list[RunPlan]:
    """Plan the runs that place `orders` orders together with the session of the takeover, at least."""
    rng = random.Random(seed)
    left = max(orders - TAKEN_OVER, 100)
    runs = -(-left // _A_RUN)
    stream, each, plans = _kills(rng), -(-left // runs), list[RunPlan]()
    for number in range(runs):
        days = max(-(-each // _A_DAY), 2)
        seconds = round((each / days + _LOST_A_DAY) / _ORDERS_A_SECOND)
        kills = tuple(next(stream) for _ in range(max(each // _ORDERS_A_KILL, 1)))
        plans.append(RunPlan(100 * seed + number, days, seconds, kills))
    return plans


def _kills(rng: random.Random) -> Iterator[Kill]:
    while True:
        deck: list[tuple[str, str]] = [*POINTS, *((name, "") for name, count in _OTHERS.items() for _ in range(count))]
        rng.shuffle(deck)
        for who, step in deck:
            wipe = rng.random() < _WIPED
            if step:
                yield Kill("arm", Point(who, step, rng.randint(1, _LATEST)), wipe)
                continue
            at = Moment(rng.uniform(*_MOMENT_S[who]))
            if who == "frozen":
                yield Kill("arm", at, freeze_s=rng.uniform(*_FROZEN_S))
            else:
                yield Kill(who, at, wipe and who == "arm")
