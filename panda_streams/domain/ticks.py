"""Ticks: one observed state of one instrument, and the reference that names it for ever."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from msgspec import Meta, Struct

from panda_streams.domain.values import Value

__all__ = ["Depth", "DepthLevel", "Int64", "Place", "Tick", "TickRef", "price_of", "traded_since"]

Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""An integer that every reader of JSON can hold; one of a thousand digits would overflow a strategy's floats."""


class Tick(Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """One observed state of an instrument.

    Prices are integers in the instrument's smallest price unit (paise for NSE shares and indices); what the
    source did not record is None. `volume` is cumulative over the trading day and None or 0 for an index.
    `time` is event time in milliseconds since the epoch. `row` is the tick's number in its source: (source, run,
    row) identifies it whatever the speed or the batching of a replay.
    """

    instrument: str
    price: Int64
    quantity: Int64 | None
    volume: Int64 | None
    bid: Int64 | None
    ask: Int64 | None
    time: Int64
    row: Int64


class DepthLevel(Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """One level of an order book: price in smallest units, quantity in shares."""

    price: Int64
    quantity: Int64


class Depth(Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """Up to five levels on each side, best first."""

    bids: tuple[DepthLevel, ...]
    asks: tuple[DepthLevel, ...]


class TickRef(Value):
    """Where a tick stands: in its source (source, run, row) and in the tick log (shard, offset)."""

    source: str
    """What published the tick: a recording, the simulator or a broker."""
    run: str
    """One run of that source; the same recording has the same run."""
    row: int
    """The tick's number in the run."""
    shard: int
    """Partition of market.ticks."""
    offset: int
    """Offset of its batch in that partition."""
    time: int
    """Event time of the tick, milliseconds since the epoch."""

    @property
    def key(self) -> str:
        """The identity of the tick, free of Kafka positions."""
        return f"{self.source}/{self.run}/{self.row}"


class Place(Struct, frozen=True, gc=False):
    """Where a record of the tick log stands."""

    source: str
    run: str
    shard: int
    offset: int

    def ref(self, row: int, time: int) -> TickRef:
        return TickRef(source=self.source, run=self.run, row=row, shard=self.shard, offset=self.offset, time=time)


def price_of(units: int, decimals: int) -> Decimal:
    """Turn smallest price units into a price: `price_of(157370, 2)` is 1573.70."""
    return Decimal(units).scaleb(-decimals)


def traded_since(before: int | None, now: int | None) -> int | None:
    """Shares that changed hands between two ticks of an instrument, by the volume of the day that each shows.

    None if the later one does not show it. If the earlier one does not, or shows more, none are counted: how many of
    them were traded before it is not known, on another day or since a tick that was overtaken by a later one.
    """
    if now is None:
        return None
    if before is None:
        return 0
    return max(now - before, 0)
