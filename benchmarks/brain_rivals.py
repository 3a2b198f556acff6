"""What the brain is measured against: the same decoding, steps and signals by hand on aiokafka and on librdkafka.

`python -m benchmarks.brain_rivals aiokafka|librdkafka`; brain_stock.py is the third.
"""

from __future__ import annotations

import asyncio
import os
import sys

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import Consumer, Producer

from agents.brain.shard import Shard, step
from benchmarks.commits import Commits
from benchmarks.market import PARTITIONS
from benchmarks.meter import Meter
from panda_streams.brokers.port import registered_brokers
from panda_streams.codec import decode_market, encode
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.ticks import Place
from panda_streams.events import TickBatch
from panda_streams.instrument_files import load_instruments
from panda_streams.settings import load_settings
from panda_streams.streams.sender import partition_of
from strategies.config import load_strategies
from strategies.interface import build

__all__ = ["HOME", "KEY", "RECORDS", "Desk", "hosts", "topic"]

KEY = b"paper"
HOME = partition_of(KEY, PARTITIONS)
RECORDS = "BENCH_RECORDS"
"""Environment variable: how many records are to be handled."""


class Desk:
    """The strategies and what they know, shard by shard."""

    def __init__(self) -> None:
        settings = load_settings()
        instruments = load_instruments(settings.instruments)
        configs = load_strategies(settings.strategies, instruments, registered_brokers())
        strategies = [build(config) for config in configs]
        self._map = ShardMap(PARTITIONS, instruments)
        self._shards = [Shard(strategies) for _ in range(PARTITIONS)]

    def signals(self, partition: int, offset: int, value: bytes) -> list[bytes]:
        """The signals at a record, encoded."""
        batch = decode_market(value)
        if not isinstance(batch, TickBatch):
            return []
        place = Place(batch.source, batch.run, partition, offset)
        signals, failures = step(self._shards[partition], batch, place, self._map)
        assert not failures, failures
        return [encode(signal) for signal in signals]


def topic(name: str) -> str:
    return f"{os.environ['PANDA_TOPIC_PREFIX']}{name}"


def hosts() -> str:
    return os.environ["KAFKA_BROKER_URL"].removeprefix("kafka://")


async def run_aiokafka() -> None:
    desk, meter, left = Desk(), Meter(), int(os.environ[RECORDS])
    out = topic("aiokafka")
    producer = AIOKafkaProducer(bootstrap_servers=hosts(), acks="all", enable_idempotence=True)
    consumer = AIOKafkaConsumer(
        topic("market.ticks"),
        bootstrap_servers=hosts(),
        group_id=out,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await producer.start()
    await consumer.start()
    commits = Commits(consumer)
    meter.ready()
    while left:
        sent = []
        fetched = await consumer.getmany(timeout_ms=1000)
        for place, records in fetched.items():
            for record in records:
                for signal in desk.signals(place.partition, record.offset, record.value):
                    sent.append(await producer.send(out, signal, KEY, HOME))
            left -= len(records)
        await asyncio.gather(*sent)
        commits.done(fetched)
    meter.done()
    await commits.stop()
    await consumer.stop()
    await producer.stop()


def run_librdkafka() -> None:
    desk, meter, left = Desk(), Meter(), int(os.environ[RECORDS])
    out = topic("librdkafka")
    producer = Producer({"bootstrap.servers": hosts(), "acks": "all", "enable.idempotence": True, "linger.ms": 0})
    consumer = Consumer(
        {
            "bootstrap.servers": hosts(),
            "group.id": out,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    assigned = []
    consumer.subscribe([topic("market.ticks")], on_assign=lambda _, places: assigned.extend(places))
    first = []
    while not assigned:
        first = consumer.consume(1, timeout=0.1)
    meter.ready()
    while left:
        records, first = first or consumer.consume(2000, timeout=1.0), []
        for record in records:
            assert record.error() is None, record.error()
            partition, offset, value = record.partition(), record.offset(), record.value()
            assert partition is not None
            assert offset is not None
            assert value is not None
            for signal in desk.signals(partition, offset, value):
                producer.produce(out, signal, KEY, HOME)
        left -= len(records)
        producer.flush()
        if records:
            consumer.commit(asynchronous=False)
    meter.done()
    consumer.close()


if __name__ == "__main__":
    if sys.argv[1] == "aiokafka":
        uvloop.run(run_aiokafka())
    else:
        run_librdkafka()
