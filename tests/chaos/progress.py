"""How far the groups of a world are, read from Kafka."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

__all__ = ["behind", "delete_topics"]


async def behind(kafka: str, inputs: Mapping[str, Sequence[str]], partitions: int) -> dict[str, int]:
    """Records that the groups have not committed, by `group topic-partition`, where there are any.

    `inputs` maps each group to its topics. What is committed has had all its effects: with nothing left over, all
    groups together are at their end.
    """
    places = {topic: [TopicPartition(topic, n) for n in range(partitions)] for t in inputs.values() for topic in t}
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    await admin.start()
    try:
        await consumer.start()
        # The commits first: ends that were read before them could be behind.
        committed = {group: await admin.list_consumer_group_offsets(group) for group in inputs}
        ends = await consumer.end_offsets([place for some in places.values() for place in some])
    except KafkaError as error:
        if not error.retriable:
            raise
        return {f"an answer of Kafka ({error})": 1}
    finally:
        await consumer.stop()
        await admin.close()
    left = {}
    for group, topics in inputs.items():
        for place in (place for topic in topics for place in places[topic]):
            offset = committed[group][place].offset if place in committed[group] else 0
            if ends[place] > max(offset, 0):
                left[f"{group} {place.topic}-{place.partition}"] = ends[place] - max(offset, 0)
    return left


async def delete_topics(kafka: str, prefix: str) -> None:
    """Delete all topics of a world that has ended."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.delete_topics([topic for topic in await admin.list_topics() if topic.startswith(prefix)])
    finally:
        await admin.close()
