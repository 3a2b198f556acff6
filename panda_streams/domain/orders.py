"""Orders and fills: values shared by risk, execution and portfolio."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

from panda_streams.domain.signals import Side
from panda_streams.domain.ticks import TickRef
from panda_streams.domain.values import Value

__all__ = ["Fill", "Order", "OrderState", "OrderType", "Product", "Validity"]


class Product(StrEnum):
    """How a position is held, in the words of Indian brokers; positions of two products never net."""

    MIS = "MIS"
    """Intraday: squared off before the session ends."""
    CNC = "CNC"
    """Delivery of shares, paid in full; nothing is sold that is not held."""
    NRML = "NRML"
    """Derivatives that may be held overnight."""


class OrderType(StrEnum):
    MARKET = "MARKET"
    LIMIT = "LIMIT"
    SL = "SL"
    """A limit order that waits for a trigger price."""
    SL_M = "SL-M"
    """A market order that waits for a trigger price."""


class Validity(StrEnum):
    """How long an order works: until the session ends, for one look at the market, or for some minutes."""

    DAY = "DAY"
    IOC = "IOC"
    TTL = "TTL"


class OrderState(StrEnum):
    """WORKING waits for the market; FILLED and EXPIRED are terminal."""

    WORKING = "WORKING"
    FILLED = "FILLED"
    EXPIRED = "EXPIRED"

    @property
    def terminal(self) -> bool:
        return self is not OrderState.WORKING


class Order(Value):
    """A MARKET order of one strategy at one broker account."""

    order_id: str
    signal_id: str
    strategy_id: str
    instrument: str
    side: Side
    quantity: int
    cause: TickRef
    live_at: int
    """Event time in milliseconds from which the market may fill it: its cause plus the account's latency."""


class Fill(Value):
    """A trade of an order: `price` per share and `charges` in the account's currency, exact decimals."""

    fill_id: str
    """The fill's identity, derived from its order and its number there."""
    order_id: str
    """The order that was filled."""
    signal_id: str
    """The signal that the order came from."""
    strategy_id: str
    """The strategy in whose book it is."""
    instrument: str
    """The instrument traded."""
    side: Side
    """BUY or SELL."""
    quantity: int
    """Shares, always positive."""
    price: Decimal
    """Price of one share."""
    charges: Decimal
    """Charges of the whole fill."""
    time: int
    """Event time of the fill, milliseconds since the epoch."""
    tick: TickRef
    """The tick that filled it; for a real broker, the last tick seen before the trade."""
