"""What of a worker's facts, from one second to the next, people should hear of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from panda_streams.alerts.kinds import Alert, AlertKind
from panda_streams.domain.risk.modes import Latch, StopReason
from panda_streams.events import Level, Mode
from panda_streams.levels import ALL, STRATEGY_STATE

__all__ = ["Facts", "RECENT_MS", "compare"]

RECENT_MS = 60_000
"""A level that is younger than this is told by a worker that has just begun to speak, for the one before it may have
died of it: it may be told twice, but not never."""

_STOPS = {StopReason.FLATTENED: AlertKind.FLATTEN, StopReason.FEED_STALE: AlertKind.FEED_STALE}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a worker knows at one moment."""

    speaks: bool
    """True if it tells what all workers of its account, or all brains, know: exactly one of them does."""
    namespace: str = field(default="", kw_only=True)
    """The account of an arm."""
    dead_letters: int = 0
    """Records that it has sent to the dead-letter topic since its start."""
    levels: Mapping[str, Level] = field(default_factory=dict)
    """By scope: modes of an arm and of all arms, for a brain the states of the strategies."""
    noted: str = ""
    """The last trading date whose contract note was posted."""
    traded: frozenset[str] = frozenset()
    """Trading dates whose contract note is still to be posted."""
    stops: tuple[Latch, ...] = ()
    """The stops that the arm has put itself in."""
    flattening: bool = False
    """True until all positions are closed, once an operator has flattened the account."""
    wants_login: bool = False
    """True while the broker of an arm wants a login."""
    found: int | None = None
    """How often the broker of an arm had something that no book explains; None if it is not known here."""
    refused: tuple[str, int] = ("", 0)
    """A trading date, and the orders that the market has refused on it."""


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
        yield from _stops(known, now)
        if now.wants_login and not (known is not None and known.wants_login):
            yield Alert(
                AlertKind.TOKEN_EXPIRED,
                f"nobody is logged in at {now.namespace}",
                "Orders are held until somebody logs in again; the arm goes on by itself then.",
            )
        if known is not None:
            yield from _refused(known.refused, now.refused)
            if now.found is not None and known.found is not None and now.found > known.found:
                yield Alert(
                    AlertKind.RECONCILE_MISMATCH,
                    "the broker holds what no book explains",
                    f"`panda reconcile {now.namespace}` shows what it is.",
                )
            for day in sorted(day for day in known.traded - now.traded if day <= now.noted):
                yield Alert(AlertKind.CONTRACT_NOTE, f"contract note of {day}", f"The trading day {day} is booked.")


def _stops(known: Facts | None, now: Facts) -> Iterator[Alert]:
    """Tell of stops that are new; who begins to speak tells of all, since nobody knows whether they were told."""
    before = known.stops if known is not None else ()
    for stop in now.stops:
        if stop not in before:
            kind = _STOPS.get(stop.reason, AlertKind.AUTOMATIC_HALT)
            body = f"{stop.level} is {stop.mode} now: {stop.detail}; `panda resume {now.namespace}` takes it back."
            yield Alert(kind, f"{stop.reason} stops {stop.level}", body)
    kept = {(stop.reason, stop.level) for stop in now.stops}
    for stop in before:
        if (stop.reason, stop.level) not in kept:
            what = f"{stop.reason} stops {stop.level} no longer"
            yield Alert(AlertKind.RESUME, what, f"{what}: an operator has resumed it.")
    if known is not None and known.flattening and not now.flattening:
        yield Alert(AlertKind.FLATTEN, "the account is flat", "All its orders have ended, all positions are closed.")


def _refused(before: tuple[str, int], now: tuple[str, int]) -> Iterator[Alert]:
    day, count = now
    more = count - (before[1] if before[0] == day else 0)
    if more > 0:
        orders = "1 order" if more == 1 else f"{more} orders"
        yield Alert(AlertKind.ORDER_REJECTED, "orders are refused", f"The market refused {orders}: {count} on {day}.")


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
