"""The shares of a recorded session, each with its ticks: a third of them as recorded, the others with made-up books."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from panda_streams.domain.instruments import Instrument, InstrumentKind
from panda_streams.domain.ticks import Depth, DepthLevel, Tick, traded_since

__all__ = ["Tape", "read_tapes"]

_SHARES = (40, 0, 25, 300, 7)
"""On the levels of a made-up book; of the second one there are none."""


@dataclass(slots=True)
class Tape:
    """One share: what its ticks show, and what traded before each of them."""

    number: int
    share: Instrument
    ticks: list[Tick] = field(default_factory=list)
    books: list[Depth | None] = field(default_factory=list)
    traded: list[int] = field(default_factory=list)

    def add(self, time: int, price: int, volume: int) -> None:
        """Add a tick; whether it has a best price and a book depends on the share, what they are on its row."""
        row, before = len(self.ticks), self.ticks[-1].volume if self.ticks else None
        bid = ask = book = None
        if self.number % 3:
            bid, ask = price - 5 * (row % 3), price + 5 * (1 + row % 2)
        if self.number % 3 == 2:
            bids = tuple(DepthLevel(bid - 5 * n, _SHARES[(row + n) % 5]) for n in range(5))
            asks = tuple(DepthLevel(ask + 5 * n, _SHARES[(row * 3 + n) % 5]) for n in range(5))
            if row % 17 == 0:
                bid, bids = None, ()
            if row % 19 == 0:
                ask, asks = None, ()
            book = Depth(bids, asks)
        self.ticks.append(Tick(self.share.id, price, None, volume, bid, ask, time, row))
        self.books.append(book)
        traded = traded_since(before, volume)
        assert traded is not None
        self.traded.append(traded)


def read_tapes(path: Path, most: int, since: str = "") -> list[Tape]:
    """The first `most` shares that the session's recording names, with their ticks from `since` on, as "13:00"."""
    tapes: dict[str, Tape] = {}
    for symbol, time, price, volume in _rows(path, since):
        tape = tapes.get(symbol)
        if tape is None:
            if len(tapes) == most:
                continue
            share = Instrument(exchange="NSE", symbol=symbol, kind=InstrumentKind.EQUITY)
            tape = tapes[symbol] = Tape(len(tapes), share)
        tape.add(time, price, volume)
    return list(tapes.values())


def _rows(path: Path, since: str) -> Iterator[tuple[str, int, int, int]]:
    times: dict[str, int] = {}
    with gzip.open(path, "rt") as lines:
        rows = csv.reader(lines)
        next(rows)
        for text, symbol, price, volume in rows:
            if symbol.startswith("NIFTY"):
                continue  # an index, which nobody trades
            if text[11:16] < since:
                continue
            time = times.get(text)
            if time is None:
                time = times[text] = round(datetime.fromisoformat(text).timestamp() * 1000)
            yield symbol, time, round(float(price) * 100), int(volume)
