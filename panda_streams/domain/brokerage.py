"""What a broker is asked, and what it says: in words that are no broker's own.

A trader's client speaks these; the execution agent and the account's book of calls understand nothing else.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from panda_streams.domain.orders import Product, Reason
from panda_streams.domain.signals import OrderType, Side, Validity
from panda_streams.domain.values import Value

__all__ = [
    "Answer",
    "AnswerKind",
    "BrokerBook",
    "BrokerClient",
    "BrokerHolding",
    "BrokerOrder",
    "BrokerStatus",
    "BrokerTrade",
    "BrokerTrigger",
    "Known",
    "LoggedOut",
    "Modification",
    "OrderRequest",
    "Progress",
    "Unreachable",
    "Word",
]


class OrderRequest(Value):
    """One order to be placed."""

    order_id: str
    """Ours."""
    tag: str
    """The label that the broker keeps with it: at most 20 letters and digits, a function of the order's id."""
    instrument: str
    side: Side
    quantity: int
    """Shares, or units of a derivative's underlying."""
    product: Product
    order_type: OrderType
    validity: Validity
    ttl_minutes: int | None = None
    price: Decimal | None = None
    trigger: Decimal | None = None
    market_protection: Decimal | None = None
    """Of an order at the market: the furthest from the last price, in per cent; -1 leaves it to the broker."""
    overnight: bool = False
    """A stop that rests with the broker itself until it is reached, also beyond the day: no label is kept with it."""
    last_price: Decimal | None = None
    """Of one that rests overnight: the last price that was seen, which says from which side its trigger is reached."""


class Modification(Value):
    """What an order at the broker is to become: None leaves a field as it is."""

    quantity: int | None = None
    """In all, what is filled included."""
    order_type: OrderType | None = None
    price: Decimal | None = None
    trigger: Decimal | None = None
    market_protection: Decimal | None = None
    """As in an OrderRequest, where the order is to go to the market."""
    last_price: Decimal | None = None
    """As in an OrderRequest."""


class AnswerKind(StrEnum):
    """What is known after a call that places, modifies or cancels."""

    TAKEN = "TAKEN"
    """Received; no more than that."""
    REFUSED = "REFUSED"
    """Proved not to have been taken: it changes nothing at the broker."""
    THROTTLED = "THROTTLED"
    """Refused for coming too fast: it changes nothing, and may be tried again."""
    UNSURE = "UNSURE"
    """It may or may not have been taken."""
    LOGGED_OUT = "LOGGED_OUT"
    """Refused for want of a login: it changes nothing."""


class Answer(Value):
    """What a broker answered to a call."""

    kind: AnswerKind
    broker_id: str | None = None
    """The broker's id of the order, of one that was taken."""
    text: str = ""
    """In the broker's words, free of secrets."""


class BrokerStatus(StrEnum):
    """State of an order in a broker's book."""

    PENDING = "PENDING"
    """On its way to the exchange, or in a state that this version does not know: counted as live."""
    TRIGGER_PENDING = "TRIGGER_PENDING"
    OPEN = "OPEN"
    COMPLETE = "COMPLETE"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    PAST = "PAST"
    """It was on the market on a day whose book is gone: it works no more, and no book tells what it traded."""

    @property
    def terminal(self) -> bool:
        return self in (BrokerStatus.COMPLETE, BrokerStatus.CANCELLED, BrokerStatus.REJECTED)


class BrokerOrder(Value):
    """An order in a broker's book."""

    broker_id: str
    tag: str | None
    instrument: str
    """As `NSE:INFY`, whether or not it is on a list of ours."""
    side: Side
    product: str
    """In the broker's words: it may hold what no arm of ours trades."""
    order_type: str
    status: BrokerStatus
    quantity: int
    filled: int
    price: Decimal | None = None
    trigger: Decimal | None = None
    text: str = ""
    """Why it was rejected or cancelled, in the broker's words."""
    time: int
    """When the broker or the exchange last changed it, milliseconds since the epoch."""
    placed_by: str | None = None
    """The broker's id of the trigger that placed it, where the book says so."""


class BrokerTrigger(Value):
    """An order that rests with the broker itself, and is placed once its trigger is reached."""

    broker_id: str
    instrument: str
    side: Side
    product: str
    quantity: int
    price: Decimal
    trigger: Decimal
    last_price: Decimal
    """As it was given."""
    status: BrokerStatus
    """TRIGGER_PENDING while it rests, OPEN once it was reached, REJECTED if its order was refused then, CANCELLED."""
    placed: str | None = None
    """The broker's id of the order that it has placed."""
    text: str = ""
    created: int
    time: int
    """When it was last changed; both in milliseconds since the epoch."""


class BrokerTrade(Value):
    """A trade in a broker's book."""

    trade_id: str
    exchange: str
    broker_id: str
    """Of its order."""
    instrument: str
    side: Side
    product: str
    quantity: int
    price: Decimal
    time: int
    """Of the fill at the exchange, milliseconds since the epoch."""


class BrokerHolding(Value):
    """What the account holds of an instrument, today's trades included: positions and what was delivered."""

    instrument: str
    product: str
    quantity: int
    """Negative for what is sold short."""
    price: Decimal
    """Average, as the broker has it."""


class BrokerBook(Value):
    """All of today's orders and trades of an account, as they were read."""

    orders: tuple[BrokerOrder, ...]
    trades: tuple[BrokerTrade, ...]
    triggers: tuple[BrokerTrigger, ...] | None = None
    """What rests overnight, whoever has placed it; None if it was not asked for."""

    @property
    def whole(self) -> bool:
        """Whether all that its orders were filled stands among its trades."""
        traded = Counter[str]()
        for trade in self.trades:
            traded[trade.broker_id] += trade.quantity
        return all(traded[order.broker_id] >= order.filled for order in self.orders)


class Known(StrEnum):
    """What is known of an order that was given to the trader."""

    SENDING = "SENDING"
    """It may be on its way from now on."""
    DROPPED = "DROPPED"
    """It was not sent and will not be."""
    TAKEN = "TAKEN"
    """The broker has received it."""
    REFUSED = "REFUSED"
    """The broker has refused it: it is not in its book."""
    UNKNOWN = "UNKNOWN"
    """It may or may not be at the broker."""
    ABSENT = "ABSENT"
    """The broker's book, read late enough, does not have it."""
    BOOK = "BOOK"
    """It is in the broker's book, with all its trades so far."""


class Word(Value):
    """What a trader says of an order: the only way in which a broker's word reaches a desk."""

    known: Known
    time: int
    """Of what it tells of, milliseconds since the epoch."""
    broker_id: str | None = None
    order: BrokerOrder | None = None
    """As the book has it, if it does."""
    trades: tuple[BrokerTrade, ...] = ()
    """All trades of it so far; they add up to what `order` says was filled."""
    reason: Reason | None = None
    """Why it was dropped or refused, where that is the arm's own doing."""
    changes: int | None = None
    """How many of the changes that its desk has asked for are settled in `order`: done, or refused. None while one is
    on its way."""
    text: str = ""
    """In the broker's words."""


class Progress(Value):
    """How far a simulated broker has come on the replay clock."""

    time: int
    """Event time up to which everything was matched."""
    version: int
    """Counts the changes of its book."""


class LoggedOut(Exception):
    """The broker wants a login: the session has ended, or there was none."""


class Unreachable(Exception):
    """The broker did not answer a question, or not in a way that can be read. Nothing was changed by it."""


class BrokerClient(Protocol):
    """An account at a broker: blocking, called from one thread at a time, never from an event loop.

    `place`, `modify` and `cancel` never raise for what the broker or the network does: whatever is not proved to have
    been refused is UNSURE. The questions raise LoggedOut or Unreachable.
    """

    def place(self, request: OrderRequest, at: int) -> Answer:
        """Send an order, once. `at` is the event time of its cause, milliseconds: a simulated broker counts from it."""

    def modify(self, broker_id: str, change: Modification, at: int) -> Answer: ...

    def cancel(self, broker_id: str, at: int) -> Answer: ...

    def book(self, *, overnight: bool) -> BrokerBook:
        """All orders and trades; what rests overnight only if that is asked for."""

    def holdings(self) -> tuple[BrokerHolding, ...]: ...

    def advance(self, until: int) -> Progress:
        """Let a simulated broker match up to event time `until`, and say how far it came: it waits for its ticks for
        some seconds at the most. A real one is asked for nothing: its time is the wall's."""
