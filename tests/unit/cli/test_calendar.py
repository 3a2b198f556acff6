"""`panda calendar`: what a person and a script read."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from panda_streams.cli import panda
from panda_streams.errors import BadInput


@pytest.fixture(autouse=True)
def _own_calendar(monkeypatch):
    monkeypatch.setenv("PANDA_CALENDAR", "")
    monkeypatch.setenv("COLUMNS", "120")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(panda, ["calendar", *arguments], catch_exceptions=False)


def test_markets_with_the_same_hours_share_a_line():
    lines = run("--date", "2025-10-20", "--days", "3").output.splitlines()

    assert [" ".join(line.split()) for line in lines[-5:-1]] == [
        "Mon 2025-10-20 shares, shares_fno 09:15-15:30 15:20",
        "derivatives 09:15-15:30 15:25",
        "Tue 2025-10-21 all: Muhurat trading, Diwali Laxmi Pujan 13:45-14:45 14:35",
        "Wed 2025-10-22 closed: Diwali Balipratipada",
    ]


def test_the_closing_auction_is_shown():
    assert "shares_fno 09:15-15:15 15:10 15:15-15:35" in " ".join(run("--date", "2026-08-03").output.split())


def test_a_guessed_year_is_said_to_be_one_with_its_fix():
    result = run("--date", "2026-12-30", "--days", "3")

    assert "the holidays of 2027 are not known" in result.output
    assert "PANDA_CALENDAR" in result.output
    assert "not known" not in run("--date", "2026-12-30", "--days", "2").output


def test_json_has_every_time_of_every_market():
    [sunday, monday] = json.loads(run("--date", "2026-08-02", "--days", "2", "--json").output)["days"]

    assert (sunday["trading_day"], sunday["holiday"], sunday["sessions"]) == (False, None, [])
    assert [one["market"] for one in monday["sessions"]] == ["shares", "shares_fno", "derivatives"]
    assert monday["sessions"][1] == {
        "market": "shares_fno",
        "name": None,
        "pre_open": "2026-08-03T09:00:00+05:30",
        "opens": "2026-08-03T09:15:00+05:30",
        "closes": "2026-08-03T15:15:00+05:30",
        "square_off": "2026-08-03T15:10:00+05:30",
        "auction": {
            "opens": "2026-08-03T15:15:00+05:30",
            "orders_from": "2026-08-03T15:20:00+05:30",
            "orders_until": "2026-08-03T15:30:00+05:30",
            "ends": "2026-08-03T15:35:00+05:30",
        },
    }


def test_without_a_date_it_begins_today():
    assert len(json.loads(run("--json").output)["days"]) == 7


def test_the_users_file_is_read(monkeypatch, tmp_path):
    path = tmp_path / "mine.yaml"
    special = "{name: Test, hours: {opens: 10:00, closes: 11:00}}"
    path.write_text(f"holidays:\n  2026-08-04: Extra [holiday]\nsessions:\n  2026-08-01: {special}")
    monkeypatch.setenv("PANDA_CALENDAR", str(path))

    text = " ".join(run("--date", "2026-08-01", "--days", "4").output.split())

    assert "Sat 2026-08-01 all: Test 10:00-11:00 never" in text
    assert "Tue 2026-08-04 closed: Extra [holiday]" in text


def test_an_unusable_file_is_an_error_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("PANDA_CALENDAR", str(tmp_path / "none.yaml"))

    with pytest.raises(BadInput, match=r"none\.yaml"):
        run()
