"""History of Kite: candles in files, fetched piece by piece within the limits of its API, and gone on with later.

A file is gzipped CSV. Its first line, after `# `, is a JSON object that says what it holds and where that is from; the
second names the columns. Times are those at which candles begin, with their offset from UTC; prices are as Kite
writes them.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from panda_streams.errors import BadInput
from panda_streams.kite_api import Candle, KiteApi

__all__ = ["COLUMNS", "Fetched", "Interval", "Request", "fetch", "pieces", "read_head"]

COLUMNS = "timestamp,open,high,low,close,volume,oi"
_FORMAT = "panda-history"
_VERSION = 1
_INDIA = ZoneInfo("Asia/Kolkata")


class Interval(StrEnum):
    """Length of a candle, in Kite's words."""

    MINUTE = "minute"
    MINUTES_3 = "3minute"
    MINUTES_5 = "5minute"
    MINUTES_10 = "10minute"
    MINUTES_15 = "15minute"
    MINUTES_30 = "30minute"
    HOUR = "60minute"
    DAY = "day"

    @property
    def days(self) -> int:
        """Days that one request may ask for; the API says so when one asks for more (November 2026)."""
        return _DAYS[self]


_DAYS = {
    Interval.MINUTE: 60,
    Interval.MINUTES_3: 100,
    Interval.MINUTES_5: 100,
    Interval.MINUTES_10: 100,
    Interval.MINUTES_15: 200,
    Interval.MINUTES_30: 200,
    Interval.HOUR: 400,
    Interval.DAY: 2000,
}


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted of one instrument: both days are included."""

    instrument: str
    token: int
    interval: Interval
    begins: date
    ends: date

    @property
    def name(self) -> str:
        """Name of its file, without the ending."""
        instrument = self.instrument.replace(":", "_").replace(" ", "_").replace("/", "_")
        return f"{instrument}_{self.interval.value}_{self.begins}_{self.ends}"


@dataclass(frozen=True, slots=True)
class Fetched:
    """What has become of a request."""

    path: Path
    candles: int
    requests: int
    """Pieces that Kite was asked for; the others were there already."""
    complete: bool
    """False if its last day had not ended."""


def pieces(begins: date, ends: date, interval: Interval) -> Iterator[tuple[date, date]]:
    """Share a time out to requests, as few as the API takes; both days of each are included."""
    while begins <= ends:
        last = min(ends, begins + timedelta(days=interval.days - 1))
        yield begins, last
        begins = last + timedelta(days=1)


async def fetch(
    api: KiteApi,
    request: Request,
    source: str,
    directory: Path,
    progress: Callable[[float], None] = lambda share: None,
    now: Callable[[], datetime] = lambda: datetime.now(_INDIA),
) -> Fetched:
    """Fetch what is wanted into a file of `directory`, unless it is there.

    Each piece is kept as it comes, so that a later call with the same request goes on where this one is broken off.
    What is of a day that has not ended is fetched again. Raises what KiteApi raises; BadInput for a file of that name
    that is something else.
    """
    path = directory / f"{request.name}.csv.gz"
    if path.exists() and (head := read_head(path))["complete"]:
        return Fetched(path, head["candles"], 0, complete=True)
    kept = directory / f"{request.name}.parts"
    kept.mkdir(parents=True, exist_ok=True)
    shares = list(pieces(request.begins, request.ends, request.interval))
    lines: dict[str, str] = {}
    asked = 0
    for number, (begins, ends) in enumerate(shares):
        part = kept / f"{begins}_{ends}.csv"
        if part.exists():
            text = part.read_text()
        else:
            asked += 1
            ended = ends < now().date()
            found = await api.candles(request.token, *_whole_days(begins, ends), request.interval.value)
            text = "".join(f"{_line(candle)}\n" for candle in found)
            if ended:
                _write(part, text.encode())
        lines |= {line.partition(",")[0]: line for line in text.splitlines()}
        progress((number + 1) / len(shares))
    complete = request.ends < now().date()
    head = {
        "format": _FORMAT,
        "version": _VERSION,
        "source": source,
        "instrument": request.instrument,
        "token": request.token,
        "interval": request.interval.value,
        "from": request.begins.isoformat(),
        "to": request.ends.isoformat(),
        "candles": len(lines),
        "complete": complete,
        "fetched": now().isoformat(timespec="seconds"),
    }
    body = "\n".join([f"# {json.dumps(head)}", COLUMNS, *(lines[begins] for begins in sorted(lines)), ""])
    _write(path, gzip.compress(body.encode(), mtime=0))
    _remove(kept)
    return Fetched(path, len(lines), asked, complete)


def read_head(path: Path) -> dict[str, Any]:
    """What a file says of itself; raises BadInput if it is no history."""
    head: Any = None
    with suppress(OSError, EOFError, ValueError), gzip.open(path, "rt") as text:
        head = json.loads(text.readline(10_000).removeprefix("# "))
    if isinstance(head, dict) and (head.get("format"), head.get("version")) == (_FORMAT, _VERSION):
        return head
    raise BadInput(f"{path} is no history of version {_VERSION}", fix="remove it, or choose another --out")


def _whole_days(begins: date, ends: date) -> tuple[datetime, datetime]:
    return datetime.combine(begins, time.min, _INDIA), datetime.combine(ends, time(23, 59, 59), _INDIA)


def _line(candle: Candle) -> str:
    begins, *prices, volume, interest = candle
    return ",".join([begins.isoformat(), *map(str, prices), str(volume), "" if interest is None else str(interest)])


def _write(path: Path, content: bytes) -> None:
    """Write a file, wholly or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)


def _remove(directory: Path) -> None:
    for one in directory.iterdir():
        one.unlink()
    directory.rmdir()
