"""What is in Redis under the keys of keys.py: one frozen class a record, written through the mirror, read by people.

Health (events.py) is mirrored too. Readers take fields that they do not know of, so that a worker of a newer version
does not blank the screen.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from panda_streams.events import Mode

__all__ = [
    "Amount",
    "BrokerRecord",
    "DayRecord",
    "FanoutRecord",
    "FoundRecord",
    "GainsRecord",
    "LinkRecord",
    "OrderRecord",
    "PortfolioRecord",
    "PositionRecord",
    "QuarantinedRecord",
    "ReconciliationRecord",
    "Refusal",
    "RiskRecord",
    "StopRecord",
    "StrategiesRecord",
    "StrategyRecord",
    "TraderRecord",
]


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        raise ValueError("money is a decimal as text, never a float")
    return value


Amount = Annotated[
    Decimal, BeforeValidator(_exact), PlainSerializer(lambda amount: format(amount, "f"), return_type=str)
]
"""Money: exact, and plain digits in JSON, never an exponent."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class GainsRecord(_Record):
    """What was closed in a financial year under one term, by first in, first out."""

    proceeds: Amount
    cost: Amount
    profit: Amount
    """Charges apart."""
    charges: Amount


class PortfolioRecord(_Record):
    """`<ns>:portfolio:<strategy_id>`: one strategy's book at one broker account."""

    world: str
    namespace: str
    strategy_id: str
    currency: str
    simulated: bool
    capital: Amount
    cash: Amount
    realised: Amount
    unrealised: Amount | None
    """None while a position has no last price."""
    charges: Amount
    equity: Amount | None
    positions: int
    """Open ones."""
    fills: int
    bookings: int = 0
    """Deposits, contract notes and what else changed the book without a fill."""
    bookings_waiting: int = 0
    """Bookings that wait for fills which come before them."""
    gains: dict[str, dict[str, GainsRecord]] = {}
    """For tax: by financial year, as 2025-26, and term."""
    time: int | None
    """Event time of the last change, milliseconds since the epoch."""
    at: int
    """Wall time of the writing, milliseconds since the epoch."""
    version: int


class PositionRecord(_Record):
    """`<ns>:positions:<strategy_id>:<instrument>`: what a strategy holds, or held, of one instrument."""

    instrument: str
    product: str | None = None
    """How the shares are held: MIS, CNC or NRML; None before the first fill."""
    quantity: int
    lots: int = 0
    """Lots that the open shares are in, for tax."""
    oldest_lot: str | None = None
    """Date of the oldest of them."""
    average_price: Amount | None
    last_price: Amount | None
    realised: Amount
    unrealised: Amount | None
    time: int | None
    at: int


class Refusal(_Record):
    """A signal that an arm refused, and the codes of the rules that it broke."""

    signal_id: str
    strategy_id: str
    instrument: str
    codes: tuple[str, ...]
    findings: tuple[str, ...] = ()
    """What the first of those rules saw and allow, cut short: `POSITION_LIMIT 1057, limit 1000`."""
    time: int


class StopRecord(_Record):
    """A stop that an arm has put itself in, until an operator resumes it."""

    reason: str
    """As DAILY_LOSS."""
    mode: Mode
    level: str
    """`account`, or `strategy:<strategy_id>`: what it stops."""
    detail: str = ""
    """What was seen, and the limit."""
    since: int
    """Event time, milliseconds since the epoch."""


class DayRecord(_Record):
    """The trading day of an account, in its own currency."""

    date: str
    """As 2026-01-05; empty before the first one."""
    orders: int
    """That risk has allowed."""
    equity: Amount
    """Of all books, at the last prices."""
    profit: Amount
    """Since the day began, open positions and charges included."""


class RiskRecord(_Record):
    """`<ns>:risk`: an arm's account, and what became of the signals that it was sent."""

    mode: Mode
    """The strictest of what operators have set and of the arm's own stops of the account."""
    mode_reason: str | None = None
    """Why it is that mode; empty for ACTIVE."""
    stops: tuple[StopRecord, ...] = ()
    day: DayRecord | None = None
    cash: Amount | None = None
    signals: int
    """Signals that it has handled."""
    validated: int
    rejected: int
    refusals: dict[str, int] = {}
    """Rule code to the number of refusals."""
    recent_refusals: tuple[Refusal, ...] = ()
    time: int | None
    at: int


class OrderRecord(_Record):
    """`<ns>:orders:<order_id>`: an order that waits for the market."""

    order_id: str
    strategy_id: str
    instrument: str
    side: str
    role: str = ""
    """What it is for: ENTRY, EXIT, TARGET, STOP or SQUARE_OFF."""
    product: str = ""
    order_type: str = ""
    quantity: int
    filled: int = 0
    state: str
    price: Amount | None = None
    """Limit of a LIMIT or SL order."""
    trigger: Amount | None = None
    """Last price at which an SL or SL-M order goes to the market."""
    time: int
    """Event time of what caused it, milliseconds since the epoch."""
    at: int


class LinkRecord(_Record):
    """`<ns>:link`: an arm's line to its broker."""

    endpoint: str
    """What is at its other end: simulator, sandbox or production."""
    trouble: str = ""
    """Why nothing can be sent; empty if all is well."""
    at: int


class FoundRecord(_Record):
    """Something that the account holds beyond the orders of its arm."""

    instrument: str
    quantity: int
    price: Amount
    product: str = ""
    time: int
    text: str = ""
    """Where it comes from."""


class QuarantinedRecord(_Record):
    """An order at the broker with a label of this account's making that no book explains."""

    broker_id: str
    tag: str | None = None
    instrument: str
    side: str
    quantity: int
    filled: int
    status: str


class ReconciliationRecord(_Record):
    """One comparison of what the broker holds with the books."""

    at: int
    instruments: int
    differences: tuple[FoundRecord, ...] = ()


class TraderRecord(_Record):
    """`<ns>:trader`: what an account has asked of its broker, and what its books do not explain."""

    calls: dict[str, int] = {}
    """Orders in hand by what is known of them: QUEUED, SENDING, UNKNOWN or TAKEN."""
    unknown: tuple[str, ...] = ()
    overdue: tuple[str, ...] = ()
    """Unknown orders that nobody can ask the broker about any more."""
    orders_today: int = 0
    orders_date: str = ""
    held: dict[str, int] = {}
    """What all books of the arm hold together, by instrument."""
    quarantine: tuple[QuarantinedRecord, ...] = ()
    unlisted: tuple[FoundRecord, ...] = ()
    """What the account holds in instruments that are not in the list."""
    reconciled: ReconciliationRecord | None = None
    at: int


class StrategyRecord(_Record):
    """A strategy as the brain runs it."""

    strategy_id: str
    version: str
    brokers: tuple[str, ...]
    consents: dict[str, bool] = {}
    state: str
    """active or paused."""
    reason: str = ""
    paused_by: str = ""
    """Who paused it: a user, or the brain that it raised in."""


class BrokerRecord(_Record):
    """A broker that the brain knows of."""

    namespace: str
    title: str
    currency: str
    live: bool
    trader: bool
    """False where this version has no trader yet, so that no arm can run."""


class StrategiesRecord(_Record):
    """`brain:strategies`: what the brain runs, and for which brokers."""

    strategies: tuple[StrategyRecord, ...]
    brokers: tuple[BrokerRecord, ...] = ()
    at: int


class FanoutRecord(_Record):
    """`brain:fanout:<shard>`: how many signals this shard has sent to each broker."""

    counts: dict[str, int]
