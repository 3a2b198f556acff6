"""The Kafka and Redis of a run: started once, filled before each contest, read back after it, stopped at the end."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from benchmarks.market import PARTITIONS, WORLD
from panda_streams.identity import Home
from panda_streams.servers import find_servers
from panda_streams.settings import Settings
from panda_streams.worlds import prepare
from tests.servers import RunningServers, run_servers

__all__ = ["Cluster", "World", "start_cluster"]

_BATCH = 900_000
"""Bytes of a filled batch: below the megabyte that a topic takes."""
_PORT_BASE = 23_900


class _Given(Settings):
    """Settings that come from nowhere but the arguments."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


@dataclass(frozen=True, slots=True)
class World:
    """A fresh world: topics under a prefix of its own, a home and a Redis database."""

    prefix: str
    kafka: str
    home: Path
    env: dict[str, str]
    """The environment of its processes."""

    def create(self, topics: Iterable[str], **config: str) -> None:
        """Create topics beside those of the world, by full name."""
        asyncio.run(self._create(list(topics), config))

    async def _create(self, topics: list[str], config: dict[str, str]) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
        await admin.start()
        try:
            answer = await admin.create_topics([NewTopic(name, PARTITIONS, 1, topic_configs=config) for name in topics])
            refused = [tuple(topic) for topic in answer.topic_errors if topic[1]]
            assert not refused, refused
        finally:
            await admin.close()

    async def delete(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
        await admin.start()
        try:
            await admin.delete_topics([topic for topic in await admin.list_topics() if topic.startswith(self.prefix)])
        finally:
            await admin.close()

    def fill(self, topic: str, logs: Mapping[int, Iterable[tuple[bytes | None, bytes]]]) -> None:
        """Append records (key, value) by partition."""
        asyncio.run(self._fill(topic, logs))

    async def _fill(self, topic: str, logs: Mapping[int, Iterable[tuple[bytes | None, bytes]]]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka, max_batch_size=_BATCH, linger_ms=0)
        await producer.start()
        try:
            sent = []
            for partition, records in logs.items():
                builder = producer.create_batch()
                for key, value in records:
                    if builder.append(timestamp=None, key=key, value=value) is None:
                        sent.append(await producer.send_batch(builder, topic, partition=partition))
                        builder = producer.create_batch()
                        builder.append(timestamp=None, key=key, value=value)
                sent.append(await producer.send_batch(builder, topic, partition=partition))
            await asyncio.gather(*sent)
        finally:
            await producer.stop()

    def read(self, topic: str) -> list[bytes]:
        """The values of a topic, partition by partition."""
        return asyncio.run(self._read(topic))

    async def _read(self, topic: str) -> list[bytes]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka, enable_auto_commit=False)
        await consumer.start()
        try:
            places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            ends = await consumer.end_offsets(places)
            values: dict[int, list[bytes]] = {place.partition: [] for place in places}
            while any([await consumer.position(place) < ends[place] for place in places]):
                for place, records in (await consumer.getmany(timeout_ms=500)).items():
                    values[place.partition] += [record.value for record in records]
            return [value for number in sorted(values) for value in values[number]]
        finally:
            await consumer.stop()


class Cluster:
    def __init__(self, directory: Path, servers: RunningServers) -> None:
        self.directory = directory
        self._servers = servers
        self._numbers = count(1)

    @contextmanager
    def world(self, **settings: str) -> Iterator[World]:
        """Prepare a fresh world and delete its topics at the end: clients pay for each topic that a Kafka has.

        `settings` are further environment variables of its processes.
        """
        number = next(self._numbers)
        home, kafka = self.directory / f"world-{number}", self._servers.kafka
        known = {field.alias for field in Settings.model_fields.values()}
        given = {
            "PANDA_HOME": str(home),
            "PANDA_WORLD": WORLD,
            "PANDA_TOPIC_PREFIX": f"w{number}.",
            "PANDA_PARTITIONS": str(PARTITIONS),
            "PANDA_PORT_BASE": str(self._servers.ports.base + 10),
            "KAFKA_BROKER_URL": f"kafka://{kafka}",
            "REDIS_URL": self._servers.redis(number),
            **settings,
        }
        kept = {name: value for name, value in os.environ.items() if name not in known}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        home.mkdir()
        made = _Given.model_validate(given)
        asyncio.run(prepare(made, find_servers(made)))
        world = World(f"w{number}.", kafka, home, {**kept, **given, "PATH": path})
        yield world
        asyncio.run(world.delete())


@contextmanager
def start_cluster() -> Iterator[Cluster]:
    """Run a Kafka and a Redis on ports and in a directory of their own."""
    port_base = int(os.environ.get("PANDA_BENCH_PORT_BASE", _PORT_BASE))
    jars = Home(Path(os.environ.get("PANDA_HOME") or ".panda").absolute()).jars
    with tempfile.TemporaryDirectory(prefix="panda-bench-") as name:
        directory = Path(name)
        with run_servers(directory, jars, port_base, lambda text: None) as servers:
            yield Cluster(directory, servers)
