"""Compacted topics of levels: read whole at start, then followed, by every worker and without a group."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from mode import Service

__all__ = ["LevelFollower", "publish_level", "read_levels"]

_log = logging.getLogger(__name__)


async def read_levels(options: dict[str, Any], topic: str) -> dict[bytes, bytes]:
    """Read a compacted topic to its end: the last value of each key."""
    consumer = AIOKafkaConsumer(**options, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        levels: dict[bytes, bytes] = {}
        await _catch_up(consumer, topic, lambda record: levels.__setitem__(record.key, record.value))
        return levels
    finally:
        await consumer.stop()


async def publish_level(options: dict[str, Any], topic: str, key: bytes, value: bytes) -> int:
    """Write one level and return once it is acknowledged: its offset."""
    producer = AIOKafkaProducer(**options, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        return int((await producer.send_and_wait(topic, value, key=key)).offset)
    finally:
        await producer.stop()


async def _catch_up(consumer: AIOKafkaConsumer, topic: str, apply: Callable[[Any], None]) -> None:
    partitions = [TopicPartition(topic, number) for number in sorted(await _partitions(consumer, topic))]
    consumer.assign(partitions)
    ends = await consumer.end_offsets(partitions)
    while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
        for records in (await consumer.getmany(*partitions, timeout_ms=200)).values():
            for record in records:
                apply(record)


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    while not (found := consumer.partitions_for_topic(topic)):
        # A plain consumer learns of a topic only when it asks for it.
        consumer._client.add_topic(topic)
        await consumer._client.force_metadata_update()
    return set(found)


class LevelFollower(Service):
    """Keeps the levels of some compacted topics: whole once started, and new within a moment.

    `apply(topic, key, value)` is called for each record, in the order of its partition, first for all that was there
    when the service started: `start` returns after that, so that a worker handles nothing under an older level.
    """

    def __init__(
        self, options: dict[str, Any], topics: tuple[str, ...], apply: Callable[[str, bytes, bytes], None]
    ) -> None:
        super().__init__()
        self._options = options
        self._topics = topics
        self._apply = apply
        self._consumer: AIOKafkaConsumer | None = None

    async def on_start(self) -> None:
        consumer = AIOKafkaConsumer(**self._options, enable_auto_commit=False, auto_offset_reset="earliest")
        await consumer.start()
        self._consumer = consumer
        assigned = []
        for topic in self._topics:
            await _catch_up(consumer, topic, self._record)
            assigned += [(partition, await consumer.position(partition)) for partition in consumer.assignment()]
        consumer.assign([partition for partition, _ in assigned])
        for partition, position in assigned:
            consumer.seek(partition, position)

    def _record(self, record: Any) -> None:
        self._apply(record.topic, record.key or b"", record.value or b"")

    @Service.task
    async def _follow(self) -> None:
        assert self._consumer is not None
        while not self.should_stop:
            try:
                for records in (await self._consumer.getmany(timeout_ms=300)).values():
                    for record in records:
                        self._record(record)
            except KafkaError as error:
                _log.warning("levels cannot be read for now: %s: %s", type(error).__name__, error)
                await asyncio.sleep(1)

    async def on_stop(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()
