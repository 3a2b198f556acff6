"""The websocket's binary ticks: an instrument's state as a packet in three modes; kite_frames.py has the layout."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

from panda_streams.domain.instruments import Instrument
from panda_streams.domain.ticks import Depth, DepthLevel
from panda_streams.kite_frames import Full, IndexFull, IndexQuote, LastPrice, Mode, Quote, pack, price_divisor
from panda_streams.kitesim.market import InstrumentState

__all__ = ["HEARTBEAT", "packet"]

HEARTBEAT = b"\x00"
"""What is sent when there is nothing to say: clients ignore frames this short."""

_LEVEL = Struct(">2I2H")
_LEVELS = 5
_EMPTY = b"\x00" * _LEVEL.size
_MOST = 2**31 - 1
"""Kite documents 32 bits with a sign."""


def packet(mode: Mode, token: int, instrument: Instrument, state: InstrumentState, depth: Depth) -> bytes:
    """An instrument's state as a packet: 8 bytes, 44 or 184; of an index 8, 28 or 32.

    `depth` is sent in the mode full alone; levels beyond five are left out.
    """
    scale, unit = price_divisor(token), 10**instrument.decimals

    def price(units: int) -> int:
        return _fit(units * scale // unit)

    last, seconds = price(state.price), state.time // 1000
    if mode is Mode.LTP:
        return pack(LastPrice(token, last))
    if not instrument.tradable:
        change = price(abs(state.price - state.close)) if state.close else 0
        day = (price(state.high), price(state.low), price(state.open), price(state.close), change)
        return pack(IndexQuote(token, last, *day) if mode is Mode.QUOTE else IndexFull(token, last, *day, seconds))
    figures = (
        _fit(state.quantity),
        price(state.average),
        _fit(state.volume or 0),
        _fit(sum(level.quantity for level in depth.bids)),
        _fit(sum(level.quantity for level in depth.asks)),
        price(state.open),
        price(state.high),
        price(state.low),
        price(state.close),
    )
    if mode is Mode.QUOTE:
        return pack(Quote(token, last, *figures))

    def side(levels: Iterable[DepthLevel]) -> bytes:
        shown = [_LEVEL.pack(_fit(one.quantity), price(one.price), 1, 0) for one in levels][:_LEVELS]
        return b"".join(shown) + _EMPTY * (_LEVELS - len(shown))

    return pack(Full(token, last, *figures, seconds, 0, 0, 0, seconds, side(depth.bids) + side(depth.asks)))


def _fit(number: int) -> int:
    return min(max(number, 0), _MOST)
