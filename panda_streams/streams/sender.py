"""Sends what the loop writes and says: rows of a micro-batch in one piece, outputs by topic and partition."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError
from aiokafka.partitioner import murmur2

from panda_streams.streams.agent import Output
from panda_streams.streams.rows import MAX_WRITE_BYTES

__all__ = ["OUTAGE_MS", "Sender", "partition_of"]

OUTAGE_MS = 1_200_000
"""An outage of Kafka that is waited out: after it the producer gives a batch up, and the worker ends."""
_CHUNK_BYTES = 512 * 1024
"""Bytes of one batch of outputs: below the megabyte that a topic takes by default."""


@lru_cache(maxsize=65_536)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key, as Kafka's own clients decide it."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


class Sender:
    """The one producer of a worker: idempotent, in order in each partition, every acknowledgement awaited."""

    def __init__(self, options: Mapping[str, Any], partitions: int) -> None:
        self._options = options
        self._partitions = partitions
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect; raise KafkaError if that fails."""
        self._producer = AIOKafkaProducer(
            **self._options,
            acks="all",
            enable_idempotence=True,
            # Acknowledgements are awaited: a record that lingers only delays the one that waits for it.
            linger_ms=0,
            max_batch_size=MAX_WRITE_BYTES,
            max_request_size=MAX_WRITE_BYTES + 65_536,
            request_timeout_ms=OUTAGE_MS,
        )
        await self._producer.start()

    async def learn(self, topic: str) -> None:
        """Ask where a topic is that will be written, so that the first record does not wait for the answer."""
        await self._started.partitions_for(topic)

    async def stop(self) -> None:
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None

    async def append(self, topic: str, partition: int, rows: Mapping[bytes, bytes | None]) -> tuple[int, int] | None:
        """Append rows as one batch of Kafka, whole or not at all; return the offsets of the first and the last.

        None if Kafka had the batch already and no longer knows where: it is there, and its place must be asked for.
        """
        producer = self._started
        builder = producer.create_batch()
        for key, value in rows.items():
            if builder.append(timestamp=None, key=key, value=value) is None:
                size = sum(len(key) + len(value or b"") for key, value in rows.items())
                raise ValueError(f"{size} bytes of rows for {topic}-{partition}: a micro-batch takes {MAX_WRITE_BYTES}")
        metadata = await (await self._hand_over(builder, topic, partition))
        if metadata.offset < 0:
            return None
        return metadata.offset, metadata.offset + len(rows) - 1

    async def send(self, outputs: Sequence[Output]) -> list[Awaitable[Any]]:
        """Hand records over, in order in each partition; each returned awaitable ends when Kafka has acknowledged."""
        producer = self._started
        lanes: dict[tuple[str, int], list[Output]] = {}
        for output in outputs:
            partition = output.partition
            if partition is None:
                partition = partition_of(output.key, self._partitions)
            lanes.setdefault((output.topic, partition), []).append(output)
        sent: list[Awaitable[Any]] = []
        for (topic, partition), lane in lanes.items():
            builder, size = producer.create_batch(), 0
            for output in lane:
                if size and size + len(output.value) > _CHUNK_BYTES:
                    sent.append(await self._hand_over(builder, topic, partition))
                    builder, size = producer.create_batch(), 0
                if builder.append(timestamp=None, key=output.key, value=output.value) is None:
                    raise ValueError(f"a record of {len(output.value)} bytes for {topic} does not fit into a batch")
                size += len(output.value)
            sent.append(await self._hand_over(builder, topic, partition))
        return sent

    @property
    def _started(self) -> AIOKafkaProducer:
        assert self._producer is not None, "the sender has not been started"
        return self._producer

    async def _hand_over(self, builder: Any, topic: str, partition: int) -> asyncio.Future[Any]:
        builder.close()
        while True:
            try:
                future: asyncio.Future[Any] = await self._started.send_batch(builder, topic, partition=partition)
                return future
            except KafkaTimeoutError:
                continue  # no room yet: Kafka is slow or away, and the producer keeps trying
