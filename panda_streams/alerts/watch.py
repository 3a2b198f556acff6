"""What of a worker's facts, from one second to the next, people should hear of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from panda_streams.alerts.kinds import Alert, AlertKind
from panda_streams.events import Level, Mode
from panda_streams.levels import ALL, STRATEGY_STATE

__all__ = ["Facts", "RECENT_MS", "compare"]

RECENT_MS = 60_000
"""A level that is younger than this is told by a worker that has just begun to speak, for the one before it may have
died of it: it may be told twice, but not never."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a worker knows at one moment."""

    speaks: bool
    """True if it tells what all workers of its account, or all brains, know: exactly one of them does."""
    dead_letters: int = 0
    """Records that it has sent to the dead-letter topic since its start."""
    levels: Mapping[str, Level] = field(default_factory=dict)
    """By scope: modes of an arm and of all arms, for a brain the states of the strategies."""
    noted: str = ""
    """The last trading date whose contract note was posted."""
    traded: frozenset[str] = frozenset()
    """Trading dates whose contract note is still to be posted."""


def compare(before: Facts | None, now: Facts, at: int) -> Iterator[Alert]:
    """Say what has changed; `before` is None at the first look, `at` is wall time, milliseconds since the epoch."""
    letters = now.dead_letters - (before.dead_letters if before is not None else 0)
    if letters:
        yield Alert(
            AlertKind.DEAD_LETTER,
            "dead letters",
            f"{letters} {'record' if letters == 1 else 'records'} could not be processed and went to the dead-letter "
            "topic; the worker's log has a line for each.",
        )
    if now.speaks:
        known = before if before is not None and before.speaks else None
        for scope, level in now.levels.items():
            yield from _level(known.levels.get(scope) if known else None, level, known is None, at)
        if known is not None:
            for day in sorted(day for day in known.traded - now.traded if day <= now.noted):
                yield Alert(AlertKind.CONTRACT_NOTE, f"contract note of {day}", f"The trading day {day} is booked.")


def _level(before: Level | None, level: Level, first: bool, at: int) -> Iterator[Alert]:
    if level == before or (first and at - level.at >= RECENT_MS):
        return
    active = level.value == Mode.ACTIVE
    if active and not first and (before is None or before.value == Mode.ACTIVE):
        return
    strategy = level.setting == STRATEGY_STATE
    what = level.scope.replace(":", " ", 1) if strategy else "every arm" if level.scope == ALL else f"arm {level.scope}"
    kind = AlertKind.RESUME if active else AlertKind.STRATEGY_PAUSED if strategy else AlertKind.HALT
    state = "resumed" if active else level.value
    yield Alert(kind, f"{what} is {state}", f"{what} is {state}, by {level.who}: {level.reason}")
