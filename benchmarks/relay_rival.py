"""The relay by hand: aiokafka and rocksdict, each row and each output acknowledged, commits in the background."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from rocksdict import Options, Rdict, WriteBatch

from benchmarks.commits import Commits
from benchmarks.market import PARTITIONS
from benchmarks.meter import Meter
from benchmarks.relay import RECORDS, Tally, add, encode, load, read, source, topic

__all__: list[str] = []


async def main() -> None:
    meter, left = Meter(), int(os.environ[RECORDS])
    hosts = os.environ["KAFKA_BROKER_URL"].removeprefix("kafka://")
    directory = Path(os.environ["PANDA_HOME"]) / "rival"
    directory.mkdir(parents=True)
    stores = [Rdict(str(directory / str(number)), Options(raw_mode=True)) for number in range(PARTITIONS)]
    rows: list[dict[str, Tally]] = [{} for _ in stores]
    changelog, out = topic("aiokafka-changelog"), topic("aiokafka")
    producer = AIOKafkaProducer(bootstrap_servers=hosts, acks="all", enable_idempotence=True)
    consumer = AIOKafkaConsumer(
        source(),
        bootstrap_servers=hosts,
        group_id=out,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await producer.start()
    await consumer.start()
    commits = Commits(consumer)
    for name in (changelog, out):
        await producer.partitions_for(name)
    meter.ready()
    while left > 0:
        fetched = await consumer.getmany(timeout_ms=1000)
        outputs: list[tuple[bytes, bytes, int]] = []
        changed: list[tuple[int, str]] = []
        for place, records in fetched.items():
            number = place.partition
            known = rows[number]
            new: dict[str, None] = {}
            for record in records:
                decoded = read(record.value)
                row = known.get(decoded.key)
                if row is None:
                    stored = stores[number].get(decoded.key.encode())
                    row = load(stored) if stored else Tally()
                known[decoded.key], said = add(row, decoded)
                new[decoded.key] = None
                outputs.append((decoded.key.encode(), said, number))
            changed += [(number, key) for key in new]
            left -= len(records)
        encoded = [(number, key.encode(), encode(rows[number][key])) for number, key in changed]
        sent = [await producer.send(changelog, row, key, number) for number, key, row in encoded]
        await asyncio.gather(*sent)
        batches = {place.partition: WriteBatch(raw_mode=True) for place in fetched}
        for number, key, row in encoded:
            batches[number].put(key, row)
        for number, batch in batches.items():
            stores[number].write(batch)
        sent = [await producer.send(out, said, key, number) for key, said, number in outputs]
        await asyncio.gather(*sent)
        commits.done(fetched)
    meter.done()
    await commits.stop()
    await consumer.stop()
    await producer.stop()
    for store in stores:
        store.close()


if __name__ == "__main__":
    uvloop.run(main())
