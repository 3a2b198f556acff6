"""The account: what risk knows of one broker account, in one row, and how orders change it."""

from __future__ import annotations

from decimal import Decimal

from panda_streams.domain.orders import Fill, OrderState
from panda_streams.domain.signals import Side
from panda_streams.domain.values import Value

__all__ = ["Account", "Book", "Reservation", "order_changed", "reserve"]


class Reservation(Value):
    """What a validated order may still take, until its terminal update."""

    strategy_id: str
    instrument: str
    side: Side
    quantity: int
    price: Decimal
    """Price at which its cash is held back."""


class Book(Value):
    """One strategy's part of the account."""

    cash: Decimal
    positions: dict[str, int] = {}  # noqa: RUF012  pydantic copies defaults
    """Shares held, by instrument; what is flat is absent."""


class Account(Value):
    """The state of one broker account: everything that a limit depends on."""

    books: dict[str, Book] = {}  # noqa: RUF012
    """By strategy_id; opened with the configured capital at the strategy's first signal."""
    reservations: dict[str, Reservation] = {}  # noqa: RUF012
    """By order_id."""

    def book(self, strategy_id: str, capital: Decimal) -> Book:
        return self.books.get(strategy_id) or Book(cash=capital)

    def reserved_cash(self, strategy_id: str) -> Decimal:
        """Cash held back for the strategy's buy orders in flight."""
        return sum(
            (
                reservation.quantity * reservation.price
                for reservation in self.reservations.values()
                if reservation.strategy_id == strategy_id and reservation.side is Side.BUY
            ),
            Decimal(0),
        )

    def in_flight(self, strategy_id: str, instrument: str, side: Side) -> int:
        """Shares that the strategy's orders in flight may still buy or sell."""
        return sum(
            reservation.quantity
            for reservation in self.reservations.values()
            if (reservation.strategy_id, reservation.instrument, reservation.side) == (strategy_id, instrument, side)
        )


def reserve(account: Account, order_id: str, reservation: Reservation, capital: Decimal) -> Account:
    """Hold back what a validated order may take; its strategy's book opens with `capital` if there is none."""
    strategy_id = reservation.strategy_id
    return account.model_copy(
        update={
            "books": {**account.books, strategy_id: account.book(strategy_id, capital)},
            "reservations": {**account.reservations, order_id: reservation},
        }
    )


def order_changed(account: Account, order_id: str, state: OrderState, fill: Fill | None) -> Account:
    """Take in an update of an order: book its fill, and release what it held back once it is terminal.

    The caller drops repeats.
    """
    books = account.books
    reservations = dict(account.reservations)
    if fill is not None:
        # A fill without a book cannot be: the order was reserved under it. KeyError is a broken invariant.
        book = books[fill.strategy_id]
        signed = fill.quantity if fill.side is Side.BUY else -fill.quantity
        held = book.positions.get(fill.instrument, 0) + signed
        positions = {name: shares for name, shares in book.positions.items() if name != fill.instrument}
        if held:
            positions[fill.instrument] = held
        cash = book.cash - signed * fill.price - fill.charges
        books = {**books, fill.strategy_id: Book(cash=cash, positions=positions)}
        if order_id in reservations:
            left = reservations[order_id].quantity - fill.quantity
            reservations[order_id] = reservations[order_id].model_copy(update={"quantity": max(left, 0)})
    if state.terminal:
        reservations.pop(order_id, None)
    return account.model_copy(update={"books": books, "reservations": reservations})
