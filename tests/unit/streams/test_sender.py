"""The sender: rows are one batch of Kafka, outputs keep their order in each partition, an outage is waited out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from aiokafka.errors import KafkaTimeoutError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from panda_streams.streams import sender as sender_module
from panda_streams.streams.agent import Output
from panda_streams.streams.sender import Sender, partition_of

T = TypeVar("T")
Rows = list[tuple[bytes | None, bytes | None]]


class FakeProducer:
    """Kafka's side of a producer: the batches that it was handed, each with its records, in their order.

    Each of `refusals` times there is no room for a batch; what is acknowledged begins at `offset`.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.batches: list[tuple[str, int, Rows]] = []
        self.asked: list[str] = []
        self.refusals = 0
        self.offset = 40
        self.stopped = False

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self.stopped = True

    async def partitions_for(self, topic: str) -> None:
        self.asked.append(topic)

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(self.options["max_batch_size"], 0)

    async def send_batch(self, builder: BatchBuilder, topic: str, *, partition: int) -> asyncio.Future[Any]:
        if self.refusals:
            self.refusals -= 1
            raise KafkaTimeoutError
        assert builder.closed(), "somebody else could still append to it"
        records = MemoryRecords(bytes(builder._build())).next_batch()
        self.batches.append((topic, partition, [(record.key, record.value) for record in records]))
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        done.set_result(SimpleNamespace(offset=self.offset))
        return done


def use(
    monkeypatch: pytest.MonkeyPatch, what: Callable[[Sender, FakeProducer], Awaitable[T]]
) -> tuple[T, FakeProducer]:
    """What comes out of using a started sender of 4 partitions, and its producer."""
    made: list[FakeProducer] = []

    def make(**options: Any) -> FakeProducer:
        made.append(FakeProducer(**options))
        return made[-1]

    monkeypatch.setattr(sender_module, "AIOKafkaProducer", make)

    async def run() -> T:
        sender = Sender({"bootstrap_servers": "here"}, 4)
        await sender.start()
        try:
            return await what(sender, made[0])
        finally:
            await sender.stop()

    return asyncio.run(run()), made[0]


async def sent(sender: Sender, outputs: list[Output]) -> list[Any]:
    return list(await asyncio.gather(*await sender.send(outputs)))


@pytest.mark.parametrize(
    ("key", "murmur2"),
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536), (b"abc", 479470107)],
)
def test_a_key_has_the_partition_that_kafkas_own_clients_give_it(key: bytes, murmur2: int) -> None:
    # The hashes are those of the Java client's own test (UtilsTest.testMurmur2).
    assert [partition_of(key, count) for count in (1, 4, 7)] == [(murmur2 & 0x7FFFFFFF) % n for n in (1, 4, 7)]


def test_rows_are_appended_as_one_batch_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {b"x": b"1", b"gone": None, b"cursor": b"{}"}

    placed, producer = use(monkeypatch, lambda sender, _: sender.append("changelog", 2, rows))

    assert producer.batches == [("changelog", 2, list(rows.items()))]
    assert placed == (40, 42)


def test_a_batch_that_kafka_had_already_and_forgot_the_place_of_is_there_at_an_unknown_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def append(sender: Sender, producer: FakeProducer) -> tuple[int, int] | None:
        producer.offset = -1
        return await sender.append("changelog", 0, {b"x": b"1"})

    assert use(monkeypatch, append)[0] is None


def test_rows_that_do_not_fit_into_one_batch_are_refused_rather_than_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "MAX_WRITE_BYTES", 1000)
    rows: dict[bytes, bytes | None] = {b"x": b"1" * 600, b"y": b"1" * 600}

    with pytest.raises(ValueError, match="1202 bytes of rows for changelog-0: a micro-batch takes 1000"):
        use(monkeypatch, lambda sender, _: sender.append("changelog", 0, rows))


def test_outputs_keep_their_order_in_each_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = [
        Output("t", b"abc", b"1"),
        Output("t", b"", b"2", 0),
        Output("t", b"abc", b"3"),
        Output("u", b"abc", b"4", 1),
        Output("t", b"abc", b"5"),
    ]

    _, producer = use(monkeypatch, lambda sender, _: sent(sender, outputs))

    assert producer.batches == [
        ("t", partition_of(b"abc", 4), [(b"abc", b"1"), (b"abc", b"3"), (b"abc", b"5")]),
        ("t", 0, [(b"", b"2")]),
        ("u", 1, [(b"abc", b"4")]),
    ]


def test_every_output_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = [Output("t", b"", b"1", 0), Output("t", b"", b"2", 1), Output("u", b"", b"3", 0)]

    acknowledged, producer = use(monkeypatch, lambda sender, _: sent(sender, outputs))

    assert len(acknowledged) == len(producer.batches) == 3


def test_many_outputs_are_cut_into_batches_that_a_topic_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "_CHUNK_BYTES", 1000)
    outputs = [Output("t", b"", str(number).encode() * 400, 0) for number in range(5)]

    _, producer = use(monkeypatch, lambda sender, _: sent(sender, outputs))

    assert [len(records) for _, _, records in producer.batches] == [2, 2, 1]
    assert [record for _, _, records in producer.batches for record in records] == [(b"", o.value) for o in outputs]


def test_a_kafka_that_has_no_room_for_now_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def append(sender: Sender, producer: FakeProducer) -> tuple[int, int] | None:
        producer.refusals = 3
        return await sender.append("changelog", 0, {b"x": b"1"})

    placed, producer = use(monkeypatch, append)

    assert placed == (40, 40)
    assert len(producer.batches) == 1


def test_the_producer_is_idempotent_waits_for_all_replicas_and_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    _, producer = use(monkeypatch, lambda sender, _: sender.learn("changelog"))

    assert (producer.options["acks"], producer.options["enable_idempotence"]) == ("all", True)
    assert (producer.options["bootstrap_servers"], producer.asked, producer.stopped) == ("here", ["changelog"], True)
