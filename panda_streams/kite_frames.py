"""Kite's binary ticker frames: packets of integers, read from the raw bytes and written again.

A frame is a count and as many packets, each after its length; all integers are big-endian. A packet's length alone
says what it is (https://kite.trade/docs/connect/v3/websocket/, section "Binary market data"). Prices stay the integers
of the wire: `price_divisor` says what they are divided by to be rupees. Times on the wire are seconds since the epoch,
UTC; here they are milliseconds, and None where the wire has 0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum
from struct import Struct as Layout
from typing import ClassVar, NamedTuple, TypeAlias

from msgspec import Struct
from msgspec.structs import astuple

from panda_streams.domain.ticks import Depth, DepthLevel

__all__ = [
    "Decoded",
    "Full",
    "IndexFull",
    "IndexQuote",
    "LastPrice",
    "Mode",
    "Packet",
    "Quote",
    "decode",
    "encode",
    "frame",
    "pack",
    "price_divisor",
]

_CURRENCIES = frozenset({3})
"""Segment of NSE currency derivatives, by the token's lowest byte."""
_FOUR_DECIMALS = frozenset({6, 12})
"""Segments of BSE currency derivatives and NSE commodities."""


def price_divisor(token: int) -> int:
    """What an instrument's prices on the wire are divided by: 10,000,000, 10,000, or 100 (paise) for most."""
    segment = token & 0xFF
    if segment in _CURRENCIES:
        return 10_000_000
    return 10_000 if segment in _FOUR_DECIMALS else 100


class Mode(StrEnum):
    """How much Kite tells of each instrument."""

    LTP = "ltp"
    QUOTE = "quote"
    FULL = "full"


class LastPrice(Struct, frozen=True, gc=False):
    """The last price alone: mode ltp, of any instrument."""

    token: int
    price: int

    quantity: ClassVar[None] = None
    volume: ClassVar[None] = None
    best: ClassVar[tuple[None, None]] = (None, None)
    time: ClassVar[None] = None
    depth: ClassVar[None] = None


class IndexQuote(Struct, frozen=True, gc=False):
    """An index in mode quote. On the wire its open follows its high and low."""

    token: int
    price: int
    high: int
    low: int
    open: int
    close: int
    """Of the day before."""
    change: int
    """From the close of the day before; may be negative."""

    quantity: ClassVar[None] = None
    volume: ClassVar[None] = None
    best: ClassVar[tuple[None, None]] = (None, None)
    time: ClassVar[None] = None
    depth: ClassVar[None] = None


class IndexFull(Struct, frozen=True, gc=False):
    """An index in mode full: a quote and the exchange's time."""

    token: int
    price: int
    high: int
    low: int
    open: int
    close: int
    change: int
    exchange_s: int
    """Seconds since the epoch."""

    quantity: ClassVar[None] = None
    volume: ClassVar[None] = None
    best: ClassVar[tuple[None, None]] = (None, None)
    depth: ClassVar[None] = None

    @property
    def time(self) -> int | None:
        """The exchange's time, milliseconds since the epoch."""
        return self.exchange_s * 1000 or None


class Quote(Struct, frozen=True, gc=False):
    """What can be traded in mode quote: the day's figures without times and order book."""

    token: int
    price: int
    quantity: int
    """Of the last trade."""
    average_price: int
    volume: int
    """Of the day."""
    buy_quantity: int
    sell_quantity: int
    open: int
    high: int
    low: int
    close: int
    """Of the day before."""

    best: ClassVar[tuple[None, None]] = (None, None)
    time: ClassVar[None] = None
    depth: ClassVar[None] = None


_LEVELS = Layout(">" + "II4x" * 10)
_ORDERS = Layout(">" + "8xH2x" * 10)
_BEST = Layout(">4xI56xI52x")


class Full(Struct, frozen=True, gc=False):
    """What can be traded in mode full. The order book stays bytes until it is asked for: it is most of the packet."""

    token: int
    price: int
    quantity: int
    """Of the last trade."""
    average_price: int
    volume: int
    """Of the day."""
    buy_quantity: int
    sell_quantity: int
    open: int
    high: int
    low: int
    close: int
    """Of the day before."""
    last_trade_s: int
    """Seconds since the epoch."""
    open_interest: int
    open_interest_high: int
    open_interest_low: int
    exchange_s: int
    """Seconds since the epoch."""
    book: bytes
    """Five levels bid, then five asked, best first: each a quantity, a price, a number of orders and two zero bytes."""

    @property
    def time(self) -> int | None:
        """The exchange's time, milliseconds since the epoch."""
        return self.exchange_s * 1000 or None

    @property
    def last_trade_time(self) -> int | None:
        """Time of the last trade, milliseconds since the epoch."""
        return self.last_trade_s * 1000 or None

    @property
    def best(self) -> tuple[int | None, int | None]:
        """Best bid and ask; None for a side on which nobody waits."""
        bid, ask = _BEST.unpack(self.book)
        return bid or None, ask or None

    @property
    def depth(self) -> Depth | None:
        """The levels on which somebody waits; None if there is none."""
        # Spelled out: it takes two thirds of the time of a map over slices, and every tick that is published pays it.
        q0, p0, q1, p1, q2, p2, q3, p3, q4, p4, r0, s0, r1, s1, r2, s2, r3, s3, r4, s4 = _LEVELS.unpack(self.book)
        level = DepthLevel
        bids = (level(p0, q0), level(p1, q1), level(p2, q2), level(p3, q3), level(p4, q4))
        asks = (level(s0, r0), level(s1, r1), level(s2, r2), level(s3, r3), level(s4, r4))
        if q0 and q1 and q2 and q3 and q4 and r0 and r1 and r2 and r3 and r4:
            return Depth(bids, asks)
        depth = Depth(*(tuple([one for one in side if one.quantity]) for side in (bids, asks)))
        return depth if depth.bids or depth.asks else None

    @property
    def orders(self) -> tuple[int, ...]:
        """Number of orders on each of the ten levels, bids first."""
        return _ORDERS.unpack(self.book)


Packet: TypeAlias = LastPrice | Quote | Full | IndexQuote | IndexFull

_LAYOUTS: dict[type[Packet], Layout] = {
    LastPrice: Layout(">2I"),
    IndexQuote: Layout(">6Ii"),
    IndexFull: Layout(">6IiI"),
    Quote: Layout(">11I"),
    Full: Layout(">16I120s"),
}
_READERS = {layout.size: (kind, layout.unpack_from) for kind, layout in _LAYOUTS.items()}
_NUMBER = Layout(">H")


class Decoded(NamedTuple):
    """What a frame holds. A heartbeat, a frame of a single byte, holds nothing."""

    packets: list[Packet]
    unknown: int
    """Packets of a length that no packet has."""
    missing: int
    """Packets that were announced and are not there, or not whole: the frame is cut off."""


def decode(data: bytes) -> Decoded:
    """Read a frame; what cannot be read is counted, and the rest of it is there all the same."""
    packets: list[Packet] = []
    size = len(data)
    if size < 2:
        return Decoded(packets, 0, 0)
    number, readers = _NUMBER.unpack_from, _READERS
    (count,) = number(data)
    at, unknown = 2, 0
    for place in range(count):
        if at + 2 > size:
            return Decoded(packets, unknown, count - place)
        (length,) = number(data, at)
        begin, at = at + 2, at + 2 + length
        if at > size:
            return Decoded(packets, unknown, count - place)
        reader = readers.get(length)
        if reader is None:
            unknown += 1
        else:
            kind, unpack = reader
            packets.append(kind(*unpack(data, begin)))
    return Decoded(packets, unknown, 0)


def pack(packet: Packet) -> bytes:
    """Write a packet."""
    return _LAYOUTS[type(packet)].pack(*astuple(packet))


def frame(parts: Collection[bytes]) -> bytes:
    """Join packets that were written into one message."""
    return _NUMBER.pack(len(parts)) + b"".join([_NUMBER.pack(len(part)) + part for part in parts])


def encode(packets: Iterable[Packet]) -> bytes:
    """Write packets as one message."""
    return frame([pack(packet) for packet in packets])
