"""Which process dies where: the plan of a torture, a function of its seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["COURIER", "CRASH_POINT", "POINTS", "PROCESSES", "Kill", "Moment", "Point", "draw"]

CRASH_POINT = "PANDA_CHAOS_POINT"
"""Names the crash point of a worker, as `agent:point:n`: it dies at the n-th time that the agent passes the point."""

COURIER = ("courier", "place")
"""Where a worker suspends itself: between the permission for an order to leave, and its first byte."""
_STEPS = ("stepped", "written", "stored", "sent", "said", "beat", "acknowledged")
"""What the shared loop passes in each micro-batch; the brain passes the same in another order."""
_AGENTS = {
    "strategy": _STEPS,
    "risk": _STEPS,
    "execution": _STEPS,
    "portfolio": tuple(step for step in _STEPS if step != "beat"),
}
"""The portfolio's snapshots are for people alone: nobody waits for its beats, and it says none."""
PROCESSES = {"strategy": "brain", "risk": "arm", "execution": "arm", "portfolio": "arm"}
"""Agent to the process that runs it."""
POINTS = tuple(f"{agent}:{step}" for agent, steps in _AGENTS.items() for step in steps)
"""Every crash point, as `agent:point`."""

_MOMENTS = {"feed": 6, "brain": 3, "arm": 4}
"""Kills at random moments beside one at each crash point: 40 together."""
_LATEST = 10
"""A point is taken at its first to tenth passing: early enough that a run has room for the next kill."""
_MOMENT_S = {"feed": (0.8, 4.0), "brain": (1.0, 6.0), "arm": (1.0, 6.0)}
"""Seconds after the start: from the first connections, through recovery, to work at full pace."""
_WIPED = 0.2
"""Share of the killed workers that lose their tables' files too, so that the changelog alone brings them back."""


@dataclass(frozen=True, slots=True)
class Point:
    """Die at the `nth` time that `agent` passes `point`."""

    agent: str
    point: str
    nth: int

    def __str__(self) -> str:
        return f"{self.agent}:{self.point}:{self.nth}"


@dataclass(frozen=True, slots=True)
class Moment:
    """Be killed from outside, so long after the start."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Kill:
    """One death of a process."""

    process: str
    at: Point | Moment
    wipe: bool = False
    """Whether the files of its tables are removed before it starts again."""
    freeze_s: float | None = None
    """Suspended for so long instead of killed, at a Moment or at COURIER; it goes on then as if nothing had been."""

    @property
    def name(self) -> str:
        if self.freeze_s is not None:
            return f"{self.process}:frozen"
        return f"{self.at.agent}:{self.at.point}" if isinstance(self.at, Point) else f"{self.process}:random"


def draw(seed: int, kills: int, per_run: int) -> list[list[Kill]]:
    """Plan `kills` kills in runs of at most `per_run`: every 40 of them hold each crash point once."""
    stream = _kills(random.Random(seed))
    return [[next(stream) for _ in range(min(per_run, kills - done))] for done in range(0, kills, per_run)]


def _kills(rng: random.Random) -> Iterator[Kill]:
    while True:
        deck: list[tuple[str, str | None]] = [(PROCESSES[point.split(":")[0]], point) for point in POINTS]
        deck += [(process, None) for process, count in _MOMENTS.items() for _ in range(count)]
        rng.shuffle(deck)
        for process, point in deck:
            wipe = process != "feed" and rng.random() < _WIPED
            if point is not None:
                agent, step = point.split(":")
                yield Kill(process, Point(agent, step, rng.randint(1, _LATEST)), wipe)
            else:
                yield Kill(process, Moment(rng.uniform(*_MOMENT_S[process])), wipe)
