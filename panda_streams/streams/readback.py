"""Reads a range of one partition again, apart from any group."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

__all__ = ["LogGone", "ReadBack"]


class LogGone(Exception):
    """Retention has removed a record that must be read again."""


class ReadBack:
    """A plain consumer that reads what has passed; one read at a time."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._consumer: AIOKafkaConsumer | None = None

    async def read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[Any]:
        """Yield the records with start <= offset < end, in order; stop the iteration early at will.

        Raises LogGone if the log begins after `start`.
        """
        if start >= end:
            return
        consumer, place = await self._started(), TopicPartition(topic, partition)
        first = (await consumer.beginning_offsets([place]))[place]
        if first > start:
            raise LogGone(f"{topic}-{partition} begins at {first}, but {start} must be read again")
        # Nothing is awaited between the two: the client would look for a position of its own.
        consumer.assign([place])
        consumer.seek(place, start)
        while await consumer.position(place) < end:
            for record in (await consumer.getmany(place, timeout_ms=500)).get(place, []):
                if record.offset >= end:
                    return
                yield record

    async def end(self, topic: str, partition: int) -> int:
        """The offset that the next record of the partition will have."""
        place = TopicPartition(topic, partition)
        return int((await (await self._started()).end_offsets([place]))[place])

    async def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            self._consumer = AIOKafkaConsumer(**self._options, enable_auto_commit=False, auto_offset_reset="none")
            await self._consumer.start()
        return self._consumer

    async def stop(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None
