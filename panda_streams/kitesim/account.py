"""The account: positions, holdings, money, and the margin that orders and positions block."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

import msgspec

from panda_streams.domain.instruments import Instrument, InstrumentKind, Instruments
from panda_streams.domain.orders import Product
from panda_streams.domain.signals import Side
from panda_streams.kitesim.orders import ZERO, BookOrder, BookTrade

__all__ = ["Account", "Funds", "Holding", "Position", "margin"]

_INTRADAY = Decimal("0.20")
"""Share of the value that an intraday order in shares blocks: SEBI's peak margin, five times leverage at the most."""
_DERIVATIVES = Decimal("0.20")
"""Share of the value that a future or a written option blocks: about SPAN and exposure of an index."""


class Position(msgspec.Struct, kw_only=True):
    """What was bought and sold of an instrument under one product, today and before."""

    instrument: str
    product: Product
    overnight: int = 0
    overnight_price: Decimal = ZERO
    bought: int = 0
    bought_value: Decimal = ZERO
    """Today's alone, as `sold`."""
    sold: int = 0
    sold_value: Decimal = ZERO
    average: Decimal = ZERO
    """Of what is held, by average cost; 0 when nothing is."""
    realised: Decimal = ZERO
    """Today's."""

    @property
    def quantity(self) -> int:
        """What is held: negative for what is sold short."""
        return self.overnight + self.bought - self.sold

    def trade(self, side: Side, quantity: int, price: Decimal) -> None:
        before = self.quantity
        signed = quantity if side is Side.BUY else -quantity
        if side is Side.BUY:
            self.bought += quantity
            self.bought_value += quantity * price
        else:
            self.sold += quantity
            self.sold_value += quantity * price
        after = before + signed
        if before == 0 or (before > 0) == (signed > 0):
            self.average = (abs(before) * self.average + quantity * price) / abs(after)
            return
        closed = min(abs(before), quantity)
        self.realised += closed * (price - self.average) * (1 if before > 0 else -1)
        if after == 0:
            self.average = ZERO
        elif (after > 0) != (before > 0):
            self.average = price


class Holding(msgspec.Struct, kw_only=True):
    """Shares in the demat account."""

    instrument: str
    quantity: int
    average: Decimal


class Funds(msgspec.Struct, frozen=True):
    """Money of the account."""

    cash: Decimal
    """At the opening."""
    realised: Decimal
    blocked: Decimal
    """By positions."""
    ordered: Decimal
    """By orders that are working."""
    premium: Decimal
    """Of options bought, among what positions block."""
    delivery: Decimal
    """Of shares bought for delivery, among what positions block."""

    @property
    def free(self) -> Decimal:
        return self.cash + self.realised - self.blocked - self.ordered


class Account:
    """Positions, holdings and cash; `changed` is set by whatever changes one."""

    def __init__(self, instruments: Instruments, cash: Decimal) -> None:
        self._instruments = instruments
        self.cash = cash
        self.positions: dict[tuple[str, Product], Position] = {}
        self.holdings: dict[str, Holding] = {}
        self.changed = False

    def book(self, trade: BookTrade) -> None:
        """Take a trade in."""
        key = (trade.instrument, trade.product)
        position = self.positions.get(key)
        if position is None:
            position = self.positions[key] = Position(instrument=trade.instrument, product=trade.product)
        position.trade(trade.side, trade.quantity, trade.price)
        self.changed = True

    def held(self, instrument_id: str, product: Product) -> int:
        """The net position under a product."""
        position = self.positions.get((instrument_id, product))
        return position.quantity if position is not None else 0

    def sellable(self, instrument_id: str, live: Iterable[BookOrder]) -> int:
        """Shares that a CNC order can sell: held, bought today, and not on sale already."""
        holding = self.holdings.get(instrument_id)
        selling = sum(
            order.remaining
            for order in live
            if order.instrument == instrument_id and order.product is Product.CNC and order.side is Side.SELL
        )
        return (holding.quantity if holding is not None else 0) + self.held(instrument_id, Product.CNC) - selling

    def funds(self, orders: Iterable[tuple[BookOrder, Decimal]]) -> Funds:
        """What is free while these orders work, each with the price that it is reckoned at."""
        blocked = premium = delivery = realised = ZERO
        for position in self.positions.values():
            realised += position.realised
            quantity = position.quantity
            if not quantity:
                continue
            instrument = self._instruments[position.instrument]
            side = Side.BUY if quantity > 0 else Side.SELL
            amount = margin(instrument, position.product, side, abs(quantity), position.average)
            blocked += amount
            if instrument.kind is InstrumentKind.OPTION and side is Side.BUY:
                premium += amount
            if position.product is Product.CNC:
                delivery += amount
        ordered = ZERO
        closing: dict[tuple[str, Product], int] = {}
        for order, price in orders:
            opens = order.remaining
            key = (order.instrument, order.product)
            held = self.held(*key)
            if held and (held > 0) is (order.side is Side.SELL):
                left = closing.setdefault(key, abs(held))
                opens -= min(opens, left)
                closing[key] = left - min(order.remaining, left)
            ordered += margin(self._instruments[order.instrument], order.product, order.side, opens, price)
        return Funds(self.cash, realised, blocked, ordered, premium, delivery)

    def begin_day(self, on: date, prices: dict[str, Decimal]) -> None:
        """Carry everything over to a new trading day: deliveries become holdings, expired contracts are settled.

        `prices` are the last ones. MIS positions are carried as well: whoever trades here closes them before.
        """
        carried: dict[tuple[str, Product], Position] = {}
        for key, position in self.positions.items():
            quantity, name = position.quantity, position.instrument
            self.cash += position.realised
            if position.product is Product.CNC:
                self._deliver(position)
                continue
            if not quantity:
                continue
            expiry = self._instruments[name].expiry
            if expiry is not None and expiry < on:
                self.cash += quantity * (prices.get(name, position.average) - position.average)
                continue
            carried[key] = Position(
                instrument=name,
                product=position.product,
                overnight=quantity,
                overnight_price=position.average,
                average=position.average,
            )
        self.positions = carried
        self.changed = True

    def _deliver(self, position: Position) -> None:
        quantity, name = position.quantity, position.instrument
        holding = self.holdings.get(name)
        if quantity > 0:
            had = holding.quantity if holding is not None else 0
            cost = (holding.quantity * holding.average if holding is not None else ZERO) + quantity * position.average
            self.holdings[name] = Holding(instrument=name, quantity=had + quantity, average=cost / (had + quantity))
        elif quantity < 0 and holding is not None:
            holding.quantity += quantity
            if holding.quantity <= 0:
                del self.holdings[name]
        self.cash -= quantity * position.average


def margin(instrument: Instrument, product: Product, side: Side, quantity: int, price: Decimal) -> Decimal:
    """Money that an order or a position of so many units blocks at a price."""
    value = quantity * price
    if instrument.kind is InstrumentKind.OPTION:
        if side is Side.BUY:
            return value
        assert instrument.strike is not None
        return quantity * instrument.strike * _DERIVATIVES
    if instrument.derivative:
        return value * _DERIVATIVES
    if product is Product.MIS:
        return value * _INTRADAY
    return value if side is Side.BUY else ZERO
