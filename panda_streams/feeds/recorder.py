"""The recorder: writes what a world's feed has published as a recording."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from msgspec.structs import replace

from panda_streams.codec import decode_depth, decode_market
from panda_streams.domain.ticks import Depth, Tick
from panda_streams.errors import BadEvent, BadInput, ServerUnreachable
from panda_streams.events import Beat, TickBatch
from panda_streams.feeds.batching import Frame, Standing
from panda_streams.feeds.recording import Header, write_recording
from panda_streams.feeds.standings import read_last
from panda_streams.servers import Servers
from panda_streams.settings import Settings
from panda_streams.streams.client import client_options
from panda_streams.topics import Topics
from panda_streams.worlds import enter

__all__ = ["Collector", "Recorded", "record"]

_log = logging.getLogger(__name__)

_Run = tuple[str, str]


@dataclass(slots=True)
class Recorded:
    """What has been written."""

    frames: int = 0
    ticks: int = 0
    undecodable: int = 0


@dataclass(slots=True)
class _Held:
    ticks: dict[tuple[_Run, int], Tick] = field(default_factory=dict)
    depth: dict[tuple[_Run, int], Depth] = field(default_factory=dict)


class Collector:
    """Puts together again the frames that a feed has split over the shards; index ticks have a copy on each.

    A row names a tick within a run; where a world has had several runs, the rows of the later ones are raised above
    those of the earlier.
    """

    def __init__(self, partitions: int) -> None:
        self._beats = dict.fromkeys(range(partitions), -1)
        self._held: dict[int, _Held] = {}
        self._times: list[int] = []
        self._offsets: dict[_Run, int] = {}
        self._next_row = 0

    def add(self, shard: int, record: TickBatch | Beat) -> Iterator[Frame]:
        """Take a shard's next record; yield the frames that no shard can add to."""
        if isinstance(record, TickBatch):
            run = (record.source, record.run)
            time = Standing.of(record).frame
            if time not in self._held:
                self._held[time] = _Held()
                heappush(self._times, time)
            held = self._held[time]
            held.ticks |= {(run, tick.row): tick for tick in record.ticks}
            held.depth |= {(run, row): book for row, book in decode_depth(record).items()}
            return
        reached = min(self._beats.values())
        self._beats[shard] = max(self._beats[shard], record.time)
        if min(self._beats.values()) > reached:
            yield from self._frames(min(self._beats.values()))

    def behind(self, shards: Iterable[int]) -> int:
        """That one of `shards` whose beats are the furthest behind: the one to be read next."""
        return min(shards, key=self._beats.__getitem__)

    def rest(self) -> Iterator[Frame]:
        """Yield what is held, when no record follows."""
        yield from self._frames(max(self._held, default=0))

    def _frames(self, until: int) -> Iterator[Frame]:
        while self._times and self._times[0] <= until:
            time = heappop(self._times)
            held = self._held.pop(time)
            ticks, depth = [], {}
            for (run, row), tick in sorted(held.ticks.items(), key=lambda item: (item[1].time, item[0])):
                offset = self._offsets.setdefault(run, self._next_row if self._offsets else 0)
                self._next_row = max(self._next_row, row + offset + 1)
                ticks.append(replace(tick, row=row + offset))
                if book := held.depth.get((run, row)):
                    depth[row + offset] = book
            yield Frame(time, ticks, depth)


async def record(settings: Settings, servers: Servers, path: Path, stop: asyncio.Event, *, follow: bool) -> Recorded:
    """Write all ticks of a world to `path`; with `follow`, also what is published until `stop` is set.

    Raises BadInput if the file exists or the world has no tick.
    """
    await enter(settings, servers)
    options, topic = client_options(settings, servers.kafka), Topics(servers.prefix).ticks
    last = await read_last(options, topic, settings.partitions)
    if not last:
        raise BadInput(f"world {servers.world.name} has no ticks", fix="start a feed first")
    header = Header(servers.world.name, next(iter(last.values())).value.source, servers.world.simulated)
    shards = range(settings.partitions)
    ends = {shard: None if follow else last[shard].next_offset if shard in last else 0 for shard in shards}
    recorded = Recorded()
    collector = Collector(settings.partitions)
    with write_recording(path, header) as write:

        def keep(frames: Iterator[Frame]) -> None:
            for frame in frames:
                write(frame)
                recorded.frames += 1
                recorded.ticks += len(frame.ticks)

        try:
            async for shard, data in _records(options, topic, ends, collector.behind, stop):
                try:
                    keep(collector.add(shard, decode_market(data)))
                except BadEvent as error:
                    recorded.undecodable += 1
                    _log.warning("a record of %s-%s is left out: %s", topic, shard, error)
        except KafkaError as error:
            raise ServerUnreachable(
                f"Kafka at {servers.kafka}: {type(error).__name__}: {error}", fix="start it, and record again"
            ) from error
        keep(collector.rest())
    return recorded


async def _records(
    options: dict[str, Any],
    topic: str,
    ends: dict[int, int | None],
    behind: Callable[[Iterable[int]], int],
    stop: asyncio.Event,
) -> AsyncIterator[tuple[int, bytes | None]]:
    """Yield (shard, value) of each partition's records from its beginning to its end, or until `stop` is set.

    The shard that is `behind` is read next: otherwise one shard's whole log would be held until the others' come.
    """
    consumer = AIOKafkaConsumer(**options, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        places = {shard: TopicPartition(topic, shard) for shard in ends}
        begins = await consumer.beginning_offsets(places.values())
        consumer.assign(list(places.values()))
        for place, offset in begins.items():
            consumer.seek(place, offset)
        open_shards = {shard for shard, end in ends.items() if end is None or begins[places[shard]] < end}
        while open_shards and not stop.is_set():
            shard = behind(open_shards)
            end = ends[shard]
            for record in (await consumer.getmany(places[shard], timeout_ms=200)).get(places[shard], []):
                if end is None or record.offset < end:
                    yield shard, record.value
            if end is not None and await consumer.position(places[shard]) >= end:
                open_shards.remove(shard)
    finally:
        await consumer.stop()
