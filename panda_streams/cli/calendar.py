"""`panda calendar`: when each market trades on the days to come."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from panda_streams.calendar_files import load_calendar
from panda_streams.domain.calendar import Calendar, Market, Session, trading_date
from panda_streams.settings import load_settings

__all__ = ["calendar"]

_INDIA = timezone(timedelta(hours=5, minutes=30))


@click.command()
@click.option(
    "--date", "first", type=click.DateTime(["%Y-%m-%d"]), help="First day, as 2026-08-03. Default: today in India."
)
@click.option("--days", type=click.IntRange(1, 366), default=7, show_default=True, help="How many days.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def calendar(first: datetime | None, days: int, as_json: bool) -> None:
    """Show the sessions of NSE and BSE, when MIS positions are squared off, closing auctions and holidays.

    Times are India's. This is the calendar of live and replay worlds, with the entries of PANDA_CALENDAR; the
    simulator's market trades from 09:15 to 15:30 on every weekday, holidays or not.
    """
    known = load_calendar(load_settings().calendar)
    start = first.date() if first else trading_date(time.time_ns() // 1_000_000)
    dates = [start + timedelta(days=number) for number in range(days)]
    if as_json:
        click.echo(json.dumps({"days": [_record(known, on) for on in dates]}))
        return
    table = Table(box=SIMPLE_HEAD)
    for name in ("date", "markets", "trading", "MIS ends", "closing auction"):
        table.add_column(name, no_wrap=name != "markets")
    for on in dates:
        for row in _rows(known, on):
            table.add_row(*row)
    Console().print(table)
    for year in sorted({on.year for on in dates if not known.covers(on)}):
        click.echo(f"note: the holidays of {year} are not known: every weekday is shown as a trading day")
        click.echo("  fix: add them, and the year, to the file of PANDA_CALENDAR")


def _rows(known: Calendar, on: date) -> Iterator[tuple[str, ...]]:
    """One row for all markets that keep the same hours; one for a day on which all are closed."""
    day, holiday = f"{on:%a} {on}", known.holiday(on)
    sessions = _sessions(known, on)
    if not sessions:
        yield day, escape(f"closed: {holiday or 'weekend'}"), "", "", ""
        return
    alike: dict[tuple[str, ...], list[str]] = {}
    for market, session in sessions.items():
        alike.setdefault(_cells(session), []).append(market.value)
    about = ", ".join(filter(None, (sessions[Market.SHARES].name, holiday)))
    for cells, markets in alike.items():
        names = "all" if len(markets) == len(Market) else ", ".join(markets)
        yield day, escape(f"{names}: {about}" if about else names), *cells
        day = ""


def _sessions(known: Calendar, on: date) -> dict[Market, Session]:
    return {market: session for market in Market if (session := known.session(market, on)) is not None}


def _cells(session: Session) -> tuple[str, ...]:
    auction = session.auction
    return (
        f"{_clock(session.opens)}-{_clock(session.closes)}",
        "never" if session.square_off is None else _clock(session.square_off),
        "" if auction is None else f"{_clock(auction.opens)}-{_clock(auction.ends)}",
    )


def _record(known: Calendar, on: date) -> dict[str, Any]:
    return {
        "date": on.isoformat(),
        "trading_day": known.trading_day(on),
        "holiday": known.holiday(on),
        "holidays_known": known.covers(on),
        "sessions": [
            {
                "market": market.value,
                "name": session.name,
                "pre_open": _iso(session.pre_open),
                "opens": _iso(session.opens),
                "closes": _iso(session.closes),
                "square_off": _iso(session.square_off),
                "auction": session.auction
                and {name: _iso(moment) for name, moment in dataclasses.asdict(session.auction).items()},
            }
            for market, session in _sessions(known, on).items()
        ],
    }


def _india(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, _INDIA)


def _clock(time_ms: int) -> str:
    return f"{_india(time_ms):%H:%M}"


def _iso(time_ms: int | None) -> str | None:
    return None if time_ms is None else _india(time_ms).isoformat()
