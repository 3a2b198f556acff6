"""Orders and trades as a broker's books hold them."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from panda_streams.domain.orders import Product
from panda_streams.domain.signals import OrderType, Side, Validity

__all__ = ["Amendment", "BookOrder", "BookTrade", "Change", "Iceberg", "Stage", "Status", "Variety"]

ZERO = Decimal(0)


class Variety(StrEnum):
    """How an order is placed; the varieties that kitesim takes."""

    REGULAR = "regular"
    ICEBERG = "iceberg"


class Stage(StrEnum):
    """Where an order really is, whatever its status says in between."""

    SENT = "SENT"
    """On the way to the exchange."""
    WAITING = "WAITING"
    """At the exchange, and waits for its trigger price."""
    OPEN = "OPEN"
    """On the market."""
    DONE = "DONE"


class Status(StrEnum):
    """Kite's words for the state of an order."""

    RECEIVED = "PUT ORDER REQ RECEIVED"
    VALIDATION = "VALIDATION PENDING"
    OPEN_PENDING = "OPEN PENDING"
    OPEN = "OPEN"
    TRIGGER_PENDING = "TRIGGER PENDING"
    MODIFY_VALIDATION = "MODIFY VALIDATION PENDING"
    MODIFY_PENDING = "MODIFY PENDING"
    MODIFIED = "MODIFIED"
    CANCEL_PENDING = "CANCEL PENDING"
    COMPLETE = "COMPLETE"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"


class Amendment(msgspec.Struct, frozen=True, kw_only=True):
    """A modification that was taken and acts at `at`, event time; None leaves a field as it is."""

    at: int
    quantity: int | None = None
    order_type: OrderType | None = None
    price: Decimal | None = None
    trigger: Decimal | None = None
    protection: Decimal | None = None
    disclosed: int | None = None


class Iceberg(msgspec.Struct, frozen=True, kw_only=True):
    """Which leg of an iceberg order this is."""

    leg: int
    legs: int
    leg_quantity: int
    total_quantity: int
    remaining_quantity: int
    """Of all legs from this one on."""


class BookOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order in the broker's book. Times are event times in milliseconds."""

    order_id: str
    number: int
    """Its place among all orders that the broker ever took."""
    parent_id: str | None = None
    variety: Variety
    instrument: str
    side: Side
    product: Product
    asked: OrderType
    """As it was placed or modified to."""
    validity: Validity
    ttl_minutes: int | None = None
    quantity: int
    disclosed: int = 0
    price: Decimal | None = None
    """Limit at the exchange; of an order at the market, known once it is there: its protection."""
    trigger: Decimal | None = None
    protection: Decimal | None = None
    """Of an order at the market: per cent from the last price, -1 for the broker's own table."""
    tag: str | None = None
    received_at: int
    live_at: int
    """When it reaches the exchange."""
    expires_at: int
    status: Status = Status.RECEIVED
    stage: Stage = Stage.SENT
    message: str | None = None
    message_raw: str | None = None
    exchange_order_id: str | None = None
    exchange_at: int | None = None
    """When the exchange took it."""
    changed_at: int
    """Last change."""
    filled: int = 0
    turnover: Decimal = ZERO
    trades: int = 0
    queue: int | None = None
    """What is before it at its price, where the order book showed it."""
    looked: bool = False
    """True once it has looked at the market."""
    modified: bool = False
    modifications: int = 0
    amendments: tuple[Amendment, ...] = ()
    cancel_at: int | None = None
    iceberg: Iceberg | None = None
    gtt: int | None = None
    """The trigger that placed it."""
    sliced: str | None = None
    """The id that stands for it and its like: they are slices of one order."""

    @property
    def remaining(self) -> int:
        return self.quantity - self.filled

    @property
    def at_market(self) -> bool:
        """Whether it takes the market's price at every look, within its protection."""
        return self.asked in (OrderType.MARKET, OrderType.SL_M)

    @property
    def stopped(self) -> bool:
        """Whether it has a trigger."""
        return self.asked in (OrderType.SL, OrderType.SL_M)

    @property
    def order_type(self) -> OrderType:
        """As the order book shows it: an order at the market is a LIMIT order at the exchange."""
        return OrderType.LIMIT if self.asked is OrderType.MARKET else self.asked


class BookTrade(msgspec.Struct, frozen=True, kw_only=True):
    """A trade of an order."""

    trade_id: str
    order_id: str
    exchange_order_id: str
    instrument: str
    side: Side
    product: Product
    quantity: int
    price: Decimal
    at: int
    order_at: int
    """When the exchange took the order."""


class Change(msgspec.Struct, frozen=True):
    """An order after a change, and the trade behind it."""

    order: BookOrder
    trade: BookTrade | None = None
    row: bool = True
    """Whether it is a row of the order's history; what nobody outside of the exchange can see is none."""
