"""The trading calendar: boundaries of sessions, dated hours, special sessions, and what a session is a function of."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda_streams.domain.calendar import (
    Auction,
    AuctionHours,
    Calendar,
    Hours,
    Market,
    SpecialSession,
    market_of,
    trading_date,
)
from panda_streams.domain.instruments import Instrument, InstrumentKind
from tests.unit.chains import a_future, an_option

INDIA = timezone(timedelta(hours=5, minutes=30))
MONDAY = date(2026, 8, 3)
ORDINARY = Hours(pre_open="09:00", opens="09:15", closes="15:30", square_off="15:20")
AUCTION = AuctionHours(opens="15:15", orders_from="15:20", orders_until="15:30", ends="15:35")
SHORTER = Hours(opens="09:15", closes="15:15", square_off="15:10", auction=AUCTION)
MUHURAT = SpecialSession(name="Muhurat", hours=Hours(opens="18:00", closes="19:00", square_off="18:50"))


def at(on: date, clock: str) -> int:
    """A time of day in India, by way of the standard library's own time zones."""
    return int(datetime.combine(on, time.fromisoformat(clock), INDIA).timestamp()) * 1000


def a_calendar() -> Calendar:
    hours = {market: {date(2010, 1, 1): ORDINARY} for market in Market}
    hours[Market.SHARES_FNO] = {MONDAY: SHORTER, date(2010, 1, 1): ORDINARY}
    holidays = {date(2026, 8, 5): "Midweek", date(2026, 11, 9): "Diwali"}
    sessions = {date(2026, 2, 1): SpecialSession(name="Budget"), date(2026, 11, 9): MUHURAT}
    return Calendar(hours, holidays, sessions, {2026})


CALENDARS = {"dated": a_calendar(), "simulated": Calendar.simulated(), "always open": Calendar.always_open()}

markets = st.sampled_from(list(Market))
dates = st.dates(date(2000, 1, 1), date(2050, 1, 1))
moments = st.integers(-(10**12), 4 * 10**12)
calendars = st.sampled_from(list(CALENDARS.values()))


@pytest.mark.parametrize(
    ("clock", "shift_ms", "open_"),
    [("09:15", -1, False), ("09:15", 0, True), ("15:30", -1, True), ("15:30", 0, False)],
)
def test_a_market_is_open_from_its_opening_until_just_before_its_close(clock, shift_ms, open_):
    assert a_calendar().is_open(Market.SHARES, at(MONDAY, clock) + shift_ms) is open_


def test_hours_hold_from_their_date_on():
    calendar, friday = a_calendar(), date(2026, 7, 31)

    before, after = calendar.session(Market.SHARES_FNO, friday), calendar.session(Market.SHARES_FNO, MONDAY)

    assert (before.closes, before.square_off, before.auction) == (at(friday, "15:30"), at(friday, "15:20"), None)
    assert (after.closes, after.square_off) == (at(MONDAY, "15:15"), at(MONDAY, "15:10"))
    times = (at(MONDAY, clock) for clock in ("15:15", "15:20", "15:30", "15:35"))
    assert after.auction == Auction(*times)
    assert calendar.session(Market.SHARES, MONDAY).closes == at(MONDAY, "15:30")


def test_the_earliest_hours_hold_before_their_date_too():
    assert a_calendar().session(Market.SHARES, date(2009, 1, 1)).closes == at(date(2009, 1, 1), "15:30")


@pytest.mark.parametrize("on", [date(2026, 8, 1), date(2026, 8, 2), date(2026, 8, 5)])
def test_there_is_no_session_on_a_weekend_or_holiday(on):
    calendar = a_calendar()

    assert calendar.session(Market.SHARES, on) is None
    assert not calendar.trading_day(on)
    assert not calendar.is_open(Market.SHARES, at(on, "12:00"))


def test_a_special_session_on_a_sunday_keeps_the_ordinary_hours_unless_it_has_its_own():
    session = a_calendar().session(Market.SHARES, date(2026, 2, 1))

    assert (session.name, session.pre_open) == ("Budget", at(date(2026, 2, 1), "09:00"))
    assert session.closes == at(date(2026, 2, 1), "15:30")


def test_a_special_session_replaces_the_hours_of_every_market_also_on_a_holiday():
    calendar, diwali = a_calendar(), date(2026, 11, 9)

    sessions = [calendar.session(market, diwali) for market in Market]

    assert {(one.opens, one.closes, one.square_off) for one in sessions} == {
        (at(diwali, "18:00"), at(diwali, "19:00"), at(diwali, "18:50"))
    }
    assert calendar.trading_day(diwali)
    assert calendar.holiday(diwali) == "Diwali"


def test_the_next_session_is_on_a_later_date():
    calendar = a_calendar()

    assert calendar.next_session(Market.SHARES, MONDAY).date == date(2026, 8, 4)
    assert calendar.next_session(Market.SHARES, date(2026, 8, 4)).date == date(2026, 8, 6)
    assert calendar.next_trading_day(date(2026, 1, 30)) == date(2026, 2, 1)


def test_a_year_without_known_holidays_is_a_guess():
    calendar = a_calendar()

    assert calendar.covers(date(2026, 12, 31))
    assert not calendar.covers(date(2027, 1, 1))
    assert calendar.trading_day(date(2027, 1, 1))
    assert Calendar.always_open().covers(date(2099, 1, 1))


def test_the_trading_date_changes_at_midnight_in_india():
    midnight = int(datetime(2026, 8, 2, 18, 30, tzinfo=UTC).timestamp()) * 1000

    assert (trading_date(midnight - 1), trading_date(midnight)) == (date(2026, 8, 2), MONDAY)


@given(moments)
def test_the_trading_date_is_that_of_a_clock_in_india(time_ms):
    clock = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)

    assert trading_date(time_ms) == clock.astimezone(INDIA).date()


@given(calendars, markets, moments)
def test_a_market_is_open_exactly_within_the_session_of_the_date(calendar, market, time_ms):
    session = calendar.session_at(market, time_ms)

    assert session == calendar.session(market, trading_date(time_ms))
    assert calendar.is_open(market, time_ms) == (session is not None and session.opens <= time_ms < session.closes)


@given(calendars, markets, dates)
def test_a_session_lies_within_its_own_date_and_in_order(calendar, market, on):
    session = calendar.session(market, on)

    assert (session is not None) == calendar.trading_day(on)
    if session is not None:
        assert session.date == on == trading_date(session.opens) == trading_date(session.closes - 1)
        assert session.opens < (session.square_off or session.closes) <= session.closes


@given(calendars, markets, dates)
def test_no_trading_day_lies_between_a_date_and_the_next_session(calendar, market, on):
    session = calendar.next_session(market, on)

    between = [on + timedelta(days=number) for number in range(1, (session.date - on).days)]
    assert session.date > on
    assert not any(calendar.trading_day(day) for day in between)


@given(st.lists(st.tuples(markets, dates), max_size=20))
def test_a_session_depends_on_nothing_that_was_asked_before(questions):
    asked = a_calendar()

    answers = [asked.session(market, on) for market, on in questions]

    assert answers == [a_calendar().session(market, on) for market, on in questions]


def test_a_session_is_computed_once():
    calendar = a_calendar()

    assert calendar.session(Market.SHARES, MONDAY) is calendar.session_at(Market.SHARES, at(MONDAY, "23:59"))


def test_changing_what_a_calendar_was_built_from_does_not_change_it():
    holidays: dict[date, str] = {}
    calendar = Calendar({market: {MONDAY: ORDINARY} for market in Market}, holidays, {}, None)

    holidays[MONDAY] = "too late"

    assert calendar.session(Market.SHARES, MONDAY) is not None


@pytest.mark.parametrize("time_ms", [-(2**63), 2**63 - 1])
def test_a_moment_outside_of_all_dates_has_no_session(time_ms):
    calendar = Calendar.always_open()

    assert calendar.session_at(Market.SHARES, time_ms) is None
    assert not calendar.is_open(Market.SHARES, time_ms)
    with pytest.raises((ValueError, OverflowError)):
        trading_date(time_ms)


@given(markets, moments)
def test_an_always_open_market_never_closes(market, time_ms):
    calendar = Calendar.always_open()

    assert calendar.is_open(market, time_ms)
    assert calendar.session_at(market, time_ms).square_off is None


def test_one_always_open_session_ends_where_the_next_begins():
    calendar = Calendar.always_open()
    sunday = calendar.session(Market.SHARES, date(2026, 8, 2))

    assert sunday.closes == calendar.session(Market.SHARES, MONDAY).opens == at(MONDAY, "00:00")


@pytest.mark.parametrize(
    ("instrument", "market"),
    [
        (Instrument(exchange="NSE", symbol="X", kind=InstrumentKind.EQUITY), Market.SHARES),
        (Instrument(exchange="NSE", symbol="X", kind=InstrumentKind.EQUITY, has_derivatives=True), Market.SHARES_FNO),
        (Instrument(exchange="NSE", symbol="X", kind=InstrumentKind.INDEX), Market.SHARES_FNO),
        (a_future(MONDAY), Market.DERIVATIVES),
        (an_option(MONDAY, 24_000), Market.DERIVATIVES),
    ],
)
def test_an_instrument_keeps_the_hours_of_its_market(instrument, market):
    assert market_of(instrument) is market


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("9:15", 33_300_000), ("15:30:01", 55_801_000), ("24:00", 86_400_000)]
)
def test_a_time_of_day_is_a_text_or_milliseconds(text, milliseconds):
    assert Hours(opens=0, closes=text) == Hours(opens="00:00", closes=milliseconds)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"opens": "15:30"}, "opens before closes"),
        ({"opens": "9.15"}, "time of day"),
        ({"closes": "25:00"}, "time of day"),
        ({"closes": "24:01"}, "86400000"),
        ({"pre_open": "09:16"}, "pre_open"),
        ({"square_off": "09:15"}, "square_off"),
        ({"square_off": "15:31"}, "square_off"),
        ({"auction": AUCTION}, "auction at closes or later"),
    ],
)
def test_impossible_hours_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Hours(**{**ORDINARY.model_dump(), **changes})


def test_an_auction_in_the_wrong_order_is_refused():
    with pytest.raises(ValueError, match="in this order"):
        AuctionHours(opens="15:15", orders_from="15:30", orders_until="15:20", ends="15:35")


def test_a_calendar_needs_hours_of_every_market():
    with pytest.raises(ValueError, match="market derivatives, found none"):
        Calendar({market: {MONDAY: ORDINARY} for market in (Market.SHARES, Market.SHARES_FNO)}, {}, {}, None)


def test_a_calendar_needs_a_day_of_trading():
    with pytest.raises(ValueError, match="at least one weekday"):
        Calendar({market: {MONDAY: ORDINARY} for market in Market}, {}, {}, None, frozenset(range(7)))
