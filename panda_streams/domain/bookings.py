"""Bookings: what changes a strategy's book at one account besides its fills."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from panda_streams.domain.corporate_actions import CorporateAction, Ratio
from panda_streams.domain.orders import Product
from panda_streams.domain.signals import identify
from panda_streams.domain.values import Value

__all__ = ["Booking", "BookingKind", "booking_id"]


class BookingKind(StrEnum):
    """Why a book changes without a fill."""

    DEPOSIT = "DEPOSIT"
    """Money comes in: more cash and more capital."""
    WITHDRAWAL = "WITHDRAWAL"
    """Money goes out: less cash and less capital."""
    RESET = "RESET"
    """The book begins anew, with `amount` as its capital; only without an open position."""
    CONTRACT_NOTE = "CONTRACT_NOTE"
    """What the broker charged beyond what the fills said, by head; negative where it charged less."""
    CORPORATE_ACTION = "CORPORATE_ACTION"
    """A split or a bonus issue of one instrument."""
    UNATTRIBUTED = "UNATTRIBUTED"
    """What the broker holds beyond the books: cash, or shares at a price, taken in as capital."""


_FIELDS: dict[BookingKind, frozenset[str]] = {
    BookingKind.DEPOSIT: frozenset(),
    BookingKind.WITHDRAWAL: frozenset(),
    BookingKind.RESET: frozenset(),
    BookingKind.CONTRACT_NOTE: frozenset({"charges"}),
    BookingKind.CORPORATE_ACTION: frozenset({"instrument", "action", "ratio", "price"}),
    BookingKind.UNATTRIBUTED: frozenset({"instrument", "product", "quantity", "price"}),
}
"""What a kind says besides its amount; all of it, and for UNATTRIBUTED cash alone none of it."""
_OPTIONAL = ("charges", "instrument", "product", "quantity", "price", "action", "ratio")


class Booking(Value):
    """A change of one strategy's book that no fill caused, in the account's currency.

    Bookings of a strategy take effect in the order in which they are said.
    """

    booking_id: str
    """The booking's identity, derived from its cause: see `booking_id`."""
    strategy_id: str
    """The strategy whose book changes; `_unattributed` for what no strategy bought."""
    kind: BookingKind
    """Why it changes."""
    time: int
    """Event time of the change, milliseconds since the epoch."""
    fills: Annotated[int, Field(ge=0)] = 0
    """Fills of the strategy that come before it, counted since the world began: the book waits for them."""
    amount: Decimal = Decimal(0)
    """Cash that the book gains; negative for what it loses. For RESET: the new capital."""
    charges: dict[str, Decimal] = {}  # noqa: RUF012  pydantic copies defaults
    """Of a contract note: charge by head, as `stt`; together they are the amount, with the other sign."""
    instrument: str | None = None
    """The instrument of a corporate action, or of shares that are unattributed."""
    product: Product | None = None
    """Of unattributed shares: how the broker holds them."""
    quantity: int = 0
    """Unattributed shares; negative where the broker holds fewer than the books."""
    price: Decimal | None = None
    """Of unattributed shares: what one is booked at. Of a corporate action: the last price before it."""
    action: CorporateAction | None = None
    """Of a corporate action: SPLIT or BONUS."""
    ratio: Ratio | None = None
    """Of a corporate action: new shares for old ones."""
    reason: str = ""
    """Why, for people."""

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        given = {name for name in _OPTIONAL if getattr(self, name) not in (None, 0, {})}
        expected = _FIELDS[self.kind]
        if given != expected and not (self.kind is BookingKind.UNATTRIBUTED and not given):
            raise ValueError(f"a {self.kind} says {_names(expected)} besides its amount, found {_names(given)}")
        if self.price is not None and self.price <= 0:
            raise ValueError(f"a price is above 0, found {self.price}")
        kind, amount = self.kind, self.amount
        wrong = ""
        if kind is BookingKind.DEPOSIT and amount <= 0:
            wrong = "above 0"
        elif kind is BookingKind.WITHDRAWAL and amount >= 0:
            wrong = "below 0"
        elif kind is BookingKind.RESET and amount < 0:
            wrong = "0 or more"
        elif kind is BookingKind.CORPORATE_ACTION and amount != 0:
            wrong = "0: the cash for a part of a share follows from ratio and price"
        elif kind is BookingKind.CONTRACT_NOTE and amount != -sum(self.charges.values()):
            wrong = "its charges with the other sign"
        if wrong:
            raise ValueError(f"the amount of a {kind} is {wrong}; found {amount}")
        if self.action is CorporateAction.BONUS and self.ratio is not None and self.ratio.new <= self.ratio.old:
            raise ValueError(f"a bonus gives more shares than before, found {self.ratio.new} for {self.ratio.old}")
        return self


def _names(fields: set[str] | frozenset[str]) -> str:
    return ", ".join(sorted(fields)) or "nothing"


def booking_id(namespace: str, cause: str, strategy_id: str, kind: BookingKind, instrument: str = "") -> str:
    """Derive a booking's id: one cause, as an operator's action or a contract note, gives each book its own."""
    return identify("booking", namespace, cause, strategy_id, kind.value, instrument)
