"""Historical candles: made of the minutes that kitesim has seen, and of a recording that it was given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from panda_streams.feeds.paced import Source
from panda_streams.kitesim.engine import Engine
from panda_streams.kitesim.market import MINUTE_MS, Candle, MarketView

__all__ = ["INTERVALS", "History", "Interval", "candles_of"]

_DAY_MS = 86_400_000
_OPENS_MS = 33_300_000 - 19_800_000
"""09:15 in India, from which the candles of a day are counted, after midnight UTC."""
_MIDNIGHT_MS = -19_800_000


class Interval(NamedTuple):
    """A candle's length, and the most days that one call may ask for."""

    milliseconds: int
    days: int


INTERVALS: Mapping[str, Interval] = {
    "minute": Interval(MINUTE_MS, 60),
    "3minute": Interval(3 * MINUTE_MS, 100),
    "5minute": Interval(5 * MINUTE_MS, 100),
    "10minute": Interval(10 * MINUTE_MS, 100),
    "15minute": Interval(15 * MINUTE_MS, 200),
    "30minute": Interval(30 * MINUTE_MS, 200),
    "60minute": Interval(60 * MINUTE_MS, 400),
    "day": Interval(_DAY_MS, 2000),
}


class History:
    """Candles by instrument. Of a minute that both know, what kitesim has seen itself counts."""

    def __init__(self, engine: Engine, given: Mapping[str, list[Candle]] | None = None) -> None:
        self._engine = engine
        self._given = given or {}

    def candles(self, instrument_id: str, interval: str, start: int, until: int) -> list[Candle]:
        """The candles that begin in [start, until], the first one first; the last one may still go on."""
        length = INTERVALS[interval].milliseconds
        # The first candle is whole only with the minutes before `start` that belong to it.
        first = _begin(start, length)
        if first < start:
            first += length
        minutes = {one.start: one for one in self._given.get(instrument_id, ()) if first <= one.start < until + length}
        for candle in self._engine.store.candles(instrument_id, first, until + length):
            minutes[candle.start] = candle
        state = self._engine.state(instrument_id)
        if state is not None:
            minutes[state.start] = state.candle
        grouped: dict[int, list[Candle]] = defaultdict(list)
        for at in sorted(minutes):
            if start <= (begin := _begin(at, length)) <= until:
                grouped[begin].append(minutes[at])
        return [_join(begin, group) for begin, group in grouped.items()]


def candles_of(source: Source) -> dict[str, list[Candle]]:
    """The minutes of a recording, by instrument."""
    view, found = MarketView(), defaultdict[str, list[Candle]](list)
    for frame in source.frames(None):
        for tick in frame.ticks:
            view.see(tick, frame.depth.get)
        for name, candle in view.candles:
            found[name].append(candle)
        view.candles = []
    for name, state in view.states.items():
        found[name].append(state.candle)
    return dict(found)


def _begin(time: int, length: int) -> int:
    """When the candle begins that a moment belongs to."""
    anchor = _MIDNIGHT_MS if length == _DAY_MS else _OPENS_MS
    day = (time - _MIDNIGHT_MS) // _DAY_MS * _DAY_MS
    return day + anchor + (time - day - anchor) // length * length


def _join(start: int, candles: Iterable[Candle]) -> Candle:
    first, *more = candles
    opened, high, low, close, volume = first.open, first.high, first.low, first.close, first.volume
    for one in more:
        high, low, close, volume = max(high, one.high), min(low, one.low), one.close, volume + one.volume
    return Candle(start, opened, high, low, close, volume)
