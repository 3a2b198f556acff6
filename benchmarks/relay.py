"""The least that an agent can do: a row a key and an output a record. What is left is the loop.

`faust -A benchmarks.relay_worker worker` runs it on the shared loop, `python -m benchmarks.relay_rival` by hand.
"""

from __future__ import annotations

import os
from typing import Any

from msgspec import Struct
from msgspec.json import Decoder, Encoder

from panda_streams.streams.agent import Agent, Output, Part
from panda_streams.streams.inputs import Input, Item

__all__ = ["RECORDS", "KEYS", "Record", "Relay", "Tally", "add", "encode", "load", "read", "record", "source", "topic"]

RECORDS = "BENCH_RECORDS"
"""Environment variable: how many records are to be handled."""
KEYS = 10_000
_WRITER = "source"
_NOTE = "x" * 300
"""With the rest about as long as a signal."""


class Record(Struct, frozen=True, gc=False):
    key: str
    sequence: int
    value: int
    note: str = _NOTE


class Tally(Struct, frozen=True, gc=False):
    """The row of a key."""

    records: int = 0
    total: int = 0
    last: str = ""


encode = Encoder().encode
read = Decoder(Record).decode
load = Decoder(Tally).decode


def topic(name: str) -> str:
    return f"{os.environ['PANDA_TOPIC_PREFIX']}{name}"


def source() -> str:
    """The input topic."""
    return topic(os.environ.get("BENCH_SOURCE", "relay"))


def record(sequence: int) -> tuple[bytes, bytes]:
    """A record of a log, key and value."""
    key = f"key-{sequence * 7919 % KEYS:05}"
    return key.encode(), encode(Record(key, sequence, sequence % 1000))


def add(row: Tally, record: Record) -> tuple[Tally, bytes]:
    """The step: the new row and what is said."""
    row = Tally(row.records + 1, row.total + record.value, record.note)
    return row, encode(Record(record.key, record.sequence, row.total, record.note))


def _decode(value: bytes | None) -> Item:
    decoded = read(value or b"")
    return Item(decoded, _WRITER, 0, _WRITER, decoded.sequence)


class Relay(Agent):
    name = "relay"

    def __init__(self, source: str, target: str) -> None:
        self.inputs = (Input("source", source, _decode, (_WRITER,)),)
        self._target = target

    def load(self, key: str, data: bytes) -> Tally:
        return load(data)

    def dump(self, row: Any) -> bytes:
        return encode(row)

    def step(self, part: Part, item: Item, offset: int) -> list[Output]:
        decoded: Record = item.event
        row, said = add(part.rows.get(decoded.key) or Tally(), decoded)
        part.rows.put(decoded.key, row)
        return [Output(self._target, decoded.key.encode(), said, part.partition)]
