"""Latency of one hop: from a record in the log to its output in the log, with a row and both acknowledgements.

The relay (relay.py) gets 200 records a second over 4 partitions, evenly spaced and in bursts of ten. A reader sees both
logs: what it takes to see a record is on both sides of the difference.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from statistics import median, quantiles

import click
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.cluster import Cluster, World
from benchmarks.contest import ROUNDS, running
from benchmarks.loop import CONTENDERS
from benchmarks.market import PARTITIONS
from benchmarks.measure import Result
from benchmarks.relay import RECORDS, read, record

_RATE = 200
_SECONDS = 10
_WARM_S = 2
_BURSTS = {"even": 1, "bursts of ten": 10}
_LATE_S = 10.0
_FOR_EVER = str(10**9)


class _Reader:
    """Notes when the records of two topics come by, by sequence."""

    def __init__(self, world: World, topics: tuple[str, str]) -> None:
        self._consumer = Consumer({"bootstrap.servers": world.kafka, "group.id": "reader", "enable.auto.commit": False})
        self._consumer.assign([TopicPartition(topic, number, 0) for topic in topics for number in range(PARTITIONS)])
        self.seen: dict[str, dict[int, int]] = {topic: {} for topic in topics}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while not self._stopped.is_set():
            message = self._consumer.poll(0.2)
            if message is None or message.error() is not None:
                continue
            seen = time.monotonic_ns()
            topic, value = message.topic(), message.value()
            assert topic is not None
            assert value is not None
            self.seen[topic].setdefault(read(value).sequence, seen)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        self._consumer.close()


def _send(producer: Producer, topic: str, sequences: range, burst: int) -> None:
    """Send at the rate, `burst` records at a time, each to the next partition."""
    begun = time.monotonic()
    for place, sequence in enumerate(sequences):
        wait = begun + place // burst * burst / _RATE - time.monotonic()
        if wait > 0:
            producer.poll(0)
            time.sleep(wait)
        key, value = record(sequence)
        producer.produce(topic, value, key, sequence % PARTITIONS)
    producer.flush()


def _hop(world: World, name: str) -> Iterator[tuple[str, list[float]]]:
    """Latencies in milliseconds, pattern by pattern."""
    source, target = f"{world.prefix}relay-{name}", world.prefix + name
    env = {**world.env, RECORDS: _FOR_EVER, "BENCH_SOURCE": f"relay-{name}"}
    with running(name, CONTENDERS[name], env, world.home) as contender:
        contender.wait("ready")
        producer = Producer({"bootstrap.servers": world.kafka, "acks": "all", "linger.ms": 0})
        reader = _Reader(world, (source, target))
        try:
            first = 0
            for pattern, burst in _BURSTS.items():
                warm = range(first, first + _RATE * _WARM_S)
                counted = range(warm.stop, warm.stop + _RATE * _SECONDS)
                _send(producer, source, warm, burst)
                _send(producer, source, counted, burst)
                _await(reader, target, counted)
                came, went = reader.seen[source], reader.seen[target]
                yield pattern, [(went[sequence] - came[sequence]) / 1e6 for sequence in counted]
                first = counted.stop
        finally:
            reader.stop()


def _await(reader: _Reader, target: str, counted: range) -> None:
    deadline = time.monotonic() + _LATE_S
    while any(sequence not in seen for seen in reader.seen.values() for sequence in counted):
        missing = [sequence for sequence in counted if sequence not in reader.seen[target]]
        assert time.monotonic() < deadline, f"{len(missing)} of {len(counted)} outputs are missing"
        time.sleep(0.05)


def measure(cluster: Cluster, rounds: int = ROUNDS) -> list[Result]:
    click.echo(f"latency: {_RATE} records a second for {_SECONDS} s")
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for number in range(1, rounds + 1):
        with cluster.world() as world:
            world.create(world.prefix + topic for name in CONTENDERS for topic in (f"relay-{name}", name))
            world.create([f"{world.prefix}aiokafka-changelog"])
            for name in CONTENDERS:
                for pattern, latencies in _hop(world, name):
                    centiles = quantiles(latencies, n=100)
                    found.setdefault((name, pattern), []).append((centiles[49], centiles[98]))
                    shown = ", ".join(f"p{centile} {centiles[centile - 1]:.2f} ms" for centile in (50, 90, 99))
                    click.echo(f"  round {number}, {name}, {pattern}: {shown}")
    return [
        Result.at_most(
            f"latency of a hop in ms, {pattern}, {centile}, against aiokafka",
            median(one[place] for one in found["worker", pattern]),
            median(one[place] for one in found["aiokafka", pattern]),
            goal,
        )
        for pattern in _BURSTS
        for place, (centile, goal) in enumerate({"p50": 2, "p99": 3}.items())
    ]
