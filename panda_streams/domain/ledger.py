"""The ledger of one strategy at one account: cash, positions and profit, folded from fills and bookings.

Money is exact: cash moves by price times quantity, by charges and by bookings, never by a rounded average. A position
carries its cost; when part of it is closed, the part's cost is rounded once to 10^-6 and taken off, so that nothing
is created or lost. Lots are a second view of the same trades, for tax (lots.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from panda_streams.domain.bookings import Booking, BookingKind
from panda_streams.domain.corporate_actions import adjusted_price, adjusted_quantity, cash_in_lieu
from panda_streams.domain.lots import GainsByYear, Lot, adjust_lots, portion, trade_date, trade_lots
from panda_streams.domain.orders import Fill, Product
from panda_streams.domain.signals import Side
from panda_streams.domain.values import Value

__all__ = ["LedgerError", "Portfolio", "Position", "apply_booking", "apply_fill", "apply_prices"]

ZERO = Decimal(0)


class LedgerError(Exception):
    """The book cannot take an event that its writer must not have let through: a broken invariant, not an input."""


class Position(Value):
    """Shares of one instrument: negative quantity and cost for a short position."""

    instrument: str
    product: Product | None = None
    """How the shares are held, set by the fill that opened the position; None before the first one."""
    quantity: int = 0
    cost: Decimal = ZERO
    """What the open shares cost, charges apart."""
    realised: Decimal = ZERO
    """Profit of the closed shares by average price, charges apart."""
    last_price: Decimal | None = None
    """Price of the last mark or fill."""
    priced_at: int = 0
    """Event time of that price."""
    lots: tuple[Lot, ...] = ()
    """The open shares by day and price, oldest first; together they are the quantity."""

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
    """What the strategy was given: at the opening, by deposits less withdrawals, and in unattributed shares."""
    cash: Decimal
    charges: Decimal = ZERO
    """Charges of all fills and contract notes."""
    fills: int = 0
    bookings: int = 0
    time: int = 0
    """Event time of the last change."""
    positions: dict[str, Position] = {}  # noqa: RUF012  pydantic copies defaults
    gains: GainsByYear = {}  # noqa: RUF012
    """What the closed lots earned, by financial year and term; charges of contract notes are in no lot."""

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

    The caller drops repeats: a fill that is applied twice counts twice. LedgerError if the open position is held
    under another product, or if a CNC sale exceeds the holding: risk lets neither through.
    """
    signed = fill.quantity if fill.side is Side.BUY else -fill.quantity
    charged, product = fill.charged, fill.product
    position = portfolio.positions.get(fill.instrument, Position(instrument=fill.instrument))
    if position.quantity and position.product is not product:
        raise LedgerError(
            f"fill {fill.fill_id} trades {fill.instrument} as {product}, but {portfolio.strategy_id} holds "
            f"{position.quantity} as {position.product}: close them under {position.product} first"
        )
    if product is Product.CNC and position.quantity + signed < 0:
        raise LedgerError(
            f"fill {fill.fill_id} sells {fill.quantity} {fill.instrument} as CNC, but {portfolio.strategy_id} holds "
            f"{position.quantity}: only held shares are sold for delivery"
        )
    traded, gains = _trade(portfolio, position, signed, fill.price, charged, fill.time, product)
    # A future is not paid for: what is paid is its profit, once it is closed.
    earned = traded.realised - position.realised
    return portfolio.model_copy(
        update={
            "cash": portfolio.cash + (earned if fill.margined else -signed * fill.price) - charged,
            "charges": portfolio.charges + charged,
            "fills": portfolio.fills + 1,
            "time": max(portfolio.time, fill.time),
            "positions": {**portfolio.positions, fill.instrument: traded},
            "gains": gains,
        }
    )


def apply_booking(portfolio: Portfolio, booking: Booking) -> Portfolio:
    """Book what no fill caused.

    The caller drops repeats. LedgerError for a RESET while a position is open: who asks for one checks first.
    """
    changed = _booked(portfolio, booking)
    return changed.model_copy(update={"bookings": portfolio.bookings + 1, "time": max(portfolio.time, booking.time)})


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


def _trade(
    portfolio: Portfolio,
    position: Position,
    signed: int,
    price: Decimal,
    charges: Decimal,
    time: int,
    product: Product | None,
) -> tuple[Position, GainsByYear]:
    closing = 0
    if position.quantity * signed < 0:
        closing = min(abs(signed), abs(position.quantity)) * (1 if signed > 0 else -1)
    # An order that arrived late is filled at a tick before the last mark, which then stands.
    newest = time >= position.priced_at
    # Closing shares leave at their cost; opening ones enter at the trade's price.
    left_cost = portion(position.cost, -closing, position.quantity)
    opening = signed - closing
    lots, gains = trade_lots(
        position.lots, portfolio.gains, position.instrument, signed, price, charges, trade_date(time)
    )
    traded = position.model_copy(
        update={
            "product": product if opening else position.product,
            "quantity": position.quantity + signed,
            "cost": position.cost - left_cost + opening * price,
            "realised": position.realised - closing * price - left_cost,
            "last_price": price if newest else position.last_price,
            "priced_at": max(time, position.priced_at),
            "lots": lots,
        }
    )
    return traded, gains


def _booked(portfolio: Portfolio, booking: Booking) -> Portfolio:
    match booking.kind:
        case BookingKind.DEPOSIT | BookingKind.WITHDRAWAL:
            return _funded(portfolio, booking.amount)
        case BookingKind.CONTRACT_NOTE:
            return portfolio.model_copy(
                update={"cash": portfolio.cash + booking.amount, "charges": portfolio.charges - booking.amount}
            )
        case BookingKind.RESET:
            return _reset(portfolio, booking.amount)
        case BookingKind.CORPORATE_ACTION:
            return _adjusted(portfolio, booking)
        case BookingKind.UNATTRIBUTED:
            return _taken_in(portfolio, booking)


def _funded(portfolio: Portfolio, amount: Decimal) -> Portfolio:
    return portfolio.model_copy(update={"cash": portfolio.cash + amount, "capital": portfolio.capital + amount})


def _reset(portfolio: Portfolio, capital: Decimal) -> Portfolio:
    held = [f"{p.quantity} {p.instrument}" for p in portfolio.positions.values() if p.quantity]
    if held:
        raise LedgerError(
            f"the book of {portfolio.strategy_id} cannot be reset while it holds {', '.join(held)}: "
            "close its positions first"
        )
    # Flat positions stay, without their profit: what shows them must be told that they are empty.
    empty = {
        name: Position(instrument=name, last_price=position.last_price, priced_at=position.priced_at)
        for name, position in portfolio.positions.items()
    }
    return Portfolio.open(portfolio.strategy_id, capital).model_copy(update={"positions": empty})


def _adjusted(portfolio: Portfolio, booking: Booking) -> Portfolio:
    """Carry out a split or a bonus issue; a part of a share that cannot exist is paid out in cash at its price.

    Cost stays, less that of the part which is paid out.
    """
    instrument, action, ratio, price = booking.instrument, booking.action, booking.ratio, booking.price
    assert instrument is not None
    assert action is not None
    assert ratio is not None
    assert price is not None
    position = portfolio.positions.get(instrument)
    if position is None:
        return portfolio
    whole, left = adjusted_quantity(position.quantity, ratio)
    cash = cash_in_lieu(left, ratio, price)
    left_cost = ZERO
    if left:
        left_cost = portion(position.cost, abs(left), abs(position.quantity) * ratio.new)
    lots, gains = adjust_lots(position.lots, portfolio.gains, instrument, action, ratio, cash, trade_date(booking.time))
    update = {
        "quantity": whole,
        "cost": position.cost - left_cost,
        "realised": position.realised + cash - left_cost,
        "lots": lots,
    }
    # A price that is as young as the action is one of the new shares.
    if position.last_price is not None and position.priced_at < booking.time:
        update |= {"last_price": adjusted_price(position.last_price, ratio), "priced_at": booking.time}
    return portfolio.model_copy(
        update={
            "cash": portfolio.cash + cash,
            "positions": {**portfolio.positions, instrument: position.model_copy(update=update)},
            "gains": gains,
        }
    )


def _taken_in(portfolio: Portfolio, booking: Booking) -> Portfolio:
    """Take in cash and shares that the broker holds beyond the books, as capital.

    The broker's word stands: it is not asked whether product and sign suit the position.
    """
    funded = _funded(portfolio, booking.amount)
    if booking.instrument is None or booking.price is None:
        return funded
    position = portfolio.positions.get(booking.instrument, Position(instrument=booking.instrument))
    traded, gains = _trade(portfolio, position, booking.quantity, booking.price, ZERO, booking.time, booking.product)
    return funded.model_copy(
        update={
            "capital": funded.capital + booking.quantity * booking.price,
            "positions": {**portfolio.positions, booking.instrument: traded},
            "gains": gains,
        }
    )
