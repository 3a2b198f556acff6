"""Ticks that passed before an order arrived: a short window of them, and beyond it the log, a piece at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from panda_streams.codec import decode_market
from panda_streams.domain.fate import Change
from panda_streams.domain.orders import Order
from panda_streams.errors import BadEvent
from panda_streams.events import Beat, TickBatch
from panda_streams.streams.inputs import Received

__all__ = ["LookBack", "Meeting"]

_WINDOW = 512
"""Records that are kept: some two minutes of a shard."""
_PIECE = 2048
"""Records that are read from the log at once."""

Meeting = Callable[[int, TickBatch | Beat], list[Change]]
"""What the record at an offset gives an order."""


class _Passed(NamedTuple):
    offset: int
    market: TickBatch | Beat
    instruments: frozenset[str]


class LookBack:
    """What an order is given by records that were handled before it came; they are met once each, in their order."""

    def __init__(self) -> None:
        self._window: deque[_Passed] = deque(maxlen=_WINDOW)
        self._order_id = ""
        self._next = 0
        """Offset up to which the log has been met for that order."""
        self._changes: list[Change] = []

    def add(self, offset: int, market: TickBatch | Beat) -> None:
        """Remember a record that is being handled."""
        names = frozenset(tick.instrument for tick in market.ticks) if isinstance(market, TickBatch) else frozenset()
        self._window.append(_Passed(offset, market, names))

    def wants(self, order: Order, handled: int) -> tuple[int, int] | None:
        """The range of the log that must be met for `order` before `changes` can say its fate; `handled` is the
        offset before which all was handled."""
        if order.order_id != self._order_id:
            self._order_id, self._next, self._changes = order.order_id, order.cause.offset, []
        known_from = self._window[0].offset if self._window else handled
        if self._changes or self._next >= known_from:
            return None
        return self._next, min(self._next + _PIECE, known_from)

    def meet(self, records: Iterable[Received], end: int, meeting: Meeting) -> None:
        """Meet a piece of the log for the order that `wants` was asked for last."""
        self._next = end
        for record in records:
            try:
                market = decode_market(record.value)
            except BadEvent:
                continue  # dead-lettered when it came by
            if changes := meeting(record.offset, market):
                self._changes = changes
                return

    def changes(self, order: Order, meeting: Meeting) -> list[Change]:
        """What all that has passed gives `order`: from the log where it was met, else from the window."""
        if self._changes and self._order_id == order.order_id:
            return self._changes
        for passed in self._window:
            if passed.offset < order.cause.offset:
                continue
            concerned = isinstance(passed.market, Beat) or order.instrument in passed.instruments
            if concerned and (changes := meeting(passed.offset, passed.market)):
                return changes
        return []

    def last_price(self, instrument: str) -> int | None:
        """The last price in the window, in smallest units."""
        for passed in reversed(self._window):
            if instrument in passed.instruments and isinstance(passed.market, TickBatch):
                return [tick.price for tick in passed.market.ticks if tick.instrument == instrument][-1]
        return None
