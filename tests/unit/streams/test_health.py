"""Health: what a worker says of itself holds in the middle of a rebalance and of an outage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from faust.types import TP

from panda_streams.streams.health import Health, WorkerHealth

HERE, THERE = TP("in", 0), TP("in", 1)


class FakeConsumer:
    """The consumer of a worker, which like aiokafka asserts that a partition is its own."""

    def __init__(self, *assigned: TP) -> None:
        self.assigned = set(assigned)
        self.ends: dict[TP, int | None] = {HERE: 7, THERE: 7}
        self._committed_offset: dict[TP, int] = {HERE: 5, THERE: 5}
        coordination = SimpleNamespace(done=lambda: False)
        coordinator = SimpleNamespace(_coordination_task=coordination)
        self._thread = SimpleNamespace(_consumer=SimpleNamespace(_coordinator=coordinator))

    def assignment(self) -> set[TP]:
        return self.assigned

    def highwater(self, place: TP) -> int | None:
        assert place in self.assigned, "Partition is not assigned"
        return self.ends[place]


def look(consumer: FakeConsumer, meanwhile: Callable[[], None] = lambda: None, *, handled: int = 5) -> Health:
    async def fetch_all_metadata() -> None:
        await asyncio.sleep(0)
        meanwhile()

    client = SimpleNamespace(fetch_all_metadata=fetch_all_metadata)
    app: Any = SimpleNamespace(
        consumer=consumer,
        producer=SimpleNamespace(_producer=SimpleNamespace(client=client)),
        tables=SimpleNamespace(actives_ready=True),
        rebalancing=False,
        monitor=SimpleNamespace(send_errors=0),
    )
    loop: Any = SimpleNamespace(positions={("in", 0): handled})
    return asyncio.run(WorkerHealth(app, loop, frozenset({"in"})).look())


def test_a_worker_is_ready_and_knows_what_waits() -> None:
    health = look(FakeConsumer(HERE, THERE), handled=6)

    assert health.ready
    assert health.lag == 1 + 2


def test_a_partition_that_leaves_while_kafka_is_asked_is_not_asked_for() -> None:
    consumer = FakeConsumer(HERE, THERE)

    health = look(consumer, lambda: consumer.assigned.remove(THERE))

    assert (health.ready, health.lag) == (True, 2)


def test_a_partition_whose_end_is_not_known_yet_is_not_taken_for_a_handled_one() -> None:
    consumer = FakeConsumer(HERE, THERE)
    consumer.ends[THERE] = None

    assert look(consumer).lag is None


def test_a_kafka_that_does_not_answer_makes_a_worker_not_ready() -> None:
    def refuse() -> None:
        raise ConnectionError("gone")

    health = look(FakeConsumer(HERE), refuse)

    assert not health.ready
    assert health.detail == "Kafka does not answer (ConnectionError)"
