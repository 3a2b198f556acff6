"""Bookings: a record that contradicts itself is refused where it is read."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from panda_streams.domain.bookings import Booking, BookingKind, booking_id
from panda_streams.domain.corporate_actions import CorporateAction, Ratio
from panda_streams.domain.orders import Product
from tests.unit.builders import INFY, a_booking

SPLIT = {"instrument": INFY, "action": CorporateAction.SPLIT, "ratio": Ratio(new=5, old=1), "price": Decimal(100)}
SHARES = {"instrument": INFY, "product": Product.CNC, "quantity": 5, "price": Decimal(100)}
BONUS = {**SPLIT, "action": CorporateAction.BONUS}


@pytest.mark.parametrize(
    ("kind", "amount", "fields"),
    [
        (BookingKind.DEPOSIT, "1", {}),
        (BookingKind.WITHDRAWAL, "-1", {}),
        (BookingKind.RESET, "0", {}),
        (BookingKind.CONTRACT_NOTE, "-3", {"charges": {"stt": Decimal(4), "gst": Decimal(-1)}}),
        (BookingKind.CORPORATE_ACTION, "0", SPLIT),
        (BookingKind.CORPORATE_ACTION, "0", BONUS),
        (BookingKind.UNATTRIBUTED, "-5", {}),
        (BookingKind.UNATTRIBUTED, "0", SHARES),
    ],
)
def test_a_booking_is_read_as_it_was_written(kind: BookingKind, amount: str, fields: dict[str, Any]) -> None:
    booking = a_booking(kind, amount, **fields)

    assert Booking.model_validate_json(booking.model_dump_json()) == booking


@pytest.mark.parametrize(
    ("kind", "amount", "fields", "reason"),
    [
        (BookingKind.DEPOSIT, "0", {}, "amount of a DEPOSIT is above 0"),
        (BookingKind.WITHDRAWAL, "5", {}, "amount of a WITHDRAWAL is below 0"),
        (BookingKind.RESET, "-1", {}, "amount of a RESET is 0 or more"),
        (BookingKind.CONTRACT_NOTE, "3", {"charges": {"stt": Decimal(3)}}, "its charges with the other sign"),
        (BookingKind.CONTRACT_NOTE, "-3", {}, "says charges besides its amount, found nothing"),
        (BookingKind.CORPORATE_ACTION, "1", SPLIT, "amount of a CORPORATE_ACTION is 0"),
        (BookingKind.CORPORATE_ACTION, "0", {**SPLIT, "price": Decimal(-1)}, "a price is above 0"),
        (BookingKind.CORPORATE_ACTION, "0", {**BONUS, "ratio": Ratio(new=1, old=1)}, "a bonus gives more shares"),
        (BookingKind.UNATTRIBUTED, "0", {"instrument": INFY}, "found instrument"),
        (BookingKind.DEPOSIT, "1", {"instrument": INFY}, "says nothing besides its amount, found instrument"),
    ],
)
def test_a_booking_that_contradicts_itself_is_refused(
    kind: BookingKind, amount: str, fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        a_booking(kind, amount, **fields)


def test_a_cause_gives_each_book_and_instrument_a_booking_of_its_own() -> None:
    ids = {
        booking_id("paper", "action", strategy_id, BookingKind.CORPORATE_ACTION, instrument)
        for strategy_id in ("Momentum", "Reversion")
        for instrument in (INFY, "NSE:TCS")
    }

    assert len(ids) == 4
    assert booking_id("paper", "action", "Momentum", BookingKind.CORPORATE_ACTION, INFY) in ids
