"""Ticks that passed before a verdict arrived: a short window of them, and beyond it the log, a piece at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from agents.desks.shard import Seen
from panda_streams.codec import decode_market
from panda_streams.domain.desk import Change
from panda_streams.domain.paper_desk import PaperDesk
from panda_streams.errors import BadEvent
from panda_streams.events import Beat, TickBatch
from panda_streams.streams.inputs import Received

__all__ = ["Late", "LookBack"]

_WINDOW = 512
"""Records that are kept: some two minutes of a shard."""
_PIECE = 2048
"""Records that are read from the log at once."""


@dataclass(slots=True)
class Late:
    """A verdict whose orders must meet records that were handled before it came."""

    signal_id: str
    instrument: str
    desk: PaperDesk
    next: int
    """Offset up to which the log has been met."""
    seen: Seen | None
    """The instrument at its last tick that was met, or in the signal's quote."""
    changes: list[Change] = field(default_factory=list)


class _Passed(NamedTuple):
    offset: int
    market: TickBatch | Beat
    instruments: frozenset[str]


class LookBack:
    """The records of a shard that were handled last."""

    def __init__(self) -> None:
        self._window: deque[_Passed] = deque(maxlen=_WINDOW)

    def add(self, offset: int, market: TickBatch | Beat) -> None:
        """Remember a record that is being handled."""
        names = frozenset(tick.instrument for tick in market.ticks) if isinstance(market, TickBatch) else frozenset()
        self._window.append(_Passed(offset, market, names))

    def wants(self, late: Late, handled: int) -> tuple[int, int] | None:
        """The range of the log that `late` must meet before `window` can go on; `handled` is the offset before which
        all was handled."""
        known_from = self._known_from(handled)
        if not late.desk.orders or late.next >= known_from:
            return None
        return late.next, min(late.next + _PIECE, known_from)

    def _known_from(self, handled: int) -> int:
        return self._window[0].offset if self._window else handled

    def window(self, late: Late) -> Iterator[tuple[int, TickBatch | Beat]]:
        """The records of the window that concern `late` and were not met yet."""
        for passed in self._window:
            if passed.offset >= late.next and (
                isinstance(passed.market, Beat) or late.instrument in passed.instruments
            ):
                yield passed.offset, passed.market

    def last_seen(self, late: Late, handled: int) -> Seen | None:
        """The last state of the instrument of `late`; `handled` as above."""
        for passed in reversed(self._window):
            if late.instrument in passed.instruments and isinstance(passed.market, TickBatch):
                tick = next(tick for tick in reversed(passed.market.ticks) if tick.instrument == late.instrument)
                return Seen(tick.price, tick.volume)
        if late.seen is None or late.next >= self._known_from(handled):
            return late.seen
        # Its orders ended before all that has passed was read: what has traded since is not known.
        return Seen(late.seen.price, None)


def decoded(records: Iterable[Received]) -> Iterator[tuple[int, TickBatch | Beat]]:
    """The records of a piece of the log; what is none was dead-lettered when it came by."""
    for record in records:
        try:
            yield record.offset, decode_market(record.value)
        except BadEvent:
            continue
