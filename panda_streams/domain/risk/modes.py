"""Modes of an arm, and the latches by which it stops itself."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from panda_streams.domain.values import Value

__all__ = ["StopReason", "Latch", "Mode", "strictest"]


class Mode(StrEnum):
    """What an arm may do. Cancellations pass in each of them."""

    ACTIVE = "ACTIVE"
    """Everything."""
    REDUCING = "REDUCING"
    """Exits alone: nothing is opened or added to."""
    HALTED = "HALTED"
    """Nothing that a strategy says. What protects positions goes on: legs of brackets, protective exits, square-off."""
    HALTED_HARD = "HALTED_HARD"
    """Nothing at all: the arm decides no exit by itself either. Orders that are at the exchange stay there."""

    @property
    def rank(self) -> int:
        """How much it forbids: the more, the higher."""
        return _RANKS[self]


_RANKS = {mode: rank for rank, mode in enumerate(Mode)}


def strictest(modes: Iterable[Mode]) -> Mode:
    """The mode that forbids most; ACTIVE of none."""
    return max(modes, key=lambda mode: mode.rank, default=Mode.ACTIVE)


class StopReason(StrEnum):
    """Why an arm stops itself."""

    DAILY_LOSS = "DAILY_LOSS"
    """The account, or a strategy, has lost more since the day began than its limit."""
    DRAWDOWN = "DRAWDOWN"
    """The account, or a strategy, is further below its highest equity than its limit."""
    REJECTIONS = "REJECTIONS"
    """The market has refused more orders today than the limit."""
    UNKNOWN_ORDERS = "UNKNOWN_ORDERS"
    """More orders than the limit are unknown to be at the broker or not."""
    FEED_STALE = "FEED_STALE"
    """No tick has come for longer than the limit while the market trades."""
    BROKER_BOOK = "BROKER_BOOK"
    """The broker has an order of ours that no book explains, or one whose fate nobody can tell any more."""
    FLATTENED = "FLATTENED"
    """An operator has flattened the account."""


class Latch(Value):
    """A stop that the arm has put itself in, until an operator resumes it."""

    reason: StopReason
    """Why it has stopped."""
    mode: Mode
    """REDUCING or HALTED."""
    level: str
    """`account`, or `strategy:<strategy_id>`: what it stops."""
    detail: str
    """What was seen, and the limit."""
    since: int
    """Event time, milliseconds since the epoch."""
