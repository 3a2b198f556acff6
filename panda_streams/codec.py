"""The codec of `market.ticks` (JSON lines) and of every other event (JSON of its class).

A tick batch is one or two lines. The first is an object with the light ticks as arrays, in the order of Tick's
fields; the optional second one holds the five-level depth, an array `[row, [[price, quantity], …], [[…], …]]` for
each tick that has one, bids before asks. Depth is many times as dear to decode, so only who needs it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError

from panda_streams.domain.ticks import Depth, DepthLevel, Tick
from panda_streams.domain.values import Value
from panda_streams.errors import BadEvent
from panda_streams.events import Beat, Phase, TickBatch

__all__ = ["decode", "decode_depth", "decode_market", "encode", "encode_beat", "encode_batch"]

E = TypeVar("E", bound=Value)


def encode_batch(batch: TickBatch, depth: Mapping[int, Depth] | None = None) -> bytes:
    """Encode a batch, with the order books of those rows that have one."""
    head = {
        "kind": "ticks",
        "world": batch.world,
        "source": batch.source,
        "run": batch.run,
        "sequence": batch.sequence,
        "time": batch.time,
        "ticks": [tuple(tick) for tick in batch.ticks],  # orjson takes no named tuples
    }
    line = orjson.dumps(head)
    if not depth:
        return line
    books = [
        (row, [tuple(level) for level in book.bids], [tuple(level) for level in book.asks])
        for row, book in depth.items()
    ]
    return line + b"\n" + orjson.dumps(books)


def encode_beat(beat: Beat) -> bytes:
    return orjson.dumps(
        {
            "kind": "beat",
            "world": beat.world,
            "source": beat.source,
            "run": beat.run,
            "sequence": beat.sequence,
            "time": beat.time,
            "phase": beat.phase.value,
            "end": beat.end,
        }
    )


def decode_market(data: bytes | None) -> TickBatch | Beat:
    """Decode a record of market.ticks; raise BadEvent if it is neither a batch nor a beat."""
    try:
        line, _, depth_line = (data or b"").partition(b"\n")
        head: dict[str, Any] = orjson.loads(line)
        if head["kind"] == "ticks":
            ticks = tuple([Tick(*fields) for fields in head["ticks"]])
            for tick in ticks:
                _check_tick(tick)
            return TickBatch(*_origin(head), ticks, depth_line or None)
        if head["kind"] == "beat":
            return Beat(*_origin(head), Phase(head["phase"]), bool(head["end"]))
        raise BadEvent(f"kind {head['kind']!r} is not ticks or beat")
    except BadEvent:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise BadEvent(f"not a tick batch or a beat: {type(error).__name__}: {error}") from error


def _check_tick(tick: Tick) -> None:
    # A field of the wrong type would surface much later, as a wrong book or a dead worker.
    instrument, price, quantity, volume, bid, ask, time, row = tick
    if type(instrument) is not str or type(price) is not int or type(time) is not int or type(row) is not int:
        raise BadEvent(f"{tick!r}: instrument must be text; price, time and row must be integers")
    if (
        (bid is not None and type(bid) is not int)
        or (ask is not None and type(ask) is not int)
        or (quantity is not None and type(quantity) is not int)
        or (volume is not None and type(volume) is not int)
    ):
        raise BadEvent(f"{tick!r}: quantity, volume, bid and ask must be integers or null")


def _origin(head: dict[str, Any]) -> tuple[str, str, str, int, int]:
    world, source, run = head["world"], head["source"], head["run"]
    sequence, time = head["sequence"], head["time"]
    if type(world) is not str or type(source) is not str or type(run) is not str:
        raise BadEvent(f"world {world!r}, source {source!r} and run {run!r} must be text")
    if type(sequence) is not int or type(time) is not int:
        raise BadEvent(f"sequence {sequence!r} and time {time!r} must be integers")
    return world, source, run, sequence, time


def decode_depth(batch: TickBatch) -> dict[int, Depth]:
    """Decode a batch's order books by row; empty where the source has none."""
    if batch.depth_line is None:
        return {}
    try:
        return {int(row): Depth(_levels(bids), _levels(asks)) for row, bids, asks in orjson.loads(batch.depth_line)}
    except (ValueError, TypeError) as error:
        raise BadEvent(f"not a line of order books: {type(error).__name__}: {error}") from error


def _levels(pairs: list[list[int]]) -> tuple[DepthLevel, ...]:
    levels = tuple(DepthLevel(*pair) for pair in pairs)
    for level in levels:
        if type(level.price) is not int or type(level.quantity) is not int:
            raise TypeError(f"{level!r}: price and quantity must be integers")
    return levels


def encode(event: Value) -> bytes:
    """Encode an event: the same event gives the same bytes, everywhere."""
    return event.model_dump_json().encode()


def decode(kind: type[E], data: bytes | None) -> E:
    """Decode a record into its event class; raise BadEvent that says which field is wrong."""
    try:
        return kind.model_validate_json(data or b"")
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the record"
        raise BadEvent(f"not a {kind.__name__}: {place}: {first['msg']}") from error
