"""Delivers whole fetched lists of records to Faust agents, and acknowledges only what the loop says.

Faust's own path costs 130 microseconds a record; one pseudo-record for each fetched list makes that a price per list.
Group membership, rebalancing, recovery, commits and the web server stay Faust's. Relies on private parts of Faust
0.15.3 and aiokafka 0.14.0, all of them in this module and checked by faust_fixes.check_versions; it is not needed any
more once Faust hands out lists itself, without acknowledging them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import faust
from aiokafka import conn
from aiokafka.consumer.fetcher import PartitionRecords
from faust.events import Event
from faust.topics import Topic
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP, ConsumerMessage

from panda_streams.streams.inputs import Received

__all__ = ["Delivery", "ListConsumer", "ListTopic", "RecordList", "install"]

_FETCH_WAIT_MS = 50
"""A fetch without data waits this long at the broker. One fetch is on its way at a time, and a partition that was not
part of it waits for its end; Faust's own 1,500 ms would hold up agents that wait for each other."""
_READ_AHEAD = 50 * 1024 * 1024
"""Bytes of an answer after which a connection stops reading until they are used: as many as the largest fetch. With
aiokafka's own 64 KiB each answer is read in dozens of pieces, with a pause after each."""
_HELD_LOOK_S = 0.02
_QUEUED_LISTS = 16
"""Lists that Faust may queue for an agent, which takes each at once."""


class RecordList(list[Any]):
    """What travels through Faust in the place of one record."""


class Delivery:
    """A fetched list of one partition, in the order of the log, as an agent gets it."""

    __slots__ = ("generation", "partition", "records", "topic")

    def __init__(self, topic: str, partition: int, records: Sequence[Received], generation: int) -> None:
        self.topic = topic
        self.partition = partition
        self.records = records
        self.generation = generation


class ListTopic(Topic):
    """A topic whose stream yields a Delivery for each fetched list."""

    @classmethod
    def of(cls, app: faust.App, topics: Iterable[str]) -> ListTopic:
        return cls(app, topics=list(topics), maxsize=_QUEUED_LISTS, key_type=bytes, value_type=bytes)

    def _compile_decode(self) -> None:
        async def decode(message: Any, *, propagate: bool = False) -> Event:
            delivery = Delivery(message.topic, message.partition, message.value, message.generation_id)
            return Event(self.app, None, delivery, None, message)

        self.decode = decode


class _Thread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread, with a shorter wait at the broker."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = _FETCH_WAIT_MS
        return consumer


class ListConsumer(driver.Consumer):
    """Faust's consumer, with lists for the topics of `listed`.

    `starts` gives the offset from which each assigned partition is wanted, where the rows know it better than the
    group's commits; `release` is awaited when partitions are about to be taken away.
    """

    listed: frozenset[str] = frozenset()
    starts: Callable[[], Mapping[TP, int]] = staticmethod(dict)
    assigned: Callable[[int], None] = staticmethod(lambda generation: None)
    release: Callable[[], Awaitable[None]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._done: dict[TP, int] = {}
        self._delivered: dict[TP, int] = {}
        self._held: set[TP] = set()
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> Any:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    # Delivery

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109  Faust's own
        if active_partitions is not None and self._held:
            # Nothing wakes this call when a partition is let go: look again soon.
            active_partitions = active_partitions - self._held
            timeout = min(timeout, _HELD_LOOK_S)
            if not active_partitions:
                # To aiokafka an empty set means every partition.
                await asyncio.sleep(timeout)
                return {}
        generation = self.app.consumer_generation_id
        fetched = await super()._getmany(active_partitions, timeout)
        if self.app.rebalancing or self.app.consumer_generation_id != generation:
            # Of an assignment that has ended meanwhile: Faust has no place for them any more, and would end the worker.
            # The next one seeks to where the rows stand.
            return {place: records for place, records in fetched.items() if place.topic not in self.listed}
        for place, records in fetched.items():
            if place.topic in self.listed and records:
                fetched[place] = [RecordList(records)]
        return fetched

    def _to_message(self, tp: TP, record: Any) -> Any:
        if type(record) is not RecordList:
            return super()._to_message(tp, record)
        self._delivered[tp] = record[-1].offset + 1
        message = ConsumerMessage(
            tp.topic,
            tp.partition,
            record[-1].offset,
            0.0,  # times are in the values; only Faust's windowed tables would look here
            0,
            None,
            None,
            record,
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )
        # To Faust it is acknowledged and tracked from the start: no rebalance waits for it, and nothing that the
        # stream does when the body has passed it is taken for an acknowledgement.
        message.acked = message.tracked = True
        return message

    def hold(self, place: TP, on: bool) -> None:
        """Fetch no more from a partition for now, or again: it alone, whatever the others do."""
        if on:
            self._held.add(place)
        else:
            self._held.discard(place)

    def on_buffer_full(self, tp: TP) -> None:
        # The stock answer stops fetching for a whole second. The agents take lists at once and hold partitions back.
        if tp.topic not in self.listed:
            super().on_buffer_full(tp)

    # Acknowledgement

    def handled(self, place: TP, offset: int) -> None:
        """Acknowledge everything before `offset`: the next commit says so."""
        if offset > self._done.get(place, 0):
            self._done[place] = offset
            self._acked[place]  # a partition is looked at only if it has an entry here

    def acknowledged(self, place: TP) -> int:
        """Everything before this offset is acknowledged, committed or not."""
        return self._done.get(place, 0)

    def fetched(self, place: TP) -> int:
        """Everything before this offset was delivered; 0 if nothing was."""
        # Faust's own count means the last record once one has come, and the next one as long as none has.
        return self._delivered.get(place, 0)

    def is_held(self, place: TP) -> bool:
        return place in self._held

    def _new_offset(self, tp: TP) -> int | None:
        return self._done.get(tp) if tp.topic in self.listed else super()._new_offset(tp)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        # A gap between pseudo-records is their own length, and a real one is the loop's to close.
        if tp.topic not in self.listed:
            await super()._add_gap(tp, offset_from, offset_to)

    # Rebalances

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await self.release()
        # The stock handler forgets what was acknowledged and not yet committed.
        await self.commit()
        self._done.clear()
        self._delivered.clear()
        self._held.clear()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self.assigned(generation_id)
        self._done.clear()
        self._delivered.clear()
        self._held.clear()
        await super().on_partitions_assigned(assigned, generation_id)

    async def _seek(self, partition: TP, offset: int) -> None:
        # Faust seeks from the main thread, in the middle of what the consumer's own thread does with the same records:
        # now and then that ends the worker with a KeyError.
        await self._thread.call_thread(self._thread.seek, partition, offset)

    async def perform_seek(self) -> None:
        """Go to the committed offsets, and from there to where the rows stand.

        aiokafka does not go back to a committed 0, so a new group could lose what was fetched before its first
        rebalance; and a commit may be ahead of rows that were rebuilt from an older changelog.
        """
        await super().perform_seek()
        for place, offset in self.starts().items():
            await self.seek(place, offset)


def install(
    app: faust.App,
    topics: Iterable[str],
    starts: Callable[[], Mapping[TP, int]],
    assigned: Callable[[int], None],
    release: Callable[[], Awaitable[None]],
) -> None:
    """Make `app` deliver `topics` as lists."""
    conn.READER_LIMIT = _READ_AHEAD
    _unpack_as_received(frozenset(topics))

    class Consumer(ListConsumer):
        listed = frozenset(topics)

    Consumer.starts = staticmethod(starts)
    Consumer.assigned = staticmethod(assigned)
    Consumer.release = staticmethod(release)
    app.transport.Consumer = Consumer


def _unpack_as_received(topics: frozenset[str]) -> None:
    """Make aiokafka unpack the records of `topics` as Received: its own class has eleven fields, and takes twice as
    long as all else that is done to unpack one."""
    original = PartitionRecords._consumer_record

    def consumer_record(self: Any, place: TP, record: Any) -> Any:
        if place.topic in topics:
            return Received(record.offset, record.key, record.value)
        return original(self, place, record)

    PartitionRecords._consumer_record = consumer_record
