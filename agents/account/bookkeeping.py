"""What risk books without a fill: the contract note of a day, and what an operator wants done to the books."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from panda_streams.brokers.port import Trader
from panda_streams.domain import settlement
from panda_streams.domain.bookings import Booking, BookingKind, booking_id
from panda_streams.domain.contract_note import Tally
from panda_streams.domain.corporate_actions import (
    CorporateAction,
    Ratio,
    adjusted_price,
    adjusted_quantity,
    cash_in_lieu,
)
from panda_streams.domain.risk.account import Account, Book, book_booking, free_product
from panda_streams.events import Action, ActionKind

__all__ = ["Done", "carry_out", "end_day"]


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an action: the account, the bookings of its strategies, and what people are told."""

    account: Account
    bookings: tuple[Booking, ...]
    detail: str
    done: bool = True


def end_day(account: Account, namespace: str, trader: Trader, on: date, time: int) -> tuple[Account, list[Booking]]:
    """Post the contract note of a trading day; what was bought on the trading day before is delivered."""
    bookings = []
    tallies = dict(account.tallies)
    for strategy_id, charges in sorted(trader.contract_note(tallies.pop(on.isoformat(), Tally()), on).items()):
        bookings.append(
            Booking(
                booking_id=booking_id(namespace, f"note/{on}", strategy_id, BookingKind.CONTRACT_NOTE),
                strategy_id=strategy_id,
                kind=BookingKind.CONTRACT_NOTE,
                time=time,
                fills=account.books[strategy_id].fills,
                amount=-sum(charges.values(), Decimal(0)),
                charges=charges,
                reason=f"contract note of {on}",
            )
        )
        account = book_booking(account, bookings[-1], Decimal(0))
    before = trader.calendar.previous_trading_day(on)
    books = {
        name: book.model_copy(
            update={
                "holdings": {share: settlement.settle(held, through=before) for share, held in book.holdings.items()}
            }
        )
        if book.holdings
        else book
        for name, book in account.books.items()
    }
    return account.model_copy(update={"books": books, "tallies": tallies}), bookings


def carry_out(account: Account, action: Action, capital: Decimal, time: int, *, halted: bool) -> Done:
    """Do what an operator wants done to the books, or say why not and what to do; `time` is event time.

    `capital` is what the strategy's configuration gives it at this account.
    """
    if action.what in (ActionKind.SPLIT, ActionKind.BONUS):
        return _adjust(account, action, time, halted=halted)
    strategy_id = action.strategy_id
    if strategy_id is None or action.amount is None:
        return Done(account, (), f"a {action.what} needs a strategy and an amount", done=False)
    book = account.book(strategy_id, capital)
    kind, amount = BookingKind.DEPOSIT, action.amount
    match action.what:
        case ActionKind.WITHDRAW:
            kind, amount = BookingKind.WITHDRAWAL, -action.amount
            free = book.cash - sum(book.blocked.values()) - account.reserved_cash(strategy_id)
            if action.amount > free:
                return Done(account, (), f"{strategy_id} has {free:f} free: withdraw at most that", done=False)
        case ActionKind.RESET:
            kind = BookingKind.RESET
            busy = [name for name, order in account.reservations.items() if order.strategy_id == strategy_id]
            if book.positions or busy:
                left = ", ".join(f"{shares} {name}" for name, shares in book.positions.items()) or f"{len(busy)} orders"
                detail = f"{strategy_id} still has {left}: pause it and close them first"
                return Done(account, (), detail, done=False)
    if action.what is not ActionKind.RESET and not amount:
        return Done(account, (), f"a {action.what} of nothing changes nothing: give an amount above 0", done=False)
    booking = Booking(
        booking_id=booking_id(action.namespace, action.action_id, strategy_id, kind),
        strategy_id=strategy_id,
        kind=kind,
        time=time,
        fills=book.fills,
        amount=amount,
        reason=f"{action.reason} ({action.who})",
    )
    booked = book_booking(account, booking, capital)
    return Done(booked, (booking,), f"{strategy_id} now has {booked.books[strategy_id].cash:f} in cash")


def _adjust(account: Account, action: Action, time: int, *, halted: bool) -> Done:
    name, ratio, price = action.instrument, action.ratio, action.price
    if name is None or ratio is None or price is None:
        return Done(account, (), f"a {action.what} needs an instrument, a ratio and a price", done=False)
    if action.what is ActionKind.BONUS and ratio.new <= ratio.old:
        detail = f"a bonus gives more shares than before, found {ratio.new} for {ratio.old}: name the new ones first"
        return Done(account, (), detail, done=False)
    if not halted:
        detail = "positions may move meanwhile: `panda halt` the arm first, and `panda resume` it afterwards"
        return Done(account, (), detail, done=False)
    if any(order.instrument == name for order in account.reservations.values()):
        return Done(account, (), f"orders on {name} are working: cancel them or wait for their end", done=False)
    books, bookings = dict(account.books), []
    for strategy_id, book in account.books.items():
        if name not in book.positions:
            continue
        books[strategy_id] = _adjusted(book, name, ratio, price)
        bookings.append(
            Booking(
                booking_id=booking_id(
                    action.namespace, action.action_id, strategy_id, BookingKind.CORPORATE_ACTION, name
                ),
                strategy_id=strategy_id,
                kind=BookingKind.CORPORATE_ACTION,
                time=time,
                fills=book.fills,
                instrument=name,
                action=CorporateAction(action.what),
                ratio=ratio,
                price=price,
                reason=f"{action.reason} ({action.who})",
            )
        )
    account = account.model_copy(update={"books": books})
    for booking in bookings:
        account = free_product(account, booking.strategy_id)
    detail = f"{name}, {ratio.new} for {ratio.old}: {len(bookings)} books changed"
    prices = {share: adjusted_price(at, ratio) if share == name else at for share, at in account.prices.items()}
    return Done(account.model_copy(update={"prices": prices}), tuple(bookings), detail)


def _adjusted(book: Book, name: str, ratio: Ratio, price: Decimal) -> Book:
    """The book after a split or bonus, as the ledger books it."""
    whole, left = adjusted_quantity(book.positions[name], ratio)
    positions = {share: held for share, held in {**book.positions, name: whole}.items() if held}
    holdings = dict(book.holdings)
    if name in holdings:
        holdings[name] = settlement.adjust(holdings[name], ratio)
    return book.model_copy(
        update={
            "cash": book.cash + cash_in_lieu(left, ratio, price),
            "positions": positions,
            "blocked": {share: tied for share, tied in book.blocked.items() if share in positions},
            "holdings": {share: held for share, held in holdings.items() if held.total},
        }
    )
