"""Fetched records: those of the agents' inputs are unpacked as what the agents take, all others as aiokafka's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from aiokafka import ConsumerRecord
from aiokafka.consumer.fetcher import READ_UNCOMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from faust.types import TP

from panda_streams.streams import lists
from panda_streams.streams.inputs import Received


def unpacked(topic: str) -> list[object]:
    """Three records of a topic, as a fetch from offset 1 gives them."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=10_000,
    )
    for offset, key in enumerate((b"k", None, b"")):
        builder.append(offset, timestamp=0, key=key, value=b"v%d" % offset, headers=[])
    records = MemoryRecords(bytes(builder.build()))
    return list(PartitionRecords(TP(topic, 0), records, [], 1, None, None, True, READ_UNCOMMITTED))


def test_only_records_of_listed_topics_are_unpacked_as_received(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PartitionRecords, "_consumer_record", PartitionRecords._consumer_record)
    lists._unpack_as_received(frozenset({"listed"}))

    assert unpacked("listed") == [Received(1, None, b"v1"), Received(2, b"", b"v2")]
    assert [type(record) for record in unpacked("other")] == [ConsumerRecord, ConsumerRecord]


def test_what_was_sought_counts_as_delivered_once_it_has_come() -> None:
    place, consumer = TP("listed", 0), object.__new__(lists.ListConsumer)
    consumer.app = SimpleNamespace(consumer_generation_id=1)
    consumer._delivered, consumer._read_offset = {}, {place: 7}

    before = consumer.fetched(place)
    consumer._to_message(place, lists.RecordList([Received(7, None, b"v"), Received(8, None, b"v")]))

    assert (before, consumer.fetched(place)) == (0, 9)


async def _sought() -> list[tuple[str, TP, int]]:
    calls: list[tuple[str, TP, int]] = []

    class Thread:
        def seek(self, place: TP, offset: int) -> None:
            calls.append(("in the thread" if inside else "beside it", place, offset))

        async def call_thread(self, function: Callable[[TP, int], None], place: TP, offset: int) -> None:
            nonlocal inside
            inside = True
            function(place, offset)
            inside = False

    inside = False
    consumer = object.__new__(lists.ListConsumer)
    consumer._thread = Thread()
    await consumer._seek(TP("listed", 0), 7)
    return calls


def test_a_seek_is_done_in_the_thread_that_holds_the_fetched_records() -> None:
    assert asyncio.run(_sought()) == [("in the thread", TP("listed", 0), 7)]
