"""Creates the topics of a world and checks them: a worker never starts on missing or wrong ones."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from panda_streams.errors import TopicsError
from panda_streams.settings import Settings
from panda_streams.streams.client import client_options
from panda_streams.topics import TopicSpec

__all__ = ["check_topics", "create_topics"]


async def create_topics(settings: Settings, hosts: str, specs: Mapping[str, TopicSpec]) -> list[str]:
    """Create those topics that do not exist and check all; return the names of the new ones."""
    admin = AIOKafkaAdminClient(**client_options(settings, hosts))
    await admin.start()
    try:
        existing = set(await admin.list_topics())
        new = [name for name in specs if name not in existing]
        if new:
            answer = await admin.create_topics(
                [
                    NewTopic(
                        name,
                        settings.partitions,
                        settings.replication,
                        topic_configs=specs[name].configs(settings.tick_retention_hours),
                    )
                    for name in new
                ],
                timeout_ms=20_000,
            )
            for name, code, *message in answer.topic_errors:
                if code not in (0, TopicAlreadyExistsError.errno):
                    raise TopicsError(
                        f"topic {name} cannot be created: {for_code(code).__name__} {message[0] if message else ''}",
                        fix="check PANDA_REPLICATION against the number of brokers, and the user's rights",
                    )
    finally:
        await admin.close()
    await check_topics(settings, hosts, list(specs))
    return new


async def check_topics(settings: Settings, hosts: str, names: list[str], *, timeout_s: float = 10.0) -> None:
    """Raise TopicsError unless every topic exists with PANDA_PARTITIONS partitions, all with a leader."""
    admin = AIOKafkaAdminClient(**client_options(settings, hosts))
    await admin.start()
    try:
        deadline = asyncio.get_running_loop().time() + timeout_s
        while wrong := _wrong(await admin.describe_topics(names), settings.partitions):
            # A topic that was just created has no leader for some milliseconds; a wrong count never mends.
            if asyncio.get_running_loop().time() > deadline or any("partitions" in text for text in wrong):
                raise TopicsError(
                    "; ".join(wrong),
                    fix="`panda topics create` makes what is missing; a count is for a world's life: set "
                    "PANDA_PARTITIONS to it, or use another world",
                )
            await asyncio.sleep(0.1)
    finally:
        await admin.close()


def _wrong(described: list[dict[str, object]], partitions: int) -> list[str]:
    wrong = []
    for topic in described:
        name, found = topic["topic"], topic["partitions"]
        assert isinstance(found, list)
        if topic["error_code"] != 0:
            wrong.append(f"topic {name} is missing")
        elif len(found) != partitions:
            wrong.append(f"topic {name} has {len(found)} partitions instead of {partitions}")
        elif any(partition["leader"] < 0 for partition in found):
            wrong.append(f"topic {name} has no leader")
    return wrong
