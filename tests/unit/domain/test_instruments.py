"""Instruments: what cannot exist is refused, a list is looked up by every name, and two lists are compared."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda_streams.domain.instruments import Change, Instrument, InstrumentKind, Instruments, Right, Series, changes
from tests.unit.chains import NIFTY, a_chain, a_future, an_option

AUGUST, SEPTEMBER = date(2026, 8, 25), date(2026, 9, 29)
SHARE: dict[str, Any] = {"exchange": "NSE", "symbol": "INFY", "kind": InstrumentKind.EQUITY}
OPTION: dict[str, Any] = {
    "exchange": "NFO",
    "symbol": "O",
    "kind": InstrumentKind.OPTION,
    "underlying": NIFTY,
    "expiry": AUGUST,
    "strike": Decimal(24_000),
    "right": Right.CALL,
}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        (SHARE | {"symbol": ""}, "symbol"),
        (SHARE | {"tick_size": Decimal(0)}, "tick_size"),
        (SHARE | {"tick_size": Decimal("-0.05")}, "tick_size"),
        (SHARE | {"tick_size": Decimal("0.0025")}, "tick_size"),
        (SHARE | {"tick_size": Decimal("NaN")}, "tick_size"),
        (SHARE | {"lot": 0}, "lot"),
        (SHARE | {"lot": 65, "freeze_quantity": 64}, "freeze_quantity"),
        (SHARE | {"expiry": AUGUST, "underlying": NIFTY}, "underlying and an expiry"),
        (SHARE | {"strike": Decimal(1), "right": Right.PUT}, "strike and a right"),
        (OPTION | {"kind": InstrumentKind.FUTURE}, "strike and a right"),
        (OPTION | {"underlying": None}, "underlying and an expiry"),
        (OPTION | {"expiry": None}, "underlying and an expiry"),
        (OPTION | {"strike": None}, "strike and a right"),
        (OPTION | {"right": None}, "strike and a right"),
        (OPTION | {"strike": Decimal(0)}, "strike must be above 0"),
    ],
)
def test_an_instrument_that_cannot_exist_is_refused(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Instrument(**fields)


def test_a_tick_may_be_written_with_more_digits_than_it_needs() -> None:
    assert Instrument(**SHARE, tick_size=Decimal("0.0500")).tick_size == Decimal("0.05")


def test_a_token_finds_its_instrument() -> None:
    listed = Instruments([Instrument(**SHARE, token=408065), a_future(AUGUST, token=5)])

    assert listed.by_token(408065) == listed["NSE:INFY"]
    assert listed.by_token(1) is None


@pytest.mark.parametrize("turn", [1, -1])
def test_a_token_that_is_used_again_finds_the_younger_contract(turn: int) -> None:
    listed = Instruments([a_future(AUGUST, token=5), a_future(SEPTEMBER, token=5)][::turn])

    assert listed.by_token(5) == a_future(SEPTEMBER, token=5)


def test_derivatives_come_by_expiry_then_strike_and_futures_first() -> None:
    chain = a_chain([SEPTEMBER, AUGUST], [24_050, 24_000], [Right.CALL])
    listed = Instruments([*chain, a_future(AUGUST), Instrument(**SHARE)])

    assert [(one.expiry, one.strike) for one in listed.derivatives(NIFTY)] == [
        (AUGUST, None),
        (AUGUST, 24_000),
        (AUGUST, 24_050),
        (SEPTEMBER, 24_000),
        (SEPTEMBER, 24_050),
    ]
    assert listed.derivatives("NSE:INFY") == ()


def test_a_series_holds_one_right_alone() -> None:
    listed = Instruments([*a_chain([AUGUST], [24_000, 24_050]), a_future(AUGUST)])

    puts = listed.series(NIFTY, InstrumentKind.OPTION, Right.PUT)

    assert list(puts) == [AUGUST]
    assert [(one.strike, one.right) for one in puts[AUGUST]] == [(24_000, Right.PUT), (24_050, Right.PUT)]
    assert len(listed.series(NIFTY, InstrumentKind.FUTURE)[AUGUST]) == 1


@given(st.lists(st.integers(1, 500), min_size=1, unique=True), st.decimals(1, 600, places=2))
def test_the_nearest_strike_is_nearest_and_of_two_the_lower(strikes: list[int], price: Decimal) -> None:
    series = Series(sorted((an_option(AUGUST, strike) for strike in strikes), key=lambda one: one.strike or 0))

    found = series[series.nearest(price)].strike

    assert found == min(strikes, key=lambda strike: (abs(strike - price), strike))


@given(st.permutations([Instrument(**SHARE), a_future(AUGUST), an_option(AUGUST, 24_000)]))
def test_the_version_does_not_depend_on_the_order(instruments: list[Instrument]) -> None:
    assert Instruments(instruments).version == Instruments(sorted(instruments, key=lambda one: one.id)).version


@pytest.mark.parametrize("change", [{"lot": 2}, {"tick_size": Decimal("0.01")}, {"token": 1}, {"symbol": "TCS"}])
def test_the_version_changes_with_what_is_said(change: dict[str, Any]) -> None:
    share = Instrument(**SHARE)

    assert Instruments([msgspec.structs.replace(share, **change)]).version != Instruments([share]).version


def test_a_later_list_tells_what_it_added_removed_changed_and_misses() -> None:
    old = Instruments([Instrument(**SHARE), a_future(AUGUST, lot=65), an_option(AUGUST, 24_000)])
    new = Instruments([Instrument(**SHARE), a_future(AUGUST, lot=75, token=7), an_option(AUGUST, 24_050)])

    found = changes(old, new, ["NFO:NIFTY5026082524000CE", "NSE:INFY"])

    assert found.added == ("NFO:NIFTY5026082524050CE",)
    assert found.removed == ("NFO:NIFTY5026082524000CE",)
    assert found.changed == (
        Change("NFO:NIFTY50260825FUT", "lot", 65, 75),
        Change("NFO:NIFTY50260825FUT", "token", None, 7),
    )
    assert found.missing == ("NFO:NIFTY5026082524000CE",)


def test_a_price_band_of_another_day_is_no_change() -> None:
    today, tomorrow = (Instruments([Instrument(**SHARE, upper_circuit=Decimal(limit))]) for limit in (1500, 1600))

    assert changes(today, tomorrow).changed == ()
