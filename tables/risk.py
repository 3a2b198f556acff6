"""Table `risk`, key: namespace. The one row of the account, so that every limit is decided in one place;
within 128 KiB, as it is stored, at 100 strategies on 50 instruments.

Rebuilt by folding `<ns>.signals.raw` and `<ns>.orders.updates`: on the replay clock in the order of event time, else
in the order in which they were handled, which the sequence of the verdicts records.
"""

from __future__ import annotations

from panda_streams.domain.risk.account import Account
from panda_streams.domain.risk.modes import Latch
from panda_streams.domain.risk.watch import Day
from panda_streams.domain.values import Value
from tables import Row

__all__ = ["NAME", "HandingOver", "Refusal", "RiskRow"]

NAME = "risk"


class Refusal(Value):
    """One of the last refusals, for people to read."""

    signal_id: str
    strategy_id: str
    instrument: str
    codes: tuple[str, ...]
    findings: tuple[str, ...] = ()
    """What the first rules that it broke saw and allow, cut short: `POSITION_LIMIT 1057, limit 1000`."""
    time: int


class HandingOver(Value):
    """An operator's action on what the book `_unattributed` holds, until it has ended."""

    action_id: str
    strategy_id: str | None
    """Who is to have it; None if it is being closed."""
    orders: tuple[str, ...] = ()
    """Orders that close it, and have not ended."""


class RiskRow(Row):
    schema_version: int = 2
    account: Account = Account()
    day: Day = Day()
    """Counts and marks of the trading date."""
    latches: tuple[Latch, ...] = ()
    """The stops that the arm has put itself in."""
    silent: dict[str, int] = {}  # noqa: RUF012  pydantic copies defaults
    """Shards of execution on which no tick comes, and event time of the last one."""
    unknown: tuple[str, ...] = ()
    """Orders of which nobody knows whether the broker has them, by id, the one that has been so for longest first."""
    moment: int = 0
    """Event time at which the last record acted: once a later one does, losses of that moment are looked at."""
    flattening: str | None = None
    """The operator's action that is closing all positions, until none is left."""
    handovers: dict[str, HandingOver] = {}  # noqa: RUF012
    """By instrument."""
    sequence: int = 0
    """Next sequence number of what risk says: verdicts, bookings, and what became of actions."""
    ended: dict[str, str] = {}  # noqa: RUF012
    """The last trading date that each shard of execution has ended, by its number."""
    noted: str = ""
    """The last trading date whose contract note was posted."""
    actions: tuple[str, ...] = ()
    """The last actions of operators that were done or refused."""
    signals: int = 0
    validated: int = 0
    rejected: int = 0
    refusals: dict[str, int] = {}  # noqa: RUF012
    """Refused signals by reason code."""
    recent: tuple[Refusal, ...] = ()
    time: int = 0
    """Event time of the last signal or order update."""
    version: int = 0
    """Counts the changes of the row: its version in the mirror."""
