"""Orders and fills: values shared by risk, execution and portfolio."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

from panda_streams.domain.signals import Side
from panda_streams.domain.ticks import TickRef
from panda_streams.domain.values import Value

__all__ = ["Fill", "Order", "OrderState"]


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
    order_id: str
    signal_id: str
    strategy_id: str
    instrument: str
    side: Side
    quantity: int
    price: Decimal
    charges: Decimal
    time: int
    tick: TickRef
    """The tick that filled it; for a real broker, the last tick seen before the trade."""
