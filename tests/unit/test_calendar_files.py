"""The package's calendar is that of the exchanges; a user's file extends it; a wrong one is named with its entry."""

from __future__ import annotations

import gzip
import re
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from holidays import financial_holidays

from panda_streams.calendar_files import calendar_of, load_calendar
from panda_streams.domain.calendar import Market
from panda_streams.errors import BadInput
from panda_streams.feeds.simulator import FRAMES_A_DAY, session_start
from panda_streams.identity import World

INDIA = timezone(timedelta(hours=5, minutes=30))

HOLIDAYS = {
    2021: "01-26 03-11 03-29 04-02 04-14 04-21 05-13 07-21 08-19 09-10 10-15 11-04 11-05 11-19",
    2022: "01-26 03-01 03-18 04-14 04-15 05-03 08-09 08-15 08-31 10-05 10-24 10-26 11-08",
    2023: "01-26 03-07 03-30 04-04 04-07 04-14 05-01 06-29 08-15 09-19 10-02 10-24 11-14 11-27 12-25",
    2024: "01-22 01-26 03-08 03-25 03-29 04-11 04-17 05-01 05-20 06-17 07-17 08-15 10-02 11-01 11-15 11-20 12-25",
    2025: "02-26 03-14 03-31 04-10 04-14 04-18 05-01 08-15 08-27 10-02 10-21 10-22 11-05 12-25",
    2026: "01-15 01-26 03-03 03-26 03-31 04-03 04-14 05-01 05-28 06-26 09-14 10-02 10-20 11-10 11-24 12-25",
}
"""Weekdays without ordinary trading, as the exchanges published and amended them."""


def _days(year: int) -> list[date]:
    return [
        date(year, 1, 1) + timedelta(days=number) for number in range((date(year + 1, 1, 1) - date(year, 1, 1)).days)
    ]


def _clock(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, INDIA):%H:%M}"


@pytest.mark.parametrize("year", HOLIDAYS)
def test_the_holidays_are_those_of_the_exchange(year):
    calendar = load_calendar()

    assert [f"{on:%m-%d}" for on in _days(year) if calendar.holiday(on)] == HOLIDAYS[year].split()
    assert calendar.covers(date(year, 6, 1))


@pytest.mark.parametrize("year", HOLIDAYS)
def test_bse_has_the_holidays_of_nse(year):
    nse, bse = (set(financial_holidays(market, years=year)) for market in ("XNSE", "XBOM"))

    assert nse == bse


def test_a_year_whose_holidays_are_not_published_is_not_covered():
    calendar = load_calendar()

    assert not calendar.covers(date(2027, 1, 26))
    assert calendar.holiday(date(2027, 1, 26)) is None


def test_the_recorded_sessions_are_the_trading_days(shared_data):
    path = shared_data / "nse_minute_2021" / "nse_nifty50_1min_2021-03-26_2021-06-11.csv.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    with gzip.open(path, "rt") as file:
        assert next(file).startswith("symbol,minute,")
        days = {line.split(",", 2)[1][:10] for line in file}
    recorded = set(map(date.fromisoformat, days))

    calendar = load_calendar()

    assert len(recorded) == 51
    assert recorded == {on for on in _days(2021) if min(recorded) <= on <= max(recorded) and calendar.trading_day(on)}


def test_the_closing_auction_begins_on_3_august_2026():
    calendar = load_calendar()

    before = [calendar.session(market, date(2026, 7, 31)) for market in Market]
    after = [calendar.session(market, date(2026, 8, 3)) for market in Market]

    assert [(_clock(one.closes), _clock(one.square_off)) for one in before] == [
        ("15:30", "15:20"),
        ("15:30", "15:20"),
        ("15:30", "15:25"),
    ]
    assert [(_clock(one.closes), _clock(one.square_off)) for one in after] == [
        ("15:30", "15:20"),
        ("15:15", "15:10"),
        ("15:40", "15:25"),
    ]
    assert [one.auction is not None for one in (*before, *after)] == [False, False, False, False, True, False]


@pytest.mark.parametrize(
    ("on", "name", "opens", "closes"),
    [
        (date(2025, 2, 1), "Union Budget", "09:15", "15:30"),
        (date(2025, 10, 21), "Muhurat trading", "13:45", "14:45"),
        (date(2026, 2, 1), "Union Budget", "09:15", "15:30"),
        (date(2026, 11, 8), "Muhurat trading", "18:00", "19:00"),
    ],
)
def test_special_sessions_are_held_on_weekends_and_holidays(on, name, opens, closes):
    calendar = load_calendar()

    for market in Market:
        session = calendar.session(market, on)
        assert (session.name, _clock(session.opens), _clock(session.closes)) == (name, opens, closes)
        assert session.square_off < session.closes


def test_the_users_file_adds_replaces_and_removes_entries(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("""
years: [2027]
holidays:
  2027-01-26: Republic Day
  2026-12-25:
sessions:
  2026-11-08: {name: Muhurat, hours: {opens: 18:15, closes: 19:15}}
  2026-02-01: null
hours:
  shares_fno:
    2027-01-04: {opens: 09:15, closes: 15:10, square_off: 15:00}
""")

    calendar = load_calendar(path)

    assert (calendar.holiday(date(2027, 1, 26)), calendar.holiday(date(2026, 12, 25))) == ("Republic Day", None)
    assert calendar.covers(date(2027, 1, 1))
    assert calendar.covers(date(2026, 1, 1))
    muhurat = calendar.session(Market.SHARES, date(2026, 11, 8))
    assert (_clock(muhurat.opens), muhurat.square_off) == ("18:15", None)
    assert not calendar.trading_day(date(2026, 2, 1))
    assert _clock(calendar.session(Market.SHARES_FNO, date(2027, 1, 1)).closes) == "15:15"
    assert _clock(calendar.session(Market.SHARES_FNO, date(2027, 1, 4)).closes) == "15:10"
    assert calendar.holiday(date(2026, 11, 10)) == "Diwali Balipratipada"


def test_the_example_of_the_docs_is_a_calendar_file(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "running.md").read_text()
    [example] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "example.yaml"
    path.write_text(example)

    calendar = load_calendar(path)

    assert calendar.holiday(date(2026, 12, 25)) is None
    assert _clock(calendar.session(Market.SHARES_FNO, date(2026, 8, 3)).square_off) == "15:00"


@pytest.mark.parametrize("text", ["", "# nothing yet", "holidays:\nyears:\n"])
def test_a_file_without_entries_changes_nothing(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)

    mine, ours = load_calendar(path), load_calendar()

    assert [mine.session(Market.SHARES, on) for on in _days(2026)] == [
        ours.session(Market.SHARES, on) for on in _days(2026)
    ]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("holidays: {2027-13-01: Nope}", "holidays.2027-13-01"),
        ("holidays: [2027-01-26]", "holidays"),
        ("holiday: {}", "holiday"),
        ("years: [next]", "years.0"),
        ("sessions: {2027-02-01: {hours: {opens: 9:15, closes: 15:30}}}", "sessions.2027-02-01.name"),
        ("hours: {bonds: {}}", "hours.bonds"),
        ("hours: {shares: {2027-01-01: {opens: 915, closes: 15:30}}}", "hours.shares.2027-01-01.opens"),
        ("hours: {shares: {2027-01-01: {opens: 15:30, closes: 09:15}}}", "opens before closes"),
        ("hours: {shares: {2010-10-18: }}", "market shares"),
        ("holidays: {2027-01-26: a}\nholidays: {2027-03-26: b}", "holidays is there twice"),
        ("- 2027-01-26", "whole file"),
        ("[1]: 2", "YAML"),
        ("holidays: {", "YAML"),
        ("\0", "YAML"),
    ],
)
def test_a_wrong_file_is_named_with_its_entry(tmp_path, text, place):
    path = tmp_path / "mine.yaml"
    path.write_text(text)

    with pytest.raises(BadInput) as caught:
        load_calendar(path)

    assert str(path) in str(caught.value)
    assert place in str(caught.value)
    assert caught.value.fix


def test_a_missing_file_is_named_with_its_setting(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere\.yaml: No such file") as caught:
        load_calendar(tmp_path / "nowhere.yaml")

    assert "PANDA_CALENDAR" in caught.value.fix


@pytest.mark.parametrize("day", [0, 4, 5, 15, 400])
def test_the_simulator_trades_within_the_sessions_of_its_world(day):
    calendar, opens = calendar_of(World("sim"), None), session_start(day)

    sessions = [calendar.session_at(market, opens) for market in Market]

    assert {(one.opens, one.closes) for one in sessions} == {(opens, opens + FRAMES_A_DAY * 1000)}
    assert calendar.next_session(Market.SHARES, sessions[0].date).opens == session_start(day + 1)


@pytest.mark.parametrize("world", ["live", "replay:june"])
def test_every_other_world_keeps_the_exchanges_hours(world):
    assert calendar_of(World(world), None).holiday(date(2026, 1, 26)) == "Republic Day"
