"""Ticks: one observed state of one instrument, and the reference that names it for ever."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from panda_streams.domain.values import Value

__all__ = ["Depth", "DepthLevel", "Tick", "TickRef", "price_of"]


class Tick(NamedTuple):
    """One observed state of an instrument.

    Prices are integers in the instrument's smallest price unit (paise for NSE shares and indices); what the
    source did not record is None. `volume` is cumulative over the trading day and None or 0 for an index.
    `time` is event time in milliseconds since the epoch. `row` is the tick's number in its source: (source, run,
    row) identifies it whatever the speed or the batching of a replay.
    """

    instrument: str
    price: int
    quantity: int | None
    volume: int | None
    bid: int | None
    ask: int | None
    time: int
    row: int


class DepthLevel(NamedTuple):
    """One level of an order book: price in smallest units, quantity in shares."""

    price: int
    quantity: int


class Depth(NamedTuple):
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


def price_of(units: int, decimals: int) -> Decimal:
    """Turn smallest price units into a price: `price_of(157370, 2)` is 1573.70."""
    return Decimal(units).scaleb(-decimals)
