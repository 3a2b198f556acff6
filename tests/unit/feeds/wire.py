"""Puts a record through the codec, as Kafka would."""

from __future__ import annotations

from panda_streams.codec import decode_market, encode_batch, encode_beat
from panda_streams.events import Beat, TickBatch
from panda_streams.feeds.batching import Record


def on_the_wire(record: Record) -> TickBatch | Beat:
    if isinstance(record.value, Beat):
        return decode_market(encode_beat(record.value))
    return decode_market(encode_batch(record.value, record.depth))
