"""Reads topics and pages in tests: plain clients that share nothing with the code under test."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition


@dataclass(frozen=True, slots=True)
class Line:
    """One record of a topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes


def read_topic(kafka: str, topic: str) -> list[Line]:
    """All records of a topic from its beginning to its end now."""

    async def read() -> list[Line]:
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False, auto_offset_reset="earliest")
        await consumer.start()
        try:
            partitions = [TopicPartition(topic, number) for number in range(4)]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            lines = []
            while any([await consumer.position(place) < end for place, end in ends.items()]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    lines += [Line(r.partition, r.offset, r.key, r.value) for r in records]
            return lines
        finally:
            await consumer.stop()

    return asyncio.run(read())


def is_beat(value: bytes) -> bool:
    """Whether a record only says how far its writer has come; such records are on signals.raw and behind it."""
    return value.startswith(b'{"kind":"beat"')


def write_record(kafka: str, topic: str, key: bytes, value: bytes, partition: int | None = None) -> None:
    """Append one record, as any other program could."""
    write_records(kafka, topic, [(key, value, partition)])


def write_records(kafka: str, topic: str, records: Iterable[tuple[bytes | None, bytes, int | None]]) -> None:
    """Append records of (key, value, partition or None), and return once all are acknowledged."""

    async def write() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=kafka)
        await producer.start()
        try:
            sent = [await producer.send(topic, value, key=key, partition=number) for key, value, number in records]
            await asyncio.gather(*sent)
        finally:
            await producer.stop()

    asyncio.run(write())


def get(url: str) -> tuple[int, Any]:
    """Status and JSON answer of a page; (0, None) while nothing listens."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())
    except OSError:
        return 0, None
