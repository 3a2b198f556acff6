"""The websocket's binary ticks: packets of an instrument's state in three modes, and frames of packets.

All numbers are big-endian. A frame is a count of packets, and each packet with its length before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from struct import Struct

from panda_streams.domain.instruments import Instrument
from panda_streams.domain.ticks import Depth, DepthLevel
from panda_streams.kitesim.market import InstrumentState
from panda_streams.kitesim.tokens import SEGMENTS

__all__ = ["HEARTBEAT", "Mode", "frame", "packet"]

HEARTBEAT = b"\x00"
"""What is sent when there is nothing to say: clients ignore frames this short."""

_COUNT = Struct(">H")
_LTP = Struct(">2I")
_INDEX_QUOTE = Struct(">7I")
_INDEX_FULL = Struct(">8I")
_QUOTE = Struct(">11I")
_MORE = Struct(">5I")
_LEVEL = Struct(">2I2H")
_LEVELS = 5
_EMPTY = b"\x00" * _LEVEL.size
_MOST = 2**31 - 1
"""Kite documents 32 bits with a sign."""
_DIVISORS = {SEGMENTS["CDS"]: 10_000_000, SEGMENTS["BCD"]: 10_000, SEGMENTS["NCO"]: 10_000}
_DIVISOR = 100
"""Of every other segment: prices are sent as whole numbers of its parts."""


class Mode(StrEnum):
    """How much of an instrument is sent."""

    LTP = "ltp"
    QUOTE = "quote"
    FULL = "full"


def frame(packets: Sequence[bytes]) -> bytes:
    """Join packets into one message."""
    return _COUNT.pack(len(packets)) + b"".join(_COUNT.pack(len(one)) + one for one in packets)


def packet(mode: Mode, token: int, instrument: Instrument, state: InstrumentState, depth: Depth) -> bytes:
    """An instrument's state as a packet: 8 bytes, 44 or 184; of an index 8, 28 or 32.

    `depth` is sent in the mode full alone; levels beyond five are left out.
    """
    scale = _DIVISORS.get(token & 0xFF, _DIVISOR)
    unit = 10**instrument.decimals

    def price(units: int) -> int:
        return _fit(units * scale // unit)

    if mode is Mode.LTP:
        return _LTP.pack(token, price(state.price))
    seconds = state.time // 1000
    if not instrument.tradable:
        change = price(abs(state.price - state.close)) if state.close else 0
        ohlc = (price(state.high), price(state.low), price(state.open), price(state.close))
        if mode is Mode.QUOTE:
            return _INDEX_QUOTE.pack(token, price(state.price), *ohlc, change)
        return _INDEX_FULL.pack(token, price(state.price), *ohlc, change, seconds)
    quote = _QUOTE.pack(
        token,
        price(state.price),
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
        return quote

    def side(levels: Iterable[DepthLevel]) -> bytes:
        shown = [_LEVEL.pack(_fit(one.quantity), price(one.price), 1, 0) for one in levels][:_LEVELS]
        return b"".join(shown) + _EMPTY * (_LEVELS - len(shown))

    return quote + _MORE.pack(seconds, 0, 0, 0, seconds) + side(depth.bids) + side(depth.asks)


def _fit(number: int) -> int:
    return min(max(number, 0), _MOST)
