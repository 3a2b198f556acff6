"""Mends of the core, each taken away alone: the simulation must find every one of them missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace

from agents import reading
from agents.desks.shard import DeskRow, Seen, Shard
from agents.paper_execution import PaperExecution
from agents.risk import RiskAgent
from panda_streams.domain.orders import Order
from panda_streams.domain.paper_desk import PaperDesk
from panda_streams.events import TickBatch
from panda_streams.streams.agent import Output
from panda_streams.streams.inputs import Inputs, Item, Received, Stream, StreamCursor
from panda_streams.streams.task import Task

__all__ = ["SABOTAGES"]


def _without_marks_at_the_door(self: Stream, record: Received, item: Item, arrival: int) -> None:
    """A repeat is looked for among what was handled, not among what is held."""
    self.seen = dict(self.applied)
    _enter(self, record, item, arrival)


def _with_the_watermark_read_ahead(self: Stream) -> StreamCursor:
    return StreamCursor(self.next, self.watermark, self.applied)


def _from_what_was_read(self: Stream) -> int:
    return self.log.next


def _without_waiting(self: Inputs) -> Any:
    """The smallest record that is here goes first, whoever could still bring an earlier one."""
    watermarks = {stream: stream.watermark for stream in self._streams}
    lagging = {stream: stream.lagging for stream in self._streams}
    for stream in self._streams:
        stream.watermark, stream.lagging = 2**62, False
    try:
        return _first_ordered(self)
    finally:
        for stream in self._streams:
            stream.watermark, stream.lagging = watermarks[stream], lagging[stream]


def _beats_ahead_of_what_is_held(self: Inputs) -> int | None:
    """A held record bounds nothing: the beat says what was read, not what was handled."""
    buffers = [(stream, stream.buffer) for stream in self._streams]
    for stream, buffer in buffers:
        stream.buffer = type(buffer)()
    try:
        return _reached(self)
    finally:
        for stream, buffer in buffers:
            stream.buffer = buffer


def _silent_at_the_start(self: Task, starts: Any) -> list[Output]:
    outbox = _restore(self, starts)
    self.said = self.inputs.reached()
    return outbox


def _without_the_outbox(self: Task, starts: Any) -> list[Output]:
    _restore(self, starts)
    return []


def _paused_as_a_partition(self: Inputs, topic: str) -> bool:
    """A partition with several writers is held back as soon as one of them has too much."""
    log = self.logs[topic]
    return any(len(stream.buffer) >= 2 for stream in log.streams.values())


def _never_read_again(self: Inputs, wanted: Any, records: Iterable[Received]) -> None:
    for stream in self.logs[wanted.topic].streams.values():
        stream.lagging = False


def _as_it_comes(self: RiskAgent, *arguments: Any) -> None:
    _make_risk(self, *arguments)
    self.ordered = False


def _timed_by_its_first_tick(value: bytes | None) -> Item:
    item = _market(value)
    return replace(item, time=item.event.ticks[0].time) if isinstance(item.event, TickBatch) else item


def _as_if_nothing_had_looked(self: PaperExecution, key: str, data: bytes) -> Shard | DeskRow:
    row = _load(self, key, data)
    if isinstance(row, DeskRow):
        orders = [order.model_copy(update={"looked": False}) for order in row.desk.orders.values()]
        row.desk = self._desk(key, orders, row.desk.positions)
    return row


def _without_positions(self: PaperExecution, key: str, data: bytes) -> Shard | DeskRow:
    row = _load(self, key, data)
    if isinstance(row, DeskRow):
        row.desk = self._desk(key, row.desk.orders.values())
    return row


def _without_volumes(self: PaperExecution, key: str, data: bytes) -> Shard | DeskRow:
    row = _load(self, key, data)
    if isinstance(row, Shard):
        row.seen = {name: Seen(seen.price, None) for name, seen in row.seen.items()}
    return row


def _all_of_it(self: PaperDesk, order: Order) -> int:
    return order.remaining


def _as_if_no_desk_had_met_them(self: PaperDesk) -> PaperDesk:
    return PaperDesk(self._namespace, self._instrument, self._exchange, (), self.positions, self._protections)


_load = PaperExecution.load
_market = reading._market
_enter, _restore = Stream.enter, Task.restore
_first_ordered, _reached, _make_risk = Inputs._first_ordered, Inputs.reached, RiskAgent.__init__

SABOTAGES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "marks are not checked when a record enters": lambda: patch.object(Stream, "enter", _without_marks_at_the_door),
    "the cursor holds the watermark read ahead": lambda: patch.object(Stream, "cursor", _with_the_watermark_read_ahead),
    "the cursor is behind the held records": lambda: patch.object(Stream, "next", property(_from_what_was_read)),
    "no one waits for an empty stream": lambda: patch.object(Inputs, "_first_ordered", _without_waiting),
    "a held record bounds no beat": lambda: patch.object(Inputs, "reached", _beats_ahead_of_what_is_held),
    "no beat at the start": lambda: patch.object(Task, "restore", _silent_at_the_start),
    "the outbox is not sent again": lambda: patch.object(Task, "restore", _without_the_outbox),
    "feedback acts at once": lambda: patch.object(reading, "FEEDBACK_MS", 0),
    "a partition of several writers is paused": lambda: patch.object(Inputs, "overfull", _paused_as_a_partition),
    "what did not fit is not read again": lambda: patch.object(Inputs, "refill", _never_read_again),
    "a batch has the time of its first tick": lambda: patch.object(reading, "_market", _timed_by_its_first_tick),
    "verdicts are said before they are durable": lambda: patch.object(RiskAgent, "outbox", False),
    "risk judges as records come": lambda: patch.object(RiskAgent, "__init__", _as_it_comes),
    "an order looks for the first time again": lambda: patch.object(PaperExecution, "load", _as_if_nothing_had_looked),
    "positions are not stored with orders": lambda: patch.object(PaperExecution, "load", _without_positions),
    "the last volumes are not stored": lambda: patch.object(PaperExecution, "load", _without_volumes),
    "what only reduces is not capped": lambda: patch.object(PaperDesk, "_closable", _all_of_it),
    "a late desk decides what was decided": lambda: patch.object(PaperDesk, "late", _as_if_no_desk_had_met_them),
}
"""What is taken away, and how."""
