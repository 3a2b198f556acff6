"""The account: what risk knows of one broker account, in one row, and how orders change it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from panda_streams.domain import settlement
from panda_streams.domain.bookings import Booking, BookingKind
from panda_streams.domain.calendar import trading_date
from panda_streams.domain.contract_note import Tally
from panda_streams.domain.instruments import Instrument, InstrumentKind
from panda_streams.domain.lots import portion
from panda_streams.domain.orders import UNATTRIBUTED, Fill, OrderState, Product
from panda_streams.domain.settlement import Holdings
from panda_streams.domain.signals import Side
from panda_streams.domain.values import Value

__all__ = [
    "Account",
    "Book",
    "Reservation",
    "Scope",
    "Valued",
    "Worth",
    "book_booking",
    "carried",
    "free_product",
    "margin",
    "order_changed",
    "reserve",
    "valued",
]

ZERO = Decimal(0)

MARGIN = Decimal("0.20")
"""Share of a future's value, or of the strike of an option that is written, that a position ties up. Exchanges compute
SPAN and exposure margins for which there is no published formula; this is a round figure above most of them."""


class Reservation(Value):
    """What a validated order may still take, until its terminal update."""

    strategy_id: str
    instrument: str
    side: Side
    quantity: int
    hold: Decimal
    """Cash held back for each share; 0 for an order that closes a position."""
    closes: bool
    """True for an exit: it holds back shares."""
    price: Decimal
    """Price of a share that it was judged at; 0 for an exit without a quote."""


class Book(Value):
    """One strategy's part of the account."""

    cash: Decimal
    product: Product | None = None
    """How the open positions are held, and those that orders in flight may open; None without any."""
    fills: int = 0
    """Fills heard of."""
    positions: dict[str, int] = {}  # noqa: RUF012  pydantic copies defaults
    """Shares held, by instrument, negative for a short position; what is flat is absent."""
    costs: dict[str, Decimal] = {}  # noqa: RUF012
    """What open futures cost, by instrument, with the sign of the position."""
    blocked: dict[str, Decimal] = {}  # noqa: RUF012
    """Cash that short positions and futures tie up, by instrument."""
    holdings: dict[str, Holdings] = {}  # noqa: RUF012
    """Shares held for delivery, by instrument: which of them are settled."""


class Scope(NamedTuple):
    """What a sum is over: the account, a strategy, or an instrument."""

    level: str
    """Its name, as in limits.py."""
    strategy_id: str | None = None
    instrument: str | None = None

    def covers(self, strategy_id: str, instrument: str) -> bool:
        return self.strategy_id in (None, strategy_id) and self.instrument in (None, instrument)


class Account(Value):
    """The state of one broker account: everything that a limit depends on."""

    books: dict[str, Book] = {}  # noqa: RUF012
    """By strategy_id; opened with the configured capital at the strategy's first signal."""
    reservations: dict[str, Reservation] = {}  # noqa: RUF012
    """By order_id."""
    prices: dict[str, Decimal] = {}  # noqa: RUF012
    """Last price of what is held, as execution has said it: at each beat, and with each fill."""
    tallies: dict[str, Tally] = {}  # noqa: RUF012
    """What was traded, by trading date, for the contract notes that are still to be posted."""

    def book(self, strategy_id: str, capital: Decimal) -> Book:
        return self.books.get(strategy_id) or Book(cash=capital)

    def reserved_cash(self, strategy_id: str) -> Decimal:
        """Cash held back for the strategy's orders in flight."""
        return sum(
            (
                reservation.quantity * reservation.hold
                for reservation in self.reservations.values()
                if reservation.strategy_id == strategy_id
            ),
            ZERO,
        )

    def in_flight(self, strategy_id: str, instrument: str, side: Side, *, closing: bool) -> int:
        """Shares that the strategy's orders in flight may still buy or sell, to close a position or to open one."""
        asked = (strategy_id, instrument, side, closing)
        return sum(
            reservation.quantity
            for reservation in self.reservations.values()
            if (reservation.strategy_id, reservation.instrument, reservation.side, reservation.closes) == asked
        )

    def working(self, scope: Scope) -> int:
        """Orders in flight."""
        return sum(1 for order in self.reservations.values() if scope.covers(order.strategy_id, order.instrument))

    def shares(self, scope: Scope, instrument: str, side: Side) -> int:
        """Shares of an instrument that are held on a side, less those on the other, and that orders may still open."""
        held = sum(book.positions.get(instrument, 0) for book in self._books(scope))
        opening = sum(
            order.quantity
            for order in self.reservations.values()
            if (order.instrument, order.side, order.closes) == (instrument, side, False)
            and scope.covers(order.strategy_id, instrument)
        )
        return (held if side is Side.BUY else -held) + opening

    def exposure(self, scope: Scope) -> tuple[Decimal, Decimal]:
        """What is long and what is short at the last prices, with orders in flight that open."""
        long, short = ZERO, ZERO
        if scope.instrument is None:
            value = valued(self.books, self.prices)
            _, long, short = value.total if scope.strategy_id is None else value.of.get(scope.strategy_id, _NOTHING)
        else:
            price = self.prices.get(scope.instrument, ZERO)
            for book in self._books(scope):
                at = book.positions.get(scope.instrument, 0) * price
                long, short = (long + at, short) if at > 0 else (long, short - at)
        for order in self.reservations.values():
            if not order.closes and scope.covers(order.strategy_id, order.instrument):
                at = order.quantity * order.price
                long, short = (long + at, short) if order.side is Side.BUY else (long, short + at)
        return long, short

    def _books(self, scope: Scope) -> Iterable[Book]:
        """That of one strategy, or those of all."""
        if scope.strategy_id is None:
            return [book for name, book in self.books.items() if name != UNATTRIBUTED]
        return [self.books[scope.strategy_id]] if scope.strategy_id in self.books else []


class Worth(NamedTuple):
    """What a book is worth at some prices."""

    equity: Decimal
    """Cash and positions; of a future its profit. What has no price yet counts as nothing."""
    long: Decimal
    short: Decimal


class Valued(NamedTuple):
    """What books are worth at some prices."""

    of: Mapping[str, Worth]
    """By strategy_id."""
    total: Worth
    """All strategies together, without what is nobody's: the owner's long-term holdings are no exposure of the arm, and
    neither its gain nor its loss."""


_NOTHING = Worth(ZERO, ZERO, ZERO)
_last: tuple[Mapping[str, Book], Mapping[str, Decimal], Valued] = {}, {}, Valued({}, _NOTHING)
"""The last books that were valued: each signal looks at thousands of positions, which most signals do not change."""


def valued(books: Mapping[str, Book], prices: Mapping[str, Decimal]) -> Valued:
    """Value books, by strategy_id. Neither they nor prices may ever be changed in place: the same ones have the same
    worth."""
    global _last
    known, at, found = _last
    if at is prices:
        if known is books:
            return found
        of = {name: found.of[name] if known.get(name) is book else _worth(book, prices) for name, book in books.items()}
    else:
        of = {name: _worth(book, prices) for name, book in books.items()}
    equity, long, short = ZERO, ZERO, ZERO
    for name, one in of.items():
        if name == UNATTRIBUTED:
            continue
        equity, long, short = equity + one.equity, long + one.long, short + one.short
    found = Valued(of, Worth(equity, long, short))
    _last = books, prices, found
    return found


def _worth(book: Book, prices: Mapping[str, Decimal]) -> Worth:
    long, short = ZERO, ZERO
    for name, shares in book.positions.items():
        price = prices.get(name)
        if price is None:
            continue
        if shares > 0:
            long += shares * price
        else:
            short -= shares * price
    costs = sum((cost for name, cost in book.costs.items() if name in prices), ZERO)
    return Worth(book.cash + long - short - costs, long, short)


def carried(product: Product, instrument: Instrument) -> Product:
    """The product under which an account's product holds an instrument: what is carried overnight is CNC for shares
    and NRML for derivatives."""
    if product is Product.MIS:
        return Product.MIS
    return Product.NRML if instrument.derivative else Product.CNC


def margin(instrument: Instrument, side: Side, price: Decimal) -> Decimal:
    """Free cash that opening a position takes, for each share: all of its price, or a margin."""
    if instrument.kind is InstrumentKind.FUTURE:
        return price * MARGIN
    if instrument.kind is InstrumentKind.OPTION and side is Side.SELL:
        assert instrument.strike is not None
        return instrument.strike * MARGIN
    return price


def reserve(account: Account, orders: dict[str, Reservation], capital: Decimal, product: Product) -> Account:
    """Hold back what validated orders of one strategy may take; its book opens with `capital` if there is none."""
    if not orders:
        return account
    strategy_id = next(iter(orders.values())).strategy_id
    books, book = account.books, account.book(strategy_id, capital)
    if book.product is not product and any(not reservation.closes for reservation in orders.values()):
        book = book.model_copy(update={"product": product})
    if books.get(strategy_id) is not book:
        books = {**books, strategy_id: book}
    return account.model_copy(update={"books": books, "reservations": {**account.reservations, **orders}})


def order_changed(
    account: Account, order_id: str, state: OrderState, fill: Fill | None, instrument: Instrument | None
) -> Account:
    """Take in an update of an order: book its fill, and release what it held back once it is terminal.

    The caller drops repeats. An order that the arm has decided by itself held nothing back.
    """
    books, prices = account.books, account.prices
    reservations = dict(account.reservations)
    if fill is not None:
        # A fill without a book cannot be: an order was reserved under it. KeyError is a broken invariant. What the
        # account's broker holds beyond the strategies' books has one of its own, without money.
        book = books.get(UNATTRIBUTED, Book(cash=ZERO)) if fill.strategy_id == UNATTRIBUTED else books[fill.strategy_id]
        books = {**books, fill.strategy_id: _filled(book, fill, instrument)}
        if order_id in reservations:
            left = reservations[order_id].quantity - fill.quantity
            reservations[order_id] = reservations[order_id].model_copy(update={"quantity": max(left, 0)})
        prices = {**account.prices, fill.instrument: fill.price}
    ended = reservations.pop(order_id, None) if state.terminal else None
    changed = account.model_copy(update={"books": books, "reservations": reservations, "prices": prices})
    who = fill.strategy_id if fill is not None else ended.strategy_id if ended is not None else None
    return free_product(changed, who) if who is not None else changed


def free_product(account: Account, strategy_id: str) -> Account:
    """The account once a strategy without positions, and without orders that may open one, has no product any more."""
    book = account.books[strategy_id]
    if book.product is None or book.positions:
        return account
    if any(o.strategy_id == strategy_id and not o.closes for o in account.reservations.values()):
        return account
    flat = book.model_copy(update={"product": None})
    return account.model_copy(update={"books": {**account.books, strategy_id: flat}})


def _filled(book: Book, fill: Fill, instrument: Instrument | None) -> Book:
    name, price = fill.instrument, fill.price
    signed = fill.quantity if fill.side is Side.BUY else -fill.quantity
    before = book.positions.get(name, 0)
    held = before + signed
    closing = 0
    if before * signed < 0:
        closing = min(abs(signed), abs(before)) * (1 if signed > 0 else -1)
    opening = signed - closing
    positions, costs, blocked = dict(book.positions), dict(book.costs), dict(book.blocked)
    cash = book.cash - fill.charged
    if fill.margined:
        # Only a future's profit is paid, when it is closed: the ledger books the same.
        cost = costs.pop(name, ZERO)
        left = portion(cost, -closing, before)
        cash += -closing * price - left
        if held:
            costs[name] = cost - left + opening * price
    else:
        cash -= signed * price
    tied = blocked.pop(name, ZERO)
    tied -= portion(tied, abs(closing), abs(before))
    if opening and instrument is not None:
        tied += abs(opening) * _blocks(instrument, fill.side, price)
    if held and tied:
        blocked[name] = tied
    positions.pop(name, None)
    if held:
        positions[name] = held
    return book.model_copy(
        update={
            "cash": cash,
            "fills": book.fills + 1,
            "positions": positions,
            "costs": costs,
            "blocked": blocked,
            "holdings": _delivered(book.holdings, fill),
        }
    )


def _blocks(instrument: Instrument, side: Side, price: Decimal) -> Decimal:
    """Cash that an opened share ties up, the proceeds of a short sale included."""
    if instrument.kind is InstrumentKind.FUTURE:
        return margin(instrument, side, price)
    return price + margin(instrument, side, price) if side is Side.SELL else ZERO


def _delivered(holdings: dict[str, Holdings], fill: Fill) -> dict[str, Holdings]:
    if fill.product is not Product.CNC:
        return holdings
    on, before = trading_date(fill.time), holdings.get(fill.instrument, Holdings())
    trade = settlement.bought if fill.side is Side.BUY else settlement.sold
    after = trade(before, fill.quantity, on)
    left = {name: held for name, held in holdings.items() if name != fill.instrument}
    return {**left, fill.instrument: after} if after.total else left


def book_booking(account: Account, booking: Booking, capital: Decimal) -> Account:
    """Take in what changes a strategy's book without a fill; positions are changed by what execution does with it."""
    book = account.book(booking.strategy_id, capital)
    cash = booking.amount if booking.kind is BookingKind.RESET else book.cash + booking.amount
    changed = book.model_copy(update={"cash": cash})
    return account.model_copy(update={"books": {**account.books, booking.strategy_id: changed}})
