"""Lanes: the way of each shard's records into its partition of market.ticks."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError

from panda_streams.errors import PandaError

__all__ = ["Lane"]

_FLYING = 4
"""Unacknowledged batches of a shard: what bounds the memory while Kafka is slow or away."""


@dataclass(slots=True)
class _Flying:
    """A batch on its way."""

    future: asyncio.Future[Any]
    records: int
    since: float


class Lane:
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
