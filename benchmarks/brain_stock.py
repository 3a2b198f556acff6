"""The brain's steps on stock Faust: `faust -A benchmarks.brain_stock worker`."""

from __future__ import annotations

import os
from typing import Any

import faust

from benchmarks.brain_rivals import HOME, KEY, RECORDS, Desk, hosts, topic
from benchmarks.market import PARTITIONS
from benchmarks.meter import Meter

__all__ = ["app"]


def _build() -> faust.App:
    """Make a worker as Faust's documentation shows it, with raw bytes."""
    desk, meter, left = Desk(), Meter(), int(os.environ[RECORDS])
    out = topic("faust")
    app = faust.App(
        out,
        broker=f"kafka://{hosts()}",
        key_serializer="raw",
        value_serializer="raw",
        topic_partitions=PARTITIONS,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
        datadir=f"{os.environ['PANDA_HOME']}/stock",
    )
    ticks = app.topic(topic("market.ticks"), key_type=bytes, value_type=bytes)
    signals = app.topic(out, key_type=bytes, value_type=bytes)

    async def strategy(stream: Any) -> None:
        nonlocal left
        async for event in stream.events():
            message = event.message
            for signal in desk.signals(message.partition, message.offset, event.value):
                await signals.send(key=KEY, value=signal, partition=HOME)
            left -= 1
            if not left:
                await app.producer.flush()
                meter.done()

    async def begin() -> None:
        meter.ready()

    app.agent(ticks)(strategy)
    app.task(begin)
    return app


app = _build()
