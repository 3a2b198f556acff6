"""The trading calendar: when each Indian market trades, its holidays and special sessions, when MIS is squared off.

All times are event times in milliseconds since the epoch. India is at UTC+5:30 all year, so a date's midnight is
arithmetic. One calendar serves NSE and BSE: their holidays and hours are the same in these markets.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from panda_streams.domain.instruments import Instrument, InstrumentKind
from panda_streams.domain.values import Value

__all__ = [
    "Auction",
    "AuctionHours",
    "Calendar",
    "Hours",
    "Market",
    "Session",
    "SpecialSession",
    "TimeOfDay",
    "market_of",
    "trading_date",
]

_DAY_MS = 86_400_000
_INDIA_MS = 19_800_000
_EPOCH = date(1970, 1, 1).toordinal()
_LAST = date.max.toordinal()
_WEEKEND = frozenset({5, 6})
_CLOCK = re.compile(r"(\d{1,2}):([0-5]\d)(?::([0-5]\d))?")


def trading_date(time_ms: int) -> date:
    """The Indian date of a moment. Raises ValueError or OverflowError outside of the years 1 to 9999."""
    return date.fromordinal(_ordinal(time_ms))


def _ordinal(time_ms: int) -> int:
    return (time_ms + _INDIA_MS) // _DAY_MS + _EPOCH


class Market(StrEnum):
    """Instruments that trade at the same hours."""

    SHARES = "shares"
    """Shares without derivatives."""
    SHARES_FNO = "shares_fno"
    """Shares with derivatives: since 3 August 2026 their day ends in a closing auction."""
    DERIVATIVES = "derivatives"
    """Futures and options."""


def market_of(instrument: Instrument) -> Market:
    """The market whose hours an instrument keeps; a share with derivatives at either exchange has them at both.

    An index keeps those of its members, which have derivatives: it stands still in their auction.
    """
    if instrument.derivative:
        return Market.DERIVATIVES
    if instrument.has_derivatives or instrument.kind is InstrumentKind.INDEX:
        return Market.SHARES_FNO
    return Market.SHARES


def _since_midnight(value: object) -> object:
    if not isinstance(value, str):
        return value
    clock = _CLOCK.fullmatch(value)
    if clock is None or int(clock[1]) > 24:
        raise ValueError(f"expected a time of day from 00:00 to 24:00, as 15:30, found {value!r}")
    hours, minutes, seconds = (int(part or 0) for part in clock.groups())
    return ((hours * 60 + minutes) * 60 + seconds) * 1000


TimeOfDay = Annotated[int, BeforeValidator(_since_midnight), Field(ge=0, le=_DAY_MS)]
"""Milliseconds since midnight in India, or a text as `15:30` or `15:30:00`; `24:00` is the end of the day."""


class AuctionHours(Value):
    """The hours of a closing auction, which gives a share its closing price after continuous trading."""

    opens: TimeOfDay
    """Its reference price is computed from then on."""
    orders_from: TimeOfDay
    """Orders are taken from then on."""
    orders_until: TimeOfDay
    """No order is taken from then on; the exchange may stop at random up to two minutes earlier."""
    ends: TimeOfDay
    """The orders have been matched by then."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if not self.opens <= self.orders_from < self.orders_until <= self.ends:
            raise ValueError("expected opens, orders_from, orders_until and ends in this order")
        return self


class Hours(Value):
    """The hours of one market on an ordinary day."""

    pre_open: TimeOfDay | None = None
    """Orders for the opening auction are taken from then on; None where there is none."""
    opens: TimeOfDay
    """Continuous trading begins."""
    closes: TimeOfDay
    """Continuous trading has ended."""
    square_off: TimeOfDay | None = None
    """The broker closes MIS positions and takes no new ones; None: it does not."""
    auction: AuctionHours | None = None

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if not self.opens < self.closes:
            raise ValueError("expected opens before closes")
        if self.pre_open is not None and self.pre_open > self.opens:
            raise ValueError("expected pre_open at opens or earlier")
        if self.square_off is not None and not self.opens < self.square_off <= self.closes:
            raise ValueError("expected square_off after opens, and at closes or earlier")
        if self.auction is not None and self.auction.opens < self.closes:
            raise ValueError("expected the auction at closes or later")
        return self


class SpecialSession(Value):
    """A session on a day that has no ordinary one, or at other hours than that day's."""

    name: str
    hours: Hours | None = None
    """Of every market. None: the ordinary hours."""


@dataclass(frozen=True, slots=True)
class Auction:
    """A closing auction of one date: the fields of AuctionHours as event times."""

    opens: int
    orders_from: int
    orders_until: int
    ends: int


@dataclass(frozen=True, slots=True)
class Session:
    """What one market trades on one date. Every end is exclusive: at `closes` nothing matches any more."""

    date: date
    opens: int
    closes: int
    """The end of continuous trading: orders stop matching, and DAY orders end."""
    square_off: int | None
    """When MIS positions are closed; None where they never are."""
    pre_open: int | None = None
    auction: Auction | None = None
    name: str | None = None
    """The name of a special session."""


def _auction(hours: AuctionHours, midnight: int) -> Auction:
    return Auction(
        opens=midnight + hours.opens,
        orders_from=midnight + hours.orders_from,
        orders_until=midnight + hours.orders_until,
        ends=midnight + hours.ends,
    )


class Calendar:
    """Sessions by market and date: a pure function of what it is built from, computed once for each date asked.

    `hours`: for each market its ordinary hours by the date from which they hold; the earliest hold before it too.
    `holidays`: names of days without an ordinary session. `sessions`: what is traded on a date whatever its weekday
    and holiday. `years`: those whose holidays are known, None for all. `weekend`: weekdays without trading, Monday
    is 0. Raises ValueError if a market has no hours or no weekday is left.
    """

    def __init__(
        self,
        hours: Mapping[Market, Mapping[date, Hours]],
        holidays: Mapping[date, str],
        sessions: Mapping[date, SpecialSession],
        years: Collection[int] | None,
        weekend: frozenset[int] = _WEEKEND,
    ) -> None:
        for market in Market:
            if not hours.get(market):
                raise ValueError(f"expected session hours of the market {market.value}, found none")
        if weekend >= set(range(7)):
            raise ValueError("expected at least one weekday with trading, found none")
        self._hours = {market: sorted(hours[market].items(), key=lambda dated: dated[0]) for market in Market}
        self._holidays = dict(holidays)
        self._special = dict(sessions)
        self._years = None if years is None else frozenset(years)
        self._weekend = weekend
        self._sessions: dict[tuple[Market, int], Session | None] = {}

    @classmethod
    def always_open(cls) -> Calendar:
        """A market that never closes: each Indian day is a session from 00:00 to 24:00; MIS is never squared off."""
        day = Hours(opens=0, closes=_DAY_MS)
        return cls({market: {date.min: day} for market in Market}, {}, {}, None, frozenset())

    @classmethod
    def simulated(cls) -> Calendar:
        """The market simulator's: 09:15 to 15:30 on every weekday, MIS squared off at 15:20; no holiday, no auction."""
        day = Hours(opens="09:15", closes="15:30", square_off="15:20")
        return cls({market: {date.min: day} for market in Market}, {}, {}, None)

    def session(self, market: Market, on: date) -> Session | None:
        """The session of a date; None if the market is closed all day."""
        return self._session(market, on.toordinal())

    def session_at(self, market: Market, time_ms: int) -> Session | None:
        """The session of a moment's date, whether it is before, in or after its hours; None outside of all dates."""
        return self._session(market, _ordinal(time_ms))

    def is_open(self, market: Market, time_ms: int) -> bool:
        """Whether continuous trading goes on: from `opens` on, and no longer at `closes`."""
        session = self._session(market, _ordinal(time_ms))
        return session is not None and session.opens <= time_ms < session.closes

    def next_session(self, market: Market, after: date) -> Session:
        """The first session of a later date."""
        session = self.session(market, self.next_trading_day(after))
        assert session is not None, "every market has hours on a trading day"
        return session

    def trading_day(self, on: date) -> bool:
        """Whether there is a session on a date, be it a special one on a holiday."""
        return on in self._special or (on.weekday() not in self._weekend and on not in self._holidays)

    def next_trading_day(self, on: date) -> date:
        """The first trading day after a date."""
        day = on + timedelta(days=1)
        while not self.trading_day(day):
            day += timedelta(days=1)
        return day

    def previous_trading_day(self, on: date) -> date:
        """The last trading day before a date."""
        day = on - timedelta(days=1)
        while not self.trading_day(day):
            day -= timedelta(days=1)
        return day

    def open_since(self, time_ms: int) -> int | None:
        """When the first market that trades continuously at a moment has opened; None if none does."""
        sessions = (self.session_at(market, time_ms) for market in Market)
        opens = [s.opens for s in sessions if s is not None and s.opens <= time_ms < s.closes]
        return min(opens, default=None)

    def last_close(self, on: date) -> int | None:
        """Event time at which the last market of a date closes; None if none opens."""
        closes = [session.closes for market in Market if (session := self.session(market, on)) is not None]
        return max(closes, default=None)

    def holiday(self, on: date) -> str | None:
        """The name of the holiday on a date, for people; a special session may be held on it all the same."""
        return self._holidays.get(on)

    def covers(self, on: date) -> bool:
        """Whether the holidays of a date's year are known; if not, that its weekdays are trading days is a guess."""
        return self._years is None or on.year in self._years

    def _session(self, market: Market, ordinal: int) -> Session | None:
        try:
            return self._sessions[market, ordinal]
        except KeyError:
            if not 1 <= ordinal <= _LAST:
                return None
            session = self._sessions[market, ordinal] = self._make_session(market, ordinal)
            return session

    def _make_session(self, market: Market, ordinal: int) -> Session | None:
        on = date.fromordinal(ordinal)
        if not self.trading_day(on):
            return None
        special = self._special.get(on)
        hours = special.hours if special is not None and special.hours is not None else self._ordinary(market, on)
        midnight = (ordinal - _EPOCH) * _DAY_MS - _INDIA_MS
        return Session(
            date=on,
            opens=midnight + hours.opens,
            closes=midnight + hours.closes,
            square_off=None if hours.square_off is None else midnight + hours.square_off,
            pre_open=None if hours.pre_open is None else midnight + hours.pre_open,
            auction=None if hours.auction is None else _auction(hours.auction, midnight),
            name=None if special is None else special.name,
        )

    def _ordinary(self, market: Market, on: date) -> Hours:
        """The hours whose from-date is the last one that is not after `on`."""
        dated = self._hours[market]
        found = dated[0][1]
        for since, hours in dated:
            if since > on:
                break
            found = hours
        return found
