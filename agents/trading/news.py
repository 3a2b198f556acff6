"""What the courier tells the trader: that something is about to happen at the broker, or what came back."""

from __future__ import annotations

from dataclasses import dataclass

from panda_streams.domain.brokerage import Answer, BrokerBook, BrokerHolding, Progress
from panda_streams.domain.callbook import Due, Moment

__all__ = ["Advanced", "Answered", "Compared", "Dropping", "News", "Read", "Resolved", "Restarted", "Starting"]


@dataclass(frozen=True, slots=True)
class Restarted:
    """This worker has taken the account over."""

    now: Moment


@dataclass(frozen=True, slots=True)
class Starting:
    """A call is about to leave."""

    due: Due
    now: Moment


@dataclass(frozen=True, slots=True)
class Answered:
    """A call came back."""

    due: Due
    answer: Answer
    now: Moment


@dataclass(frozen=True, slots=True)
class Dropping:
    """What will never be sent is to be ended."""

    now: Moment
    halted: bool


@dataclass(frozen=True, slots=True)
class Read:
    """The broker's book was read; it was asked for at wall time `asked_at`."""

    book: BrokerBook
    asked_at: int
    now: Moment


@dataclass(frozen=True, slots=True)
class Compared:
    """All that the account holds was read, while its book stood still."""

    holdings: tuple[BrokerHolding, ...]
    apart: frozenset[str]
    """Instruments that cannot be compared now."""
    now: Moment


@dataclass(frozen=True, slots=True)
class Resolved:
    """An operator says of an unknown order that it never arrived."""

    order_id: str
    now: Moment


@dataclass(frozen=True, slots=True)
class Advanced:
    """The simulated broker has come to an event time, and its book of then has been read."""

    progress: Progress


News = Restarted | Starting | Answered | Dropping | Read | Compared | Resolved | Advanced
