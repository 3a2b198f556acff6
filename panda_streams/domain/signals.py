"""Signals: what a strategy wants, said once and the same to every broker."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from panda_streams.domain.ticks import TickRef
from panda_streams.domain.values import Value

__all__ = ["Decision", "Intent", "OrderType", "Quote", "Side", "Signal", "Terms", "Validity", "identify"]


class Side(StrEnum):
    """Which way an order goes."""

    BUY = "BUY"
    SELL = "SELL"


class Intent(StrEnum):
    """What a signal is for."""

    ENTRY = "ENTRY"
    """Opens a position or adds to it."""
    EXIT = "EXIT"
    """Closes what the arm holds, and never more."""
    TARGET = "TARGET"
    """Brings the position to a size: each arm trades the difference to what it holds and has in flight."""
    MODIFY = "MODIFY"
    """Gives the strategy's working orders on the instrument and side the prices of the signal's terms."""
    CANCEL = "CANCEL"
    """Cancels the strategy's working orders on the instrument and side; legs of brackets stay."""


class OrderType(StrEnum):
    """How an order meets the market."""

    MARKET = "MARKET"
    """At once, at what there is."""
    LIMIT = "LIMIT"
    """At its limit or better; what does not trade at once waits in the book."""
    SL = "SL"
    """A limit order that waits for a trigger price."""
    SL_M = "SL-M"
    """A market order that waits for a trigger price."""


class Validity(StrEnum):
    """How long an order works: until the session ends, for one look at the market, or for some minutes."""

    DAY = "DAY"
    IOC = "IOC"
    TTL = "TTL"


class Terms(Value):
    """How an order is to be worked; without any, as a MARKET order of the day."""

    order_type: OrderType = OrderType.MARKET
    """MARKET, LIMIT, SL or SL-M."""
    price: Decimal | None = Field(None, gt=0)
    """Limit of a LIMIT or SL order."""
    trigger: Decimal | None = Field(None, gt=0)
    """Last price at which an SL or SL-M order goes to the market."""
    validity: Validity = Validity.DAY
    """DAY, IOC or TTL."""
    ttl_minutes: int | None = Field(None, gt=0, le=360)
    """Minutes that a TTL order works."""
    target: Decimal | None = Field(None, gt=0)
    """Of an entry: price at which the position's profit is taken; cancelled by the stop, and cancels it."""
    stop: Decimal | None = Field(None, gt=0)
    """Of an entry: last price at which the position is closed at the market."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        limited = self.order_type in (OrderType.LIMIT, OrderType.SL)
        stopped = self.order_type in (OrderType.SL, OrderType.SL_M)
        if limited != (self.price is not None):
            raise ValueError(f"a {self.order_type} order {'needs a' if limited else 'has no'} price")
        if stopped != (self.trigger is not None):
            raise ValueError(f"a {self.order_type} order {'needs a' if stopped else 'has no'} trigger")
        if (self.validity is Validity.TTL) != (self.ttl_minutes is not None):
            raise ValueError("ttl_minutes belongs to the validity TTL, and that to it")
        return self


AT_MARKET = Terms()


class Decision(Value):
    """What a strategy's step returns: an instrument that it trades, a side, an intent, and how it is to be worked."""

    instrument: str
    """An instrument that the strategy trades, as NSE:INFY, or the name of one of its contracts."""
    side: Side
    """BUY or SELL; of a TARGET, BUY for a long position and SELL for a short one."""
    intent: Intent
    """ENTRY, EXIT, TARGET, MODIFY or CANCEL."""
    size: Decimal = Field(Decimal(1), ge=0, le=10)
    """Of an ENTRY or TARGET: how many times the size that each account gives an entry. A TARGET of 0 is flat."""
    terms: Terms = AT_MARKET
    """How the order is to be worked; of a MODIFY, the new prices."""


class Quote(Value):
    """The last state of the traded instrument that its shard had seen when the signal was made."""

    tick: TickRef
    """The tick that it was read from."""
    price: Decimal
    """Last traded price."""
    bid: Decimal | None
    """Best price to sell at, if the source recorded one."""
    ask: Decimal | None
    """Best price to buy at, if the source recorded one."""
    volume: int | None = None
    """Traded that day up to then, if the source recorded it."""


class Signal(Value):
    """A strategy's wish, without any fact of an account: every listed broker receives these very bytes."""

    kind: Literal["signal"] = "signal"
    """Names the class of the record."""
    world: str
    """The world that the record belongs to: `sim`, `replay:<name>` or `live`."""
    signal_id: str
    """The signal's identity, derived from strategy, configuration version, instrument and cause."""
    strategy_id: str
    """The strategy that said it."""
    config: str
    """Version of the strategy's configuration: a hash of what decides its signals."""
    instrument: str
    """The instrument to trade, as NSE:INFY."""
    side: Side
    """BUY or SELL."""
    intent: Intent
    """ENTRY, EXIT, TARGET, MODIFY or CANCEL."""
    size: Decimal = Decimal(1)
    """Of an ENTRY or TARGET: how many times the size that each account gives an entry."""
    terms: Terms = AT_MARKET
    """How its order is to be worked."""
    cause: TickRef
    """The tick on which the strategy decided."""
    quote: Quote | None
    """The traded instrument's last quote then; None if its shard had seen none."""
    producer: str
    """`brain/<shard>/<strategy_id>`: whose sequence the record carries."""
    sequence: int
    """Position of its cause in the tick log and its number there; a consumer keeps one high-water mark per producer."""


def identify(*parts: object) -> str:
    """Derive an id from its cause: the same parts give the same 32 hexadecimal digits, on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
