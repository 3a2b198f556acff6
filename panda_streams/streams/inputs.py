"""What an agent has received on one partition and not yet handled: held records, marks, watermarks, and which is next.

No I/O and no clock: the loop hands records in, the simulation of the tests does too. The rules are those of the
replay clock (docs/clock.md); the numbers in comments are theirs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from msgspec import Struct

from panda_streams.errors import BadEvent

__all__ = ["BEAT_MS", "HOLD", "Bound", "Input", "Inputs", "Item", "Received", "StreamCursor", "Wanted"]

BEAT_MS = 1000
"""Beats are at multiples of this event time."""
HOLD = 4096
"""Records that a stream holds at the most."""
_STRAYS = ""
"""Stands in the cursor for the records that are nobody's."""
NEVER = -(2**62)
"""The watermark of a stream that has said nothing."""


class Item(Struct, frozen=True, gc=False):
    """A decoded record."""

    event: Any
    """What is handed to the step; None for a beat that says nothing else than its watermark."""
    writer: str
    """Whose record it is: the records of one writer in one partition are an ordered stream."""
    time: int
    """Event time at which the writer said it, milliseconds since the epoch."""
    producer: str = ""
    """Whose sequence it carries: a consumer keeps one high-water mark for each."""
    sequence: int | None = None
    """None for what may be said twice."""
    watermark: int | None = None
    """For a beat: nothing of its writer follows with a time up to this one."""
    rank: int = 0
    """Which goes first among records of equal effect time: the lowest."""


class Bound(Enum):
    """How an input bounds what its agent may say of event time."""

    WATERMARK = "watermark"
    """Up to its watermark, and before its first held record."""
    HELD = "held"
    """Before its first held record."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Input:
    """One input topic of an agent."""

    name: str
    """Its name in the cursor, free of prefixes."""
    topic: str
    decode: Callable[[bytes | None], Item]
    """Raises BadEvent for a record that is none."""
    writers: tuple[str, ...]
    """Everyone who may write to one partition of it."""
    delay: int = 0
    """Event time from when a record was said until it acts, in milliseconds."""
    bound: Bound = Bound.WATERMARK
    replaceable: bool = False
    """True if a record is worth nothing once the next has come: those that retention has removed are passed over."""
    urgent: bool = False
    """True for what comes from outside of event time, as an operator's word: handled first, and not waited for."""


class Received(Struct, frozen=True, gc=False):
    """A record as it came from the log."""

    offset: int
    key: bytes | None
    value: bytes | None


class Wanted(NamedTuple):
    """A range of the log that must be read again before the agent can go on: start <= offset < end."""

    topic: str
    start: int
    end: int


class StreamCursor(NamedTuple):
    """Where one stream stands, as it is stored."""

    next: int
    """Offset of its first record that was not handled."""
    watermark: int
    """Its watermark at that offset, not what was read ahead (12)."""
    marks: dict[str, int]
    """Highest sequence handled, by producer."""


class Held(Struct, frozen=True, gc=False):
    """A record that waits to be handled."""

    record: Received
    item: Item
    watermark: int
    """The stream's watermark before this record."""
    arrival: int


class Stream:
    """The records of one writer in one partition (3)."""

    __slots__ = (
        "applied",
        "buffer",
        "delay",
        "index",
        "lagging",
        "log",
        "place",
        "position",
        "seen",
        "watermark",
        "writer",
    )

    def __init__(self, log: Log, writer: str, index: int) -> None:
        self.log = log
        self.writer = writer
        self.index = index
        self.place = (log, self)
        """What `Inputs.next` returns."""
        self.delay = log.input.delay
        self.buffer: deque[Held] = deque()
        self.watermark = NEVER
        self.applied: dict[str, int] = {}
        self.seen: dict[str, int] = {}
        """Highest sequence that has entered, by producer: a repeat of a held record is dropped at the door (5)."""
        self.lagging = False
        """True while records from `position` on did not fit and must be read again."""
        self.position = 0

    def enter(self, record: Received, item: Item, arrival: int) -> None:
        sequence = item.sequence
        if sequence is not None:
            if sequence <= self.seen.get(item.producer, -1):
                return
            self.seen[item.producer] = sequence
        if item.event is not None:
            self.buffer.append(Held(record, item, self.watermark, arrival))
        if item.watermark is not None and item.watermark > self.watermark:
            self.watermark = item.watermark

    def behind(self, effect: int) -> bool:
        """Whether it may still bring a record that acts before `effect`."""
        return self.log.awaited and (self.lagging or self.watermark + self.delay < effect)

    @property
    def next(self) -> int:
        """Offset of its first record that was not handled."""
        if self.buffer:
            return self.buffer[0].record.offset
        # After a restart the log begins where the first of its streams stands, which others may have passed.
        return self.position if self.lagging else max(self.position, self.log.decoded)

    def cursor(self) -> StreamCursor:
        watermark = self.buffer[0].watermark if self.buffer else self.watermark
        return StreamCursor(self.next, watermark, self.applied)

    def restore(self, cursor: StreamCursor) -> None:
        self.position = cursor.next
        self.watermark = cursor.watermark
        self.applied = dict(cursor.marks)
        self.seen = dict(cursor.marks)


class Log:
    """One input topic on one partition: its streams, and the next offset to come from Kafka."""

    def __init__(self, input: Input, first_index: int) -> None:
        self.input = input
        self.streams = {writer: Stream(self, writer, first_index + n) for n, writer in enumerate(input.writers)}
        self.backlog: deque[Received] = deque()
        """Records that are not decoded yet, after all that are: of a log with one writer, whose order is theirs."""
        self.strays: deque[Held] = deque()
        """Records that cannot be decoded: handled before anything else, for nobody waits for them."""
        self.awaited = True
        """False while its agent knows that nothing can come on it: then nothing waits for it."""
        self.next = 0
        self.ready_from: dict[str, int] = {}
        """After a restart: offset from which each stream still lacks its records."""
        self.strays_from = 0
        """Strays before this offset were handled before a restart."""

    @property
    def decoded(self) -> int:
        """Every record before this offset is in a stream, or among the strays."""
        return self.backlog[0].offset if self.backlog else self.next

    @property
    def held(self) -> int:
        return len(self.backlog) + len(self.strays) + sum(len(stream.buffer) for stream in self.streams.values())

    @property
    def strays_handled(self) -> int:
        """Every stray before this offset was handled."""
        return self.strays[0].record.offset if self.strays else max(self.strays_from, self.decoded)

    @property
    def handled(self) -> int:
        """Every record before this offset was handled."""
        return min(self.strays_handled, *(stream.next for stream in self.streams.values()))


class Inputs:
    """All inputs of one agent on one partition.

    With `ordered` the next item is the one with the smallest effect time, once no stream can bring an earlier one any
    more; else it is the one that came first.
    """

    def __init__(self, inputs: Iterable[Input], *, ordered: bool) -> None:
        self.logs: dict[str, Log] = {}
        self._streams: list[Stream] = []
        for input in inputs:
            log = self.logs[input.topic] = Log(input, len(self._streams))
            self._streams += log.streams.values()
        self._ordered = ordered
        self._urgent = [stream for stream in self._streams if stream.log.input.urgent]
        self._strays = 0
        self._only = self._streams[0] if len(self._streams) == 1 else None
        self._arrivals = 0

    # What goes in

    def restore(self, cursors: Mapping[str, Mapping[str, StreamCursor]], starts: Mapping[str, int]) -> None:
        """Set where every stream stands: by input name and writer; a log without a cursor starts at `starts[topic]`."""
        for log in self.logs.values():
            known = cursors.get(log.input.name, {})
            start = starts.get(log.input.topic, 0)
            for writer, stream in log.streams.items():
                stream.restore(known.get(writer, StreamCursor(start, NEVER, {})))
            log.strays_from = known[_STRAYS].next if _STRAYS in known else start
            log.next = min(log.strays_from, *(stream.position for stream in log.streams.values()))
            log.ready_from = {w: s.position for w, s in log.streams.items() if s.position > log.next}

    def offer(self, topic: str, records: Iterable[Received]) -> None:
        """Take records in, in the order of the log; those that were taken already are dropped.

        The caller closes gaps first: the first new record is at `expected(topic)`.
        """
        log = self.logs[topic]
        if self._only is not None:
            for record in records:
                if record.offset >= log.next:
                    log.next = record.offset + 1
                    log.backlog.append(record)
            return
        decode, streams, ordered = log.input.decode, log.streams, self._ordered
        several = ordered and len(streams) > 1
        for record in records:
            offset = record.offset
            if offset < log.next:
                continue
            log.next = offset + 1
            self._arrivals += 1
            try:
                item = decode(record.value)
                stream = streams[item.writer]
            except BadEvent as error:
                self._stray(log, record, str(error))
                continue
            except KeyError:
                self._stray(log, record, f"written by {item.writer!r}, expected one of {', '.join(streams)}")
                continue
            if log.ready_from and offset < log.ready_from.get(item.writer, 0):
                continue
            if stream.lagging:
                continue
            if several and len(stream.buffer) >= HOLD:
                stream.lagging, stream.position = True, offset
                continue
            stream.enter(record, item, self._arrivals)
        if log.ready_from and log.next >= max(log.ready_from.values()):
            log.ready_from = {}

    def _stray(self, log: Log, record: Received, reason: str) -> None:
        if record.offset < log.strays_from:
            return
        self._strays += 1
        log.strays.append(Held(record, Item(BadEvent(reason), "", 0), NEVER, self._arrivals))

    def expected(self, topic: str) -> int:
        """Offset of the next record to come."""
        return self.logs[topic].next

    def skip(self, topic: str, offset: int) -> None:
        """Take note that the log has nothing before `offset` that was not offered."""
        log = self.logs[topic]
        log.next = max(log.next, offset)

    def lacking(self) -> Wanted | None:
        """The range that a stream which did not fit should be read again from, once it has room."""
        for stream in self._streams:
            if stream.lagging and len(stream.buffer) <= HOLD // 2:
                end = min(stream.log.next, stream.position + 2 * HOLD)
                return Wanted(stream.log.input.topic, stream.position, end)
        return None

    def refill(self, wanted: Wanted, records: Iterable[Received]) -> None:
        """Take the records of `lacking` for the streams that lag, as far as they have room."""
        log = self.logs[wanted.topic]
        lagging = {w: s for w, s in log.streams.items() if s.lagging and wanted.start <= s.position < wanted.end}
        for record in records:
            try:
                item = log.input.decode(record.value)
            except BadEvent:
                continue  # a stray when it came by
            stream = lagging.get(item.writer)
            if stream is None or record.offset < stream.position:
                continue
            if len(stream.buffer) >= HOLD:
                stream.position = record.offset
                del lagging[item.writer]
                continue
            self._arrivals += 1
            stream.enter(record, item, self._arrivals)
        for stream in lagging.values():
            stream.lagging = wanted.end < log.next
            stream.position = wanted.end

    def overfull(self, topic: str) -> bool:
        """Whether no more records of this topic should be fetched for now.

        Where an order is kept, a partition with several writers is never held back: the beat that is waited for may
        lie behind the record that does not fit (3).
        """
        log = self.logs[topic]
        return not (self._ordered and len(log.streams) > 1) and log.held >= HOLD

    # What comes out

    def next(self) -> tuple[Log, Stream | None] | None:
        """Whose first record is to be handled now; None if nothing may be. Without a stream: the log's first stray."""
        only = self._only
        if only is not None:
            if not only.buffer:
                self._decode_next(only)
            if not self._strays:
                return only.place if only.buffer else None
        if self._strays:
            return next(log for log in self.logs.values() if log.strays), None
        for stream in self._urgent:
            if stream.buffer:
                return stream.place
        return self._first_ordered() if self._ordered else self._first_come()

    def _decode_next(self, only: Stream) -> None:
        """Decode as late as can be: what a whole fetched list decodes to would push each other out of the caches."""
        log = only.log
        backlog, buffer = log.backlog, only.buffer
        while backlog and not buffer:
            record = backlog.popleft()
            self._arrivals += 1
            try:
                item = log.input.decode(record.value)
            except BadEvent as error:
                self._stray(log, record, str(error))
                return
            if item.writer != only.writer:
                self._stray(log, record, f"written by {item.writer!r}, expected {only.writer}")
                return
            only.enter(record, item, self._arrivals)

    def _first_come(self) -> tuple[Log, Stream] | None:
        best: Stream | None = None
        for stream in self._streams:
            if stream.buffer and (best is None or stream.buffer[0].arrival < best.buffer[0].arrival):
                best = stream
        return (best.log, best) if best is not None else None

    def _first_ordered(self) -> tuple[Log, Stream] | None:
        best: Stream | None = None
        smallest: tuple[int, int, int] = (0, 0, 0)
        for stream in self._streams:
            if stream.buffer:
                item = stream.buffer[0].item
                key = (item.time + stream.delay, item.rank, stream.index)
                if best is None or key < smallest:
                    best, smallest = stream, key
        if best is None:
            return None
        effect = smallest[0]
        for stream in self._streams:
            # An empty stream may still bring something earlier, until its watermark has reached this time (7, 9).
            if not stream.buffer and not stream.log.input.urgent and stream.behind(effect):
                return None
        return best.place

    def waits_for(self) -> list[str]:
        """The streams whose watermark holds back the first record: what a person asks when nothing moves."""
        times = [stream.buffer[0].item.time + stream.delay for stream in self._streams if stream.buffer]
        if not times or not self._ordered or any(stream.buffer for stream in self._urgent):
            return []
        effect = min(times)
        return [
            f"{stream.log.input.name} of {stream.writer}"
            for stream in self._streams
            if not stream.buffer and not stream.log.input.urgent and stream.behind(effect)
        ]

    def pop(self, log: Log, stream: Stream | None) -> Held:
        """Take out what `next` named."""
        if stream is None:
            self._strays -= 1
            return log.strays.popleft()
        held = stream.buffer.popleft()
        sequence = held.item.sequence
        if sequence is not None:
            stream.applied[held.item.producer] = sequence
        return held

    def take(self) -> tuple[Log, Stream | None, Received, Item] | None:
        """Take out what `next` would name; None if nothing may be handled."""
        only = self._only
        if only is None or only.buffer or self._strays:
            found = self.next()
            if found is None:
                return None
            held = self.pop(*found)
            return *found, held.record, held.item
        # The one stream of an agent hands its records on as they are decoded: nothing is ever held back there.
        log, backlog, decode = only.log, only.log.backlog, only.log.input.decode
        while backlog:
            record = backlog.popleft()
            self._arrivals += 1
            try:
                item = decode(record.value)
            except BadEvent as error:
                self._stray(log, record, str(error))
                return self.take()
            if item.writer != only.writer:
                self._stray(log, record, f"written by {item.writer!r}, expected {only.writer}")
                return self.take()
            sequence, producer = item.sequence, item.producer
            if sequence is not None:
                if sequence <= only.seen.get(producer, -1):
                    continue
                only.seen[producer] = sequence
            if item.watermark is not None and item.watermark > only.watermark:
                only.watermark = item.watermark
            if item.event is None:
                continue
            if sequence is not None:
                only.applied[producer] = sequence
            return log, only, record, item
        return None

    # Where it stands

    def cursors(self) -> dict[str, dict[str, StreamCursor]]:
        """What `restore` takes, by input name and writer."""
        return {
            log.input.name: {
                **{writer: stream.cursor() for writer, stream in log.streams.items()},
                _STRAYS: StreamCursor(log.strays_handled, NEVER, {}),
            }
            for log in self.logs.values()
        }

    def handled(self) -> dict[str, int]:
        """By topic: every record before this offset was handled."""
        return {topic: log.handled for topic, log in self.logs.items()}

    def reached(self) -> int | None:
        """Event time up to which nothing that the agent says can follow, rounded down to a beat; None before any.

        A held record is a watermark too: its writer says nothing earlier any more (4, 8).
        """
        lowest: int | None = None
        for stream in self._streams:
            bound = stream.log.input.bound
            if bound is Bound.NONE or stream.log.input.urgent:
                continue
            if stream.buffer:
                reached = stream.buffer[0].item.time - 1
            elif bound is Bound.WATERMARK:
                reached = stream.watermark
            else:
                continue
            lowest = reached if lowest is None else min(lowest, reached)
        return None if lowest is None or lowest <= NEVER else lowest // BEAT_MS * BEAT_MS
