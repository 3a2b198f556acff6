"""What the account holds against what the books of the arm hold, and an operator's word on an order."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal

from panda_streams.domain.brokerage import (
    BrokerHolding,
    Known,
    Word,
)
from panda_streams.domain.callbook.book import (
    CallBook,
    CallState,
    Heard,
    Moment,
    Stranger,
    counted,
    taken_out,
    worded,
)

__all__ = ["differences", "reconciled", "resolved"]


def differences(book: CallBook, holdings: Iterable[BrokerHolding], apart: Collection[str] = ()) -> dict[str, int]:
    """What the account holds beyond the arm's books, by instrument; negative where it holds less. What is `apart` is
    not compared."""
    beyond = {instrument: -quantity for instrument, quantity in book.held.items()}
    for holding in holdings:
        beyond[holding.instrument] = beyond.get(holding.instrument, 0) + holding.quantity
    return {name: quantity for name, quantity in sorted(beyond.items()) if quantity and name not in apart}


def reconciled(book: CallBook, holdings: Sequence[BrokerHolding], now: Moment, *, apart: Collection[str] = ()) -> Heard:
    """Compare what the account holds with what the arm's books hold in all; the difference is nobody's."""
    total: dict[str, list[BrokerHolding]] = {}
    for holding in holdings:
        total.setdefault(holding.instrument, []).append(holding)
    strangers = []
    for instrument, quantity in differences(book, holdings, apart).items():
        found = total.get(instrument, [])
        price = next((holding.price for holding in found if holding.price > 0), Decimal(0))
        strangers.append(
            Stranger(
                key=f"difference/{instrument}/{now.wall}",
                instrument=instrument,
                quantity=quantity,
                price=price,
                product=found[0].product if found else "",
                time=now.broker,
                text=f"the broker holds {quantity + book.held.get(instrument, 0)}, "
                f"the books of the arm {book.held.get(instrument, 0)}",
            )
        )
        book = counted(book, instrument, quantity)
    return Heard(book, strangers=tuple(strangers))


def resolved(book: CallBook, name: str, now: Moment) -> Heard:
    """Take an operator's word that an unknown order never arrived."""
    call = book.calls.get(name)
    if call is None or call.state is not CallState.UNKNOWN:
        return Heard(book)
    return Heard(taken_out(book, name), (worded(name, call, Word(known=Known.ABSENT, time=now.broker)),))
