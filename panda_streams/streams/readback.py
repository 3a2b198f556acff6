"""Reads a range of one partition again, apart from any group."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError

__all__ = ["LogGone", "ReadBack"]

_log = logging.getLogger(__name__)

_RETRY_S = 0.5

T = TypeVar("T")


class LogGone(Exception):
    """Retention has removed a record that must be read again."""


class ReadBack:
    """A plain consumer that reads what has passed; one read at a time."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._consumer: AIOKafkaConsumer | None = None
        self._starting = asyncio.Lock()
        self._reading = asyncio.Lock()

    async def read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[Any]:
        """Yield the records with start <= offset < end, in order; iterate to the end, for other readers wait.

        Raises LogGone if the log begins after `start`.
        """
        if start >= end:
            return
        async with self._reading:
            async for record in self._read(topic, partition, start, end):
                yield record

    async def _read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[Any]:
        consumer, place = await self._started(), TopicPartition(topic, partition)
        first = (await _answered(lambda: consumer.beginning_offsets([place])))[place]
        if first > start:
            raise LogGone(
                f"{topic}-{partition} begins at {first}, but {start} must be read again: this worker stood still for "
                "longer than retention.ms of that topic keeps records (for ticks, PANDA_TICK_RETENTION_HOURS sets it); "
                "only another world can go on"
            )
        # Nothing is awaited between the two: the client would look for a position of its own.
        consumer.assign([place])
        consumer.seek(place, start)
        while await consumer.position(place) < end:
            for record in (await consumer.getmany(place, timeout_ms=500)).get(place, []):
                if record.offset >= end:
                    return
                yield record

    async def start(self, topic: str, partition: int) -> int:
        """The offset of the first record that is kept."""
        place = TopicPartition(topic, partition)
        consumer = await self._started()
        return int((await _answered(lambda: consumer.beginning_offsets([place])))[place])

    async def end(self, topic: str, partition: int) -> int:
        """The offset that the next record of the partition will have."""
        place = TopicPartition(topic, partition)
        consumer = await self._started()
        return int((await _answered(lambda: consumer.end_offsets([place])))[place])

    async def _started(self) -> AIOKafkaConsumer:
        async with self._starting:
            if self._consumer is None:
                self._consumer = await _answered(self._start)
            return self._consumer

    async def _start(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(**self._options, enable_auto_commit=False, auto_offset_reset="none")
        try:
            await consumer.start()
        except KafkaError:
            await consumer.stop()
            raise
        return consumer

    async def stop(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None


async def _answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until Kafka answers: a worker waits for the end of an outage, as it does when it sends."""
    while True:
        try:
            return await ask()
        except KafkaError as error:
            # A timeout is not marked as retriable.
            if not (error.retriable or isinstance(error, KafkaTimeoutError)):
                raise
            _log.warning("the log cannot be read again for now: %s: %s", type(error).__name__, error)
            await asyncio.sleep(_RETRY_S)
