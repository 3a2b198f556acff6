"""Asks an account's risk to do something to its books, and waits for what becomes of it."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from panda_streams.codec import decode, encode
from panda_streams.errors import BadEvent
from panda_streams.events import Action, Completed

__all__ = ["ask"]


async def ask(options: dict[str, Any], topic: str, partition: int, action: Action, within_s: float) -> Completed | None:
    """Write an action and return what became of it; None if no arm has said so within `within_s` seconds.

    `options` are those of plain clients. Once this returns the action is in the log: an arm that starts later does it.
    Raises KafkaError.
    """
    place = TopicPartition(topic, partition)
    consumer = AIOKafkaConsumer(**options, enable_auto_commit=False, auto_offset_reset="none")
    producer = AIOKafkaProducer(**options, acks="all", enable_idempotence=True)
    await consumer.start()
    try:
        await producer.start()
        try:
            consumer.assign([place])
            consumer.seek(place, (await consumer.end_offsets([place]))[place])
            await producer.send_and_wait(topic, encode(action), key=action.namespace.encode(), partition=partition)
        finally:
            await producer.stop()
        deadline = asyncio.get_running_loop().time() + within_s
        while asyncio.get_running_loop().time() < deadline:
            for record in (await consumer.getmany(place, timeout_ms=200)).get(place, []):
                completed = _completed(record.value)
                if completed is not None and completed.action_id == action.action_id:
                    return completed
        return None
    finally:
        await consumer.stop()


def _completed(value: bytes | None) -> Completed | None:
    """A record of the audit topic, if it is an answer; actions are on it too."""
    try:
        return decode(Completed, value)
    except BadEvent:
        return None
