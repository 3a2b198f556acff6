"""The publisher: what every feed does, whatever it publishes.

It holds the world's lease, finds where each shard stands, brings records to Kafka and reports its health.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from abc import ABC, abstractmethod
from enum import StrEnum

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from panda_streams.codec import encode, encode_batch, encode_beat
from panda_streams.errors import PandaError, SettingsError
from panda_streams.events import Beat, Health
from panda_streams.feeds.batching import Record, Step
from panda_streams.feeds.lanes import Lane
from panda_streams.feeds.standings import Last, read_last
from panda_streams.identity import Identity, Role
from panda_streams.keys import Keys
from panda_streams.mirror import Mirror
from panda_streams.servers import Servers, identify_process
from panda_streams.settings import Settings
from panda_streams.streams.client import client_options
from panda_streams.topics import Topics
from panda_streams.worlds import enter

__all__ = ["FeedState", "Publisher"]

_log = logging.getLogger(__name__)

_OUTAGE_MS = 1_200_000
"""An outage of Kafka that is waited out, as long as the workers': after it the producer gives a batch up."""
_MAX_BATCH = 512 * 1024
_AWAY_S = 3.0
"""Kafka is reported away when a batch has been waiting this long."""
_STOP_S = 3.0


class FeedState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    FINISHED = "finished"
    STOPPED = "stopped"


class Publisher(ABC):
    """Publishes one run of one source into the world of its servers.

    `real` says that its ticks are of a real market: those belong into the world live, and no others do. Its counters
    may be read while it runs. Set `stop` to end it: what was handed to Kafka is waited for, three seconds at most.
    """

    def __init__(self, settings: Settings, servers: Servers, source: str, run: str, *, real: bool) -> None:
        if servers.world.simulated is real:
            name = servers.world.name
            raise SettingsError(
                f"{source} must not be published into the world {name}",
                fix="set PANDA_WORLD to " + ("live" if real else "sim or replay:<name>"),
            )
        self._settings = settings
        self._servers = servers
        self._source = source
        self._run = run
        self._topic = Topics(servers.prefix).ticks
        self._lanes: list[Lane] = []
        self._started_at = time.time_ns() // 1_000_000
        self._state = FeedState.STARTING
        self.stop = asyncio.Event()
        self.ticks = 0
        self.time: int | None = None
        """Event time that the world has reached."""

    @abstractmethod
    def _begin(self, last: dict[int, Last]) -> bool:
        """Find the place to go on from, given the last record of each shard; False if all is published already."""

    @abstractmethod
    async def _send_all(self) -> FeedState:
        """Publish until the source ends or `stop` is set; return which."""

    @abstractmethod
    def _doing(self) -> str:
        """What it is doing while it runs, for people."""

    @property
    def source(self) -> str:
        return self._source

    @property
    def run_id(self) -> str:
        return self._run

    @property
    def records(self) -> int:
        """Records that Kafka has acknowledged."""
        return sum(lane.acknowledged for lane in self._lanes)

    @property
    def state(self) -> FeedState:
        if self._state is FeedState.RUNNING and (self._kafka_is_away or self._source_is_away):
            return FeedState.WAITING
        return self._state

    @property
    def detail(self) -> str:
        """What it is doing, for people."""
        if self._state is not FeedState.RUNNING:
            return self._state.value
        return f"waiting for Kafka at {self._servers.kafka}" if self._kafka_is_away else self._doing()

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
        begins = self._begin(last)
        self.time = max((record.value.time for record in last.values()), default=None)
        if not begins:
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
                Lane(producer, self._topic, shard, last[shard].next_offset if shard in last else 0)
                for shard in range(self._settings.partitions)
            ]
            self._state = FeedState.RUNNING
            return await self._until_stopped(asyncio.create_task(self._send_all()))
        finally:
            try:
                await asyncio.wait_for(producer.stop(), timeout=_STOP_S)
            except TimeoutError:
                _log.warning("Kafka at %s did not take leave in time", self._servers.kafka)

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

    async def _add(self, step: Step) -> None:
        """Hand over the records of a step; they are on their way once they are sent, or fill a batch."""
        for record in step.records:
            await self._lanes[record.shard].add(_encode(record))
        self.ticks += step.ticks
        self.time = step.time

    async def _send(self) -> None:
        for lane in self._lanes:
            await lane.send()

    async def _drain(self) -> None:
        for lane in self._lanes:
            await lane.drain()

    async def _sleep(self, seconds: float) -> bool:
        """Sleep; True if the feed is stopped meanwhile."""
        try:
            await asyncio.wait_for(self.stop.wait(), timeout=seconds)
        except TimeoutError:
            return False
        return True

    @property
    def _kafka_is_away(self) -> bool:
        """True if the oldest batch has been waiting long for its acknowledgement."""
        since = [moment for lane in self._lanes if (moment := lane.waiting_since) is not None]
        return bool(since) and time.monotonic() - min(since) > _AWAY_S

    @property
    def _source_is_away(self) -> bool:
        """True if it cannot be told what happens: the feed waits for its source."""
        return False

    async def _report_each_second(self, mirror: Mirror, identity: Identity) -> None:
        said_away = False
        while True:
            away = self._kafka_is_away
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
