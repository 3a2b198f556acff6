"""The order books of a batch of ticks, decoded once somebody asks."""

from __future__ import annotations

from panda_streams.codec import decode_depth
from panda_streams.domain.ticks import Depth
from panda_streams.errors import BadEvent
from panda_streams.events import TickBatch

__all__ = ["Books"]


class Books:
    """Depth is many times as dear to decode as ticks, and most batches meet no order."""

    def __init__(self, batch: TickBatch) -> None:
        self._batch = batch
        self._books: dict[int, Depth] | None = None

    def get(self, row: int) -> Depth | None:
        """The order book of a tick, by its row; None if its source recorded none."""
        if self._books is None:
            try:
                self._books = decode_depth(self._batch)
            except BadEvent:
                # Unusable order books: the batch is matched by its ticks alone, whenever an order meets it.
                self._books = {}
        return self._books.get(row)
