"""The market of a torture: shares whose prices wander, as `seed` says, on some short trading days."""

from __future__ import annotations

import gzip
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

__all__ = ["SHARES", "Day", "trading_days", "write_calendar", "write_recording"]

INDIA = timezone(timedelta(hours=5, minutes=30))
SHARES = {
    "RELIANCE": 2200,
    "HDFCBANK": 1500,
    "INFY": 1400,
    "ICICIBANK": 640,
    "TCS": 3150,
    "SBIN": 430,
    "LT": 1530,
    "AXISBANK": 750,
    "TITAN": 1750,
    "MARUTI": 7100,
    "TATASTEEL": 1110,
    "SUNPHARMA": 670,
    "HCLTECH": 970,
    "CIPLA": 950,
    "WIPRO": 545,
    "ITC": 210,
    "BHARTIARTL": 540,
    "KOTAKBANK": 1790,
    "ASIANPAINT": 2950,
    "BAJFINANCE": 6000,
    "ULTRACEMCO": 6700,
    "NESTLEIND": 17700,
    "TECHM": 1050,
    "POWERGRID": 235,
}
"""Symbol to its first price, rupees."""
_SQUARED_OFF_S = 25
"""Before its close, a day squares intraday positions off."""
_AFTERWARDS_S = 10
"""So long after the close there still are ticks: event time goes on until all has come to rest."""
_STEP_BPS = 2.0


@dataclass(frozen=True, slots=True)
class Day:
    """One session, from its opening to its close."""

    opens: datetime
    seconds: int

    @property
    def closes(self) -> datetime:
        return self.opens + timedelta(seconds=self.seconds)


def trading_days(count: int, seconds: int) -> list[Day]:
    """So many sessions in June 2021 and after, on weekdays, each from 9:15 on."""
    on, days = date(2021, 6, 7), list[Day]()
    while len(days) < count:
        if on.weekday() < 5:
            days.append(Day(datetime(on.year, on.month, on.day, 9, 15, tzinfo=INDIA), seconds))
        on += timedelta(days=1)
    return days


def write_calendar(days: Sequence[Day], path: Path) -> Path:
    """The sessions as the calendar of their world."""
    lines = ["sessions:"]
    for day in days:
        square_off = day.closes - timedelta(seconds=_SQUARED_OFF_S)
        hours = f'opens: "{day.opens:%H:%M:%S}", square_off: "{square_off:%H:%M:%S}", closes: "{day.closes:%H:%M:%S}"'
        lines += [f"  {day.opens:%Y-%m-%d}:", "    name: A short session", f"    hours: {{{hours}}}"]
    path.write_text("\n".join([*lines, ""]))
    return path


def write_recording(days: Sequence[Day], seed: int, path: Path) -> Path:
    """A tick of each share in each second of each session."""
    rng = random.Random(seed)
    prices = {symbol: float(price) for symbol, price in SHARES.items()}
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write("timestamp,symbol,ltp,volume\n")
        for day in days:
            volumes = dict.fromkeys(SHARES, 0)
            for second in range(1, day.seconds + _AFTERWARDS_S):
                at = (day.opens + timedelta(seconds=second)).isoformat()
                for symbol, first in SHARES.items():
                    # It is drawn back to where it began: no price leaves the day's band.
                    drift = (first - prices[symbol]) / first * 0.02
                    prices[symbol] *= 1 + drift + rng.gauss(0, _STEP_BPS / 10_000)
                    volumes[symbol] += rng.randint(50, 400)
                    file.write(f"{at},{symbol},{round(prices[symbol] * 20) / 20:.2f},{volumes[symbol]}\n")
    return path
