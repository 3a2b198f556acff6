"""Where kitesim's ticks and its time come from: the world's tick log on either clock, or a source of its own."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from typing import Any, NamedTuple, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from panda_streams.codec import decode_depth, decode_market
from panda_streams.domain.instruments import InstrumentKind, Instruments
from panda_streams.domain.ticks import Depth, Tick
from panda_streams.errors import BadEvent, PandaError
from panda_streams.events import Beat, TickBatch
from panda_streams.feeds.batching import FRAME_MS, TAIL_MS, Frame
from panda_streams.feeds.paced import Pace, Source
from panda_streams.kitesim.engine import Engine

__all__ = ["Books", "Clock", "LogReader", "ReplayClock", "SourceClock", "WallClock"]

_log = logging.getLogger(__name__)

_RETRY_S = 0.5
_YIELD_EVERY = 500
ADVANCE_S = 4.0
"""How long a call that advances the clock takes at the most: whoever calls asks again."""


class Books:
    """The order books of a batch, decoded once somebody looks at one."""

    __slots__ = ("_batch", "_books")

    def __init__(self, batch: TickBatch) -> None:
        self._batch: TickBatch | None = batch if batch.depth_line is not None else None
        self._books: dict[int, Depth] = {}

    def __call__(self, row: int) -> Depth | None:
        if self._batch is not None:
            self._books, self._batch = decode_depth(self._batch), None
        return self._books.get(row)


class Clock(Protocol):
    """What moves kitesim."""

    newest: int | None
    """Event time of the newest tick or beat that was read."""

    async def run(self) -> None:
        """Work until cancelled, or until the source has ended."""

    async def advance(self, until: int) -> None:
        """Let the exchange match up to event time `until`, where it waits for being told; else nothing."""


class _Read(NamedTuple):
    shard: int
    offset: int
    value: TickBatch | Beat


class LogReader:
    """Reads market.ticks without a group, each shard from its place."""

    def __init__(self, options: dict[str, Any], topic: str, partitions: int, instruments: Instruments) -> None:
        self._options = options
        self._places = [TopicPartition(topic, number) for number in range(partitions)]
        self._consumer: AIOKafkaConsumer | None = None
        self.next: dict[int, int] = {}
        """By shard: the offset of the next record to be read."""
        # An index is copied to every shard: it is read from the first.
        self._indices = frozenset(one.id for one in instruments if one.kind is InstrumentKind.INDEX)

    async def start(self, places: dict[int, int]) -> dict[int, int]:
        """Begin at the places, a shard without one at its first record; returns where each shard ends now.

        Raises PandaError if a shard ends before its place: then the log is not the one that was read.
        """
        consumer = AIOKafkaConsumer(**self._options, enable_auto_commit=False, auto_offset_reset="earliest")
        await consumer.start()
        begins = await consumer.beginning_offsets(self._places)
        ends = await consumer.end_offsets(self._places)
        self._consumer = consumer
        consumer.assign(self._places)
        for place in self._places:
            wanted = places.get(place.partition, begins[place])
            if wanted > ends[place]:
                raise PandaError(
                    f"kitesim has read {place.topic}-{place.partition} up to {wanted}, but it ends at {ends[place]}",
                    fix="its topics were made anew: move worlds/<world>/kitesim under PANDA_HOME away too",
                )
            if wanted < begins[place]:
                _log.warning(
                    "%s-%s begins at %s, but kitesim stood at %s: what was traded between is not seen",
                    *(place.topic, place.partition, begins[place], wanted),
                )
            self.next[place.partition] = max(wanted, begins[place])
            consumer.seek(place, self.next[place.partition])
        return {place.partition: ends[place] for place in self._places}

    async def stop(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    async def read(self, shards: Iterable[int]) -> list[_Read]:
        """What has come on these shards, waiting a moment for it; records that cannot be decoded are passed over."""
        assert self._consumer is not None
        wanted = [self._places[shard] for shard in shards]
        try:
            batches = await self._consumer.getmany(*wanted, timeout_ms=200)
        except KafkaError as error:
            _log.warning("ticks cannot be read for now: %s: %s", type(error).__name__, error)
            await asyncio.sleep(_RETRY_S)
            return []
        found = []
        for place, records in batches.items():
            self.next[place.partition] = records[-1].offset + 1
            for record in records:
                try:
                    found.append(_Read(place.partition, record.offset, decode_market(record.value)))
                except BadEvent as error:
                    _log.warning("%s-%s, offset %s: %s", place.topic, place.partition, record.offset, error)
        return found

    def ticks(self, read: _Read) -> Iterator[Tick]:
        """The ticks of a batch that count on its shard."""
        assert isinstance(read.value, TickBatch)
        for tick in read.value.ticks:
            if not read.shard or tick.instrument not in self._indices:
                yield tick


class WallClock:
    """Matches ticks as they come. The reader has been started."""

    def __init__(self, engine: Engine, reader: LogReader, partitions: int) -> None:
        self._engine = engine
        self._reader = reader
        self._shards = range(partitions)
        self.newest = engine.broker.time

    async def catch_up(self, ends: dict[int, int]) -> None:
        """Work through what the log holds up to these offsets."""
        while behind := [shard for shard, end in ends.items() if self._reader.next[shard] < end]:
            self._work(await self._reader.read(behind))

    async def run(self) -> None:
        while True:
            self._work(await self._reader.read(self._shards))

    def _work(self, found: list[_Read]) -> None:
        if not found:
            return
        broker = self._engine.broker
        places: dict[int, int] = {}
        for read in found:
            if isinstance(read.value, Beat):
                broker.pass_time(read.value.reached)
            else:
                books = Books(read.value)
                for tick in self._reader.ticks(read):
                    if tick.instrument in broker.instruments:
                        broker.meet(tick, books)
            places[read.shard] = read.offset + 1
        self._engine.commit(places)
        self.newest = broker.time

    async def advance(self, until: int) -> None:
        """Nothing: the wall's time passes by itself."""


class _Lane:
    """What was read of a shard and is not worked through."""

    def __init__(self, next_offset: int, reached: int) -> None:
        self.next_offset = next_offset
        self.reached = reached
        self._held: deque[tuple[int, int]] = deque()
        """Offset of each record, and the event time after which it is not needed any more."""

    def hold(self, read: _Read) -> None:
        self.next_offset = read.offset + 1
        if isinstance(read.value, Beat):
            self.reached = read.value.reached
            self._held.append((read.offset, read.value.reached))
        else:
            self._held.append((read.offset, read.value.time))

    def place(self, time: int) -> int:
        """The first record that is not worked through once everything up to `time` is."""
        while self._held and self._held[0][1] <= time:
            self._held.popleft()
        return self._held[0][0] if self._held else self.next_offset


class ReplayClock:
    """Matches ticks of all shards in the order of event time, and only as far as it is told. The reader has been
    started."""

    def __init__(self, engine: Engine, reader: LogReader, partitions: int) -> None:
        self._engine = engine
        self._reader = reader
        self._lanes = [_Lane(reader.next[shard], engine.broker.time or 0) for shard in range(partitions)]
        self._ticks: list[tuple[int, int, int, int, Tick, Books]] = []
        self._busy = asyncio.Lock()
        self.newest: int | None = None

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def advance(self, until: int) -> None:
        """Match up to `until`; less if that takes more than some seconds, or the beats of a shard do not get there."""
        deadline = asyncio.get_running_loop().time() + ADVANCE_S
        async with self._busy:
            while (self._engine.broker.time or 0) < until:
                behind = [shard for shard, lane in enumerate(self._lanes) if lane.reached < until]
                if behind:
                    for read in await self._reader.read(behind):
                        self._hold(read)
                reached = min(lane.reached for lane in self._lanes)
                if reached:  # else some shard has had no beat yet: there is no event time
                    await self._match(min(until, reached), deadline)
                if asyncio.get_running_loop().time() > deadline:
                    return

    def _hold(self, read: _Read) -> None:
        self._lanes[read.shard].hold(read)
        self.newest = max(self.newest or 0, read.value.time)
        if isinstance(read.value, Beat):
            return
        books, matched = Books(read.value), self._engine.broker.time or 0
        for tick in self._reader.ticks(read):
            # What stands at or before the clock was matched before a restart.
            if tick.time > matched and tick.instrument in self._engine.broker.instruments:
                heappush(self._ticks, (tick.time, read.shard, read.offset, tick.row, tick, books))

    async def _match(self, until: int, deadline: float) -> None:
        broker = self._engine.broker
        if broker.time is not None and until <= broker.time:
            return
        while self._ticks and self._ticks[0][0] <= until:
            end = min(until, -(-self._ticks[0][0] // FRAME_MS) * FRAME_MS)
            while self._ticks and self._ticks[0][0] <= end:
                tick, books = heappop(self._ticks)[4:]
                broker.meet(tick, books)
            self._settle(end)
            await asyncio.sleep(0)
            if asyncio.get_running_loop().time() > deadline:
                return
        self._settle(until)

    def _settle(self, time: int) -> None:
        """Note that everything up to `time` is matched."""
        self._engine.broker.pass_time(time)
        self._engine.commit({shard: lane.place(time) for shard, lane in enumerate(self._lanes)})


class SourceClock:
    """Plays a recording or the market simulator at a pace of its own."""

    def __init__(self, engine: Engine, source: Source, speed: float | None) -> None:
        self._engine = engine
        self._source = source
        self._pace = Pace(speed)
        self.newest = engine.broker.time
        self.finished = False

    async def run(self) -> None:
        after = self._engine.broker.time
        broker, skipped, last = self._engine.broker, 0, None
        for frame in self._frames(after):
            if after is not None and frame.time <= after:
                skipped += 1
                if skipped % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
                continue
            await asyncio.sleep(self._pace.next_wait())
            for tick in frame.ticks:
                if tick.instrument in broker.instruments:
                    broker.meet(tick, frame.depth.get)
            last = frame.time
            self._settle(frame.time)
        if last is not None:
            self._settle(last + TAIL_MS)
        self.finished = True

    def _frames(self, after: int | None) -> Iterator[Frame]:
        return self._source.frames(after)

    def _settle(self, time: int) -> None:
        self._engine.broker.pass_time(time)
        self._engine.commit()
        self.newest = time

    async def advance(self, until: int) -> None:
        """Nothing: it has a pace of its own."""
