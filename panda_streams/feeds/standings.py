"""Standings: the last record of each shard, read from Kafka, from which a feed goes on."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from aiokafka import AIOKafkaConsumer, TopicPartition

from panda_streams.codec import decode_market
from panda_streams.errors import BadEvent, PandaError
from panda_streams.events import Beat, TickBatch
from panda_streams.feeds.batching import Standing

__all__ = ["Last", "check_start", "event_clock", "reached_by", "read_last", "standing_of"]

_READ_S = 20.0
_FIX = "use another world: PANDA_WORLD=replay:<name>, or `panda up --feed FILE`, which gives each recording its own"


class Last(NamedTuple):
    """The last record of a shard, and the offset that follows it."""

    value: TickBatch | Beat
    next_offset: int


async def read_last(options: dict[str, Any], topic: str, partitions: int) -> dict[int, Last]:
    """Read the last record of each partition; one that has never had any is left out.

    Raises PandaError if retention has removed all of a partition, or its last record cannot be decoded: then nobody
    can say where the shard stands.
    """
    places = [TopicPartition(topic, number) for number in range(partitions)]
    consumer = AIOKafkaConsumer(**options, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(_READ_S):
            begins = await consumer.beginning_offsets(places)
            ends = await consumer.end_offsets(places)
            gone = [place.partition for place in places if ends[place] > 0 and begins[place] == ends[place]]
            if gone:
                raise PandaError(
                    f"retention has removed every tick of {topic}, partitions {gone}: nobody can say where they stand",
                    fix=f"{_FIX}; PANDA_TICK_RETENTION_HOURS keeps ticks longer",
                )
            wanted = {place for place in places if ends[place] > 0}
            found: dict[int, Last] = {}
            if wanted:
                consumer.assign(sorted(wanted))
                for place in wanted:
                    consumer.seek(place, ends[place] - 1)
            while len(found) < len(wanted):
                for place, records in (await consumer.getmany(timeout_ms=200)).items():
                    for record in records:
                        if record.offset == ends[place] - 1:
                            found[place.partition] = Last(_decode(place, record), ends[place])
            return found
    except TimeoutError:
        raise PandaError(
            f"the end of {topic} could not be read in {_READ_S:g} s", fix="check the Kafka brokers"
        ) from None
    finally:
        await consumer.stop()


def _decode(place: TopicPartition, record: Any) -> TickBatch | Beat:
    try:
        return decode_market(record.value)
    except BadEvent as error:
        raise PandaError(
            f"the last record of {place.topic}-{place.partition}, offset {record.offset}, is no feed's: {error}",
            fix=f"find out who else writes there; then {_FIX}",
        ) from None


def standing_of(last: dict[int, Last], source: str, run: str) -> dict[int, Standing]:
    """Where the shards stand in this run; a shard without an entry has nothing of it."""
    return {
        shard: Standing.of(record.value)
        for shard, record in last.items()
        if (record.value.source, record.value.run) == (source, run)
    }


def check_start(last: dict[int, Last], source: str, run: str, begins: int) -> None:
    """Raise PandaError if a run that begins after event time `begins` would turn a shard's time back."""
    foreign = [record.value for record in last.values() if (record.value.source, record.value.run) != (source, run)]
    latest = max(foreign, key=_reached, default=None)
    if latest is not None and begins < _reached(latest):
        raise PandaError(
            f"world {latest.world} has reached {event_clock(_reached(latest))} with {latest.source} {latest.run}; "
            f"{source} {run} begins before that, at {event_clock(begins)}",
            fix=f"go on with the feed that this world had, or {_FIX}",
        )


def reached_by(last: dict[int, Last]) -> int | None:
    """Event time that the furthest shard has reached; None if the world has had no feed."""
    return max((_reached(record.value) for record in last.values()), default=None)


def _reached(record: TickBatch | Beat) -> int:
    return record.reached if isinstance(record, Beat) else record.time


def event_clock(time: int) -> str:
    """An event time as people of the market read it."""
    return f"{datetime.fromtimestamp(time / 1000, ZoneInfo('Asia/Kolkata')):%Y-%m-%d %H:%M:%S} IST"
