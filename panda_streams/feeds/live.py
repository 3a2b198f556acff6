"""What a live feed says: ticks at once, and a beat for every second that has passed.

A live source cannot be read again, so each start of its feed is a run of its own. Nothing here does I/O; the clocks are
told the wall's time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from panda_streams.domain.shards import ShardMap
from panda_streams.domain.ticks import Depth, Tick
from panda_streams.events import Beat, Phase, TickBatch
from panda_streams.feeds.batching import FRAME_MS, GAP_MS, TAIL_MS, Frame, Record, Step
from panda_streams.kite_frames import Packet

__all__ = ["LAG_MS", "STALE_MS", "EventClock", "Keeper", "LiveBatcher", "Observed", "ToldClock", "WallClock"]

LAG_MS = 1000
"""A beat is said this much after its time: an exchange tells whole seconds, and what it tells of one arrives in the
next."""
STALE_MS = 60_000
"""A tick whose time is further back than this is no news: a broker says the last one again at every subscription."""
_AHEAD_MS = 5_000
"""An exchange's time further ahead of this machine's is not believed."""
_MOST = 500
"""Ticks of one record: with their order books some 170 kB, a third of what a batch may have."""


class EventClock(Protocol):
    """Says what time it is at the exchange."""

    def now(self) -> int | None:
        """Event time, milliseconds since the epoch; None as long as nobody can say it."""

    def stamp(self, told: int | None) -> int | None:
        """The event time of a tick that arrives now, with the exchange's time `told` or without; None: it is stale."""


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class WallClock:
    """A real exchange: it is as late there as here."""

    def __init__(self, wall_ms: Callable[[], int] = _wall_ms) -> None:
        self._wall_ms = wall_ms

    def now(self) -> int:
        return self._wall_ms()

    def stamp(self, told: int | None) -> int | None:
        now = self._wall_ms()
        if told is None or told > now + _AHEAD_MS:
            return now
        return told if told >= now - STALE_MS else None


class ToldClock:
    """A simulated exchange, on which it is as late as its newest tick says.

    After a tick it goes on with the wall for five seconds at most, so that what waits for the time to pass does not
    wait for the next tick. Ticks from before `reached`, which the world has seen, are stale.
    """

    def __init__(self, reached: int | None, wall_ms: Callable[[], int] = _wall_ms) -> None:
        self._wall_ms = wall_ms
        self._oldest = reached - STALE_MS if reached is not None else 0
        self._newest: int | None = None
        self._at = 0

    def now(self) -> int | None:
        if self._newest is None:
            return None
        return self._newest + min(max(0, self._wall_ms() - self._at), TAIL_MS + LAG_MS)

    def stamp(self, told: int | None) -> int | None:
        if told is None:
            return self.now()
        if told < max(self._oldest, (self._newest or 0) - STALE_MS):
            return None
        if self._newest is None or told > self._newest:
            self._newest, self._at = told, self._wall_ms()
        return told


class Observed(NamedTuple):
    """A packet of an instrument, and its event time."""

    instrument: str
    time: int
    packet: Packet


class LiveBatcher:
    """Numbers ticks and beats of one run, in the order in which they are said.

    Event time never goes back: a tick that comes later than its time's beat, or than a tick of a later time, keeps its
    place and takes the earliest time that is left; `moved` counts those that were moved by more than a beat's lag.
    `begins` is event time that the world has reached already: everything is said after it.
    """

    def __init__(self, world: str, source: str, run: str, shards: ShardMap, begins: int) -> None:
        self._world = world
        self._source = source
        self._run = run
        self._map = shards
        self._next = [0] * shards.partitions
        self._beaten = begins
        self._newest = begins + 1
        self._row = 0
        self.moved = 0

    def ticks(self, observed: Iterable[Observed]) -> Step:
        """Say ticks: one record a shard, or several if they are many."""
        ticks: list[list[Tick]] = [[] for _ in self._next]
        books: list[dict[int, Depth]] = [{} for _ in self._next]
        newest, row, first = self._newest, self._row, self._row
        for instrument, at, packet in observed:
            if at > newest:
                newest = at
            elif newest - at > LAG_MS:
                self.moved += 1
            bid, ask = packet.best
            tick = Tick(instrument, packet.price, packet.quantity, packet.volume, bid, ask, newest, row)
            depth = packet.depth
            for shard in self._map.shards(instrument):
                ticks[shard].append(tick)
                if depth is not None:
                    books[shard][row] = depth
            row += 1
        self._newest, self._row = newest, row
        records = []
        for shard, own in enumerate(ticks):
            for begin in range(0, len(own), _MOST):
                some = tuple(own[begin : begin + _MOST])
                depth_of = {one.row: books[shard][one.row] for one in some if one.row in books[shard]} or None
                batch = TickBatch(self._world, self._source, self._run, self._number(shard), some[-1].time, some)
                records.append(Record(shard, batch, depth_of))
        return Step(newest, records, row - first)

    def beats(self, now: int, phase: Phase) -> Iterator[Step]:
        """Say a beat for every second that has passed by event time `now`; across a gap, one at each of its ends."""
        last = (now - LAG_MS) // FRAME_MS * FRAME_MS
        first = self._beaten // FRAME_MS * FRAME_MS + FRAME_MS
        if last < first:
            return
        times = [first, last] if last - first > GAP_MS else range(first, last + 1, FRAME_MS)
        for at in times:
            self._beaten = at
            self._newest = max(self._newest, at + 1)
            records = [
                Record(shard, Beat(self._world, self._source, self._run, self._number(shard), at, phase), None)
                for shard in range(len(self._next))
            ]
            yield Step(at, records, 0)

    def _number(self, shard: int) -> int:
        number = self._next[shard]
        self._next[shard] += 1
        return number


class Keeper:
    """Puts what was said together into the frames of a recording."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[dict[int, Tick], dict[int, Depth]]] = {}

    def add(self, step: Step) -> list[Frame]:
        """Take what was said; return the frames to which nothing is added any more."""
        beaten = None
        for record in step.records:
            value = record.value
            if isinstance(value, Beat):
                beaten = value.time
                continue
            for tick in value.ticks:
                end = -(-tick.time // FRAME_MS) * FRAME_MS
                ticks, depth = self._held.setdefault(end, ({}, {}))
                ticks[tick.row] = tick
                if record.depth is not None and tick.row in record.depth:
                    depth[tick.row] = record.depth[tick.row]
        return self.rest(beaten) if beaten is not None else []

    def rest(self, until: int | None = None) -> list[Frame]:
        """Return the frames up to an event time, or all that are left."""
        ready = sorted(end for end in self._held if until is None or end <= until)
        frames = []
        for end in ready:
            ticks, depth = self._held.pop(end)
            frames.append(Frame(end, [ticks[row] for row in sorted(ticks)], depth))
        return frames
