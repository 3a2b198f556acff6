"""The positions of a desk: what a strategy holds of one instrument, and how fills and corporate actions change it."""

from __future__ import annotations

from decimal import Decimal

from panda_streams.domain.corporate_actions import Ratio, adjusted_quantity
from panda_streams.domain.lots import portion
from panda_streams.domain.orders import Fill, Product
from panda_streams.domain.values import Value

__all__ = ["Position", "adjusted", "moved"]


class Position(Value):
    """What a strategy holds: a negative quantity is a short position."""

    quantity: int
    product: Product
    since: int
    """Event time of the fill that opened it, milliseconds since the epoch; or after its last square-off, if that ended
    without closing it."""
    cost: Decimal
    """What it cost, charges apart, with its sign."""
    best: int
    """The best last price since it was opened, in smallest units: what a trailing stop follows."""
    breached_at: int | None = None
    """At a real broker: event time at which its stop was reached, while the one at the exchange has not closed it."""
    calm_until: int = 0
    """At a real broker: event time before which the arm decides no exit, for the broker has refused one."""
    refused: int = 0
    """At a real broker: how often that has happened since the last fill."""
    plain_on: str = ""
    """At a real broker: the trading date on which it has refused a stop that rests overnight: on that date the
    position's stops are of the day."""


def moved(before: Position | None, signed: int, fill: Fill, decimals: int) -> Position | None:
    """The position after a fill of `signed` shares, of an instrument whose price has `decimals`; None if it is flat."""
    quantity = (before.quantity if before else 0) + signed
    if not quantity:
        return None
    if before is None or before.quantity * quantity < 0:
        best = int(fill.price.scaleb(decimals))
        return Position(quantity=quantity, product=fill.product, since=fill.time, cost=quantity * fill.price, best=best)
    grows = signed * quantity > 0
    change = signed * fill.price if grows else -portion(before.cost, -signed, before.quantity)
    return before.model_copy(
        update={"quantity": quantity, "product": fill.product, "cost": before.cost + change, "refused": 0}
    )


def adjusted(position: Position, ratio: Ratio) -> Position | None:
    """The position after a split or bonus issue; None if no whole share is left of it."""
    quantity, left = adjusted_quantity(position.quantity, ratio)
    if not quantity:
        return None
    cost = position.cost - portion(position.cost, abs(left), abs(position.quantity) * ratio.new)
    best = position.best * ratio.old // ratio.new
    return position.model_copy(update={"quantity": quantity, "cost": cost, "best": best})
