"""The ledger of one strategy at one account: cash, positions and profit, folded from fills.

Money is exact: cash moves by price times quantity and by charges, never by a rounded average. A position carries its
cost; when part of it is closed, the part's cost is rounded once to 10^-6 and taken off, so that nothing is created
or lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal

from panda_streams.domain.orders import Fill
from panda_streams.domain.signals import Side
from panda_streams.domain.values import Value

__all__ = ["Portfolio", "Position", "apply_fill", "apply_prices"]

_COST_STEP = Decimal("0.000001")
ZERO = Decimal(0)


class Position(Value):
    """Shares of one instrument: negative quantity and cost for a short position."""

    instrument: str
    quantity: int = 0
    cost: Decimal = ZERO
    """What the open shares cost, charges apart."""
    realised: Decimal = ZERO
    """Profit of the closed shares, charges apart."""
    last_price: Decimal | None = None
    """Price of the last mark or fill."""
    priced_at: int = 0
    """Event time of that price."""

    @property
    def average_price(self) -> Decimal | None:
        """Cost of an open share; None without a position."""
        return self.cost / self.quantity if self.quantity else None

    @property
    def unrealised(self) -> Decimal:
        """Profit of the open shares at the last price."""
        return self.quantity * self.last_price - self.cost if self.quantity and self.last_price is not None else ZERO


class Portfolio(Value):
    """A strategy's book at one account, in the account's currency."""

    strategy_id: str
    capital: Decimal
    cash: Decimal
    charges: Decimal = ZERO
    fills: int = 0
    time: int = 0
    """Event time of the last change."""
    positions: dict[str, Position] = {}  # noqa: RUF012  pydantic copies defaults

    @classmethod
    def open(cls, strategy_id: str, capital: Decimal) -> Portfolio:
        """A book with nothing but its capital in cash."""
        return cls(strategy_id=strategy_id, capital=capital, cash=capital)

    @property
    def realised(self) -> Decimal:
        return sum((position.realised for position in self.positions.values()), ZERO)

    @property
    def unrealised(self) -> Decimal:
        return sum((position.unrealised for position in self.positions.values()), ZERO)

    @property
    def equity(self) -> Decimal:
        """Capital plus all profit, charges taken off: cash plus positions at their last prices."""
        return self.capital + self.realised + self.unrealised - self.charges


def apply_fill(portfolio: Portfolio, fill: Fill) -> Portfolio:
    """Book a fill: increase, reduce, close or turn a position.

    The caller drops repeats: a fill that is applied twice counts twice.
    """
    signed = fill.quantity if fill.side is Side.BUY else -fill.quantity
    position = portfolio.positions.get(fill.instrument, Position(instrument=fill.instrument))
    closing = 0
    if position.quantity * signed < 0:
        closing = min(abs(signed), abs(position.quantity)) * (1 if signed > 0 else -1)
    # An order that arrived late is filled at a tick before the last mark, which then stands.
    newest = fill.time >= position.priced_at
    # Closing shares leave at their cost; opening ones enter at the fill's price.
    left_cost = _part(position, -closing)
    opening = signed - closing
    filled = position.model_copy(
        update={
            "quantity": position.quantity + signed,
            "cost": position.cost - left_cost + opening * fill.price,
            "realised": position.realised - closing * fill.price - left_cost,
            "last_price": fill.price if newest else position.last_price,
            "priced_at": max(fill.time, position.priced_at),
        }
    )
    return portfolio.model_copy(
        update={
            "cash": portfolio.cash - signed * fill.price - fill.charges,
            "charges": portfolio.charges + fill.charges,
            "fills": portfolio.fills + 1,
            "time": max(portfolio.time, fill.time),
            "positions": {**portfolio.positions, fill.instrument: filled},
        }
    )


def apply_prices(portfolio: Portfolio, prices: Mapping[str, Decimal], time: int) -> Portfolio:
    """Mark positions at the last prices; older prices than those already known change nothing.

    A mark may come before the fill that it belongs to, so a position that is not open is marked too.
    """
    known = {name: portfolio.positions.get(name, Position(instrument=name)) for name in prices}
    marked = {
        name: position.model_copy(update={"last_price": prices[name], "priced_at": time})
        for name, position in known.items()
        if time >= position.priced_at and (prices[name], time) != (position.last_price, position.priced_at)
    }
    if not marked:
        return portfolio
    return portfolio.model_copy(
        update={"positions": {**portfolio.positions, **marked}, "time": max(portfolio.time, time)}
    )


def _part(position: Position, quantity: int) -> Decimal:
    """Cost of `quantity` of the position's shares (same sign as the position)."""
    if quantity == position.quantity:
        return position.cost
    return (position.cost * quantity / position.quantity).quantize(_COST_STEP, ROUND_HALF_EVEN) if quantity else ZERO
