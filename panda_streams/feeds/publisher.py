"""The publisher: brings the records of a source to Kafka at a given pace, from where each shard stands.

Resumption comes from Kafka alone: the last record of each partition says what it has, and everything else is a
function of the source.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError

from panda_streams.codec import encode, encode_batch, encode_beat
from panda_streams.domain.shards import ShardMap
from panda_streams.errors import PandaError, SettingsError
from panda_streams.events import Beat, Health
from panda_streams.feeds.batching import FRAME_MS, Batcher, Frame, Record, Step
from panda_streams.feeds.standings import Last, check_start, read_last, standing_of
from panda_streams.identity import Identity, Role
from panda_streams.instrument_files import load_instruments
from panda_streams.keys import Keys
from panda_streams.mirror import Mirror
from panda_streams.servers import Servers, identify_process
from panda_streams.settings import Settings
from panda_streams.streams.client import client_options
from panda_streams.topics import Topics
from panda_streams.worlds import enter

__all__ = ["Feed", "FeedState", "Pace", "Source"]

_log = logging.getLogger(__name__)

_CHUNK = 1024
"""Records held before they are handed to the producer: some 0.7 MB."""
_OUTAGE_MS = 1_200_000
"""An outage of Kafka that is waited out, as long as the workers': after it the producer gives a batch up."""
_MAX_BATCH = 512 * 1024
_FLYING = 4
"""Unacknowledged batches of a shard: what bounds the memory while Kafka is slow or away."""
_AWAY_S = 3.0
"""Kafka is reported away when a batch has been waiting this long."""
_STOP_S = 3.0
_BEHIND_S = 1.0
_SHORTEST_SLEEP_S = 0.002
_YIELD_EVERY = 500


class Source(Protocol):
    """Where frames come from: a recording or the simulator."""

    @property
    def source(self) -> str: ...
    @property
    def run(self) -> str: ...

    @property
    def from_first(self) -> bool:
        """True if `frames` always starts with the first frame of the run."""

    def frames(self, after: int | None) -> Iterator[Frame]:
        """Yield the frames of the run in order: with None from its first, else from any frame up to event time
        `after`. Twice the same call, twice the same frames."""

    def describe(self, time: int | None) -> str:
        """Say what the feed is doing when it has published up to event time `time`, for people."""


class FeedState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    FINISHED = "finished"
    STOPPED = "stopped"


class Pace:
    """Spaces steps so that event time passes `speed` times as fast as the wall's; None does not space them.

    A gap takes as long as any step. A feed that was held up goes on at its pace instead of catching up.
    """

    def __init__(self, speed: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = FRAME_MS / 1000 / speed if speed else 0.0
        self._clock = clock
        self._due: float | None = None

    def next_wait(self) -> float:
        """Seconds until the next step is due."""
        now = self._clock()
        if not self._interval:
            return 0.0
        self._due = now if self._due is None else self._due + self._interval
        if now - self._due > _BEHIND_S:
            self._due = now
        return max(0.0, self._due - now)


@dataclass(slots=True)
class _Flying:
    """A batch on its way."""

    future: asyncio.Future[Any]
    records: int
    since: float


class _Lane:
    """The way of one shard's records into its partition."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, shard: int, next_offset: int) -> None:
        self._producer = producer
        self._topic = topic
        self._shard = shard
        self._key = str(shard).encode()
        self._next_offset = next_offset
        self._builder = producer.create_batch()
        self._flying: deque[_Flying] = deque()
        self.acknowledged = 0

    @property
    def waiting_since(self) -> float | None:
        """When its oldest unacknowledged batch was sent, by the monotonic clock."""
        return self._flying[0].since if self._flying else None

    async def add(self, value: bytes) -> None:
        if self._builder.append(timestamp=None, key=self._key, value=value) is None:
            await self.send()
            if self._builder.append(timestamp=None, key=self._key, value=value) is None:
                raise PandaError(f"a record of {len(value)} bytes for shard {self._shard} does not fit into a batch")

    async def send(self) -> None:
        """Hand over what is held, once there is room for it."""
        while self._flying and (len(self._flying) >= _FLYING or self._flying[0].future.done()):
            await self._settle()
        builder = self._builder
        if not builder.record_count():
            return
        builder.close()
        while True:
            try:
                future = await self._producer.send_batch(builder, self._topic, partition=self._shard)
                break
            except KafkaTimeoutError:
                continue  # no room yet: Kafka is slow or away, and the producer keeps trying
        self._flying.append(_Flying(future, builder.record_count(), time.monotonic()))
        self._builder = self._producer.create_batch()

    async def drain(self) -> None:
        """Send what is held and return when all of it is acknowledged."""
        await self.send()
        while self._flying:
            await self._settle()

    async def _settle(self) -> None:
        flying = self._flying[0]
        metadata = await flying.future
        self._flying.popleft()
        # Kafka answers -1 for a batch that it had already and whose place it no longer knows.
        if metadata.offset not in (self._next_offset, -1):
            raise PandaError(
                f"another process writes to {self._topic}-{self._shard}: offset {self._next_offset} was expected, "
                f"{metadata.offset} found",
                fix="run one feed per world, on one machine; use another world, for this one's ticks are mixed",
            )
        self._next_offset += flying.records
        self.acknowledged += flying.records


class Feed:
    """Publishes one source into the world of its servers.

    `speed` is event seconds per wall second, None for as quick as Kafka takes it. Its counters may be read while it
    runs. Set `stop` to end it: what was handed to Kafka is waited for, three seconds at most.
    """

    def __init__(self, settings: Settings, servers: Servers, source: Source, speed: float | None) -> None:
        if not servers.world.simulated:
            raise SettingsError(
                f"{source.source} must not be published into the world live",
                fix="set PANDA_WORLD to sim or replay:<name>",
            )
        self._settings = settings
        self._servers = servers
        self._source = source
        self._speed = speed
        self._topic = Topics(servers.prefix).ticks
        self._lanes: list[_Lane] = []
        self._started_at = time.time_ns() // 1_000_000
        self._state = FeedState.STARTING
        self.stop = asyncio.Event()
        self.ticks = 0
        self.skipped = 0
        """Steps that Kafka had already."""
        self.time: int | None = None
        """Event time that the world has reached."""

    @property
    def records(self) -> int:
        """Records that Kafka has acknowledged."""
        return sum(lane.acknowledged for lane in self._lanes)

    @property
    def state(self) -> FeedState:
        if self._state is FeedState.RUNNING and self._away_s() > _AWAY_S:
            return FeedState.WAITING
        return self._state

    @property
    def detail(self) -> str:
        """What it is doing, for people."""
        match self.state:
            case FeedState.WAITING:
                return f"waiting for Kafka at {self._servers.kafka}"
            case FeedState.RUNNING if not self.ticks and self.skipped:
                return "finding the place to go on from"
            case FeedState.RUNNING:
                speed = "max" if self._speed is None else f"{self._speed:g}"
                return f"{self._source.describe(self.time)}, speed {speed}"
            case state:
                return state.value

    async def run(self) -> FeedState:
        """Publish until the source ends (FINISHED) or `stop` is set (STOPPED).

        Raises AlreadyRunning if the world has a feed; ServerUnreachable, TopicsError or StampMismatch before
        anything is published; PandaError if the source would turn the world's time back.
        """
        identity = identify_process(self._settings, self._servers, Role.FEED)
        with identity.lock():
            await enter(self._settings, self._servers)
            mirror = Mirror(self._servers.redis, identity.scope)
            await mirror.start()
            reporting = asyncio.create_task(self._report_each_second(mirror, identity))
            try:
                self._state = await self._publish()
            except KafkaError as error:
                raise PandaError(
                    f"Kafka at {self._servers.kafka}, topic {self._topic}: {type(error).__name__}: {error}",
                    fix="start the feed again: it goes on where Kafka ends",
                ) from error
            finally:
                if self._state is not FeedState.FINISHED:
                    self._state = FeedState.STOPPED
                reporting.cancel()
                await asyncio.gather(reporting, return_exceptions=True)
                self._report(mirror, identity)
                await mirror.stop()
        return self._state

    async def _publish(self) -> FeedState:
        options = client_options(self._settings, self._servers.kafka)
        last = await read_last(options, self._topic, self._settings.partitions)
        steps = self._steps(last)
        self.time = max((record.value.time for record in last.values()), default=None)
        if steps is None:
            _log.info("%s %s is already replayed to its end", self._source.source, self._source.run)
            return FeedState.FINISHED
        producer = AIOKafkaProducer(
            **options,
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            max_batch_size=_MAX_BATCH,
            request_timeout_ms=_OUTAGE_MS,
        )
        try:
            await producer.start()
            self._lanes = [
                _Lane(producer, self._topic, shard, last[shard].next_offset if shard in last else 0)
                for shard in range(self._settings.partitions)
            ]
            self._state = FeedState.RUNNING
            return await self._until_stopped(asyncio.create_task(self._send_all(steps)))
        finally:
            try:
                await asyncio.wait_for(producer.stop(), timeout=_STOP_S)
            except TimeoutError:
                _log.warning("Kafka at %s did not take leave in time", self._servers.kafka)

    def _steps(self, last: dict[int, Last]) -> Iterator[Step] | None:
        """The steps from where the shards stand, or None if all have the end."""
        source, run = self._source.source, self._source.run
        standing = standing_of(last, source, run)
        shards = ShardMap(self._settings.partitions, load_instruments(self._settings.instruments))
        after = None
        if len(standing) == shards.partitions:
            if all(isinstance(record.value, Beat) and record.value.end for record in last.values()):
                return None
            after = min(place.frame for place in standing.values())
        frames = self._source.frames(after)
        if after is None and (first := next(frames, None)):
            check_start(last, source, run, first.time - FRAME_MS)
            frames = chain([first], frames)
        batcher = Batcher(
            self._servers.world.name, source, run, shards, standing, from_first=self._source.from_first or after is None
        )
        return batcher.steps(frames)

    async def _until_stopped(self, sending: asyncio.Task[FeedState]) -> FeedState:
        stopping = asyncio.create_task(self.stop.wait())
        try:
            await asyncio.wait({sending, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                await asyncio.wait({sending}, timeout=_STOP_S)
            if sending.done():
                return sending.result()
            _log.warning("stopped without the acknowledgement of Kafka at %s", self._servers.kafka)
            return FeedState.STOPPED
        finally:
            stopping.cancel()
            sending.cancel()
            await asyncio.gather(stopping, sending, return_exceptions=True)

    async def _send_all(self, steps: Iterator[Step]) -> FeedState:
        pace, held = Pace(self._speed), 0
        for step in steps:
            if self.stop.is_set():
                break
            if not step.records:
                self.skipped += 1
                if self.skipped % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
                continue
            wait = pace.next_wait()
            if wait > _SHORTEST_SLEEP_S or held >= _CHUNK:
                await self._send()
                held = 0
            if wait > _SHORTEST_SLEEP_S and await self._sleep(wait):
                break
            for record in step.records:
                await self._lanes[record.shard].add(_encode(record))
            held += len(step.records)
            self.ticks += step.ticks
            self.time = step.time
        for lane in self._lanes:
            await lane.drain()
        return FeedState.STOPPED if self.stop.is_set() else FeedState.FINISHED

    async def _send(self) -> None:
        for lane in self._lanes:
            await lane.send()

    async def _sleep(self, seconds: float) -> bool:
        """Sleep; True if the feed is stopped meanwhile."""
        try:
            await asyncio.wait_for(self.stop.wait(), timeout=seconds)
        except TimeoutError:
            return False
        return True

    def _away_s(self) -> float:
        """How long the oldest batch has been waiting for its acknowledgement."""
        since = [lane.waiting_since for lane in self._lanes]
        return time.monotonic() - min((moment for moment in since if moment is not None), default=time.monotonic())

    async def _report_each_second(self, mirror: Mirror, identity: Identity) -> None:
        said_away = False
        while True:
            away = self.state is FeedState.WAITING
            if away and not said_away:
                _log.warning("Kafka at %s does not answer: waiting for it, nothing is lost", self._servers.kafka)
            elif said_away and not away:
                _log.warning("Kafka at %s answers again: going on", self._servers.kafka)
            said_away = away
            self._report(mirror, identity)
            await asyncio.sleep(1)

    def _report(self, mirror: Mirror, identity: Identity) -> None:
        now = time.time_ns() // 1_000_000
        state = self.state
        health = Health(
            world=self._servers.world.name,
            role=identity.role.value,
            namespace=None,
            instance=identity.instance,
            pid=os.getpid(),
            state=state.value,
            ready=state in (FeedState.RUNNING, FeedState.FINISHED),
            mode=None,
            detail=self.detail,
            lag=None,
            events=self.records,
            last_event_time=self.time,
            started_at=self._started_at,
            at=now,
            url=None,
        )
        keys = Keys(identity.scope)
        mirror.put(keys.health(identity.instance), encode(health), now)
        mirror.add(keys.instances, str(identity.instance))


def _encode(record: Record) -> bytes:
    if isinstance(record.value, Beat):
        return encode_beat(record.value)
    return encode_batch(record.value, record.depth)
