"""The codec of `market.ticks` (JSON lines) and of every other event (JSON of its class).

A tick batch is one or two lines. The first is an object with the light ticks as arrays, in the order of Tick's
fields; the optional second one holds the five-level depth, an array `[row, [[price, quantity], …], [[…], …]]` for
each tick that has one, bids before asks. Depth is many times as dear to decode, so only who needs it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from msgspec.json import Decoder, Encoder
from msgspec.structs import replace
from pydantic import ValidationError

from panda_streams.domain.ticks import Depth, DepthLevel
from panda_streams.domain.values import Value
from panda_streams.errors import BadEvent
from panda_streams.events import Beat, TickBatch

__all__ = [
    "decode",
    "decode_any",
    "decode_depth",
    "decode_market",
    "encode",
    "encode_batch",
    "encode_beat",
]

E = TypeVar("E", bound=Value)

_Levels = tuple[DepthLevel, ...]
_encoder = Encoder()
_market_decoder: Decoder[TickBatch | Beat] = Decoder(TickBatch | Beat)
_depth_decoder = Decoder(list[tuple[int, _Levels, _Levels]])


def encode_batch(batch: TickBatch, depth: Mapping[int, Depth] | None = None) -> bytes:
    """Encode a batch, with the order books of those rows that have one."""
    line = _encoder.encode(replace(batch, depth_line=None))
    if not depth:
        return line
    return line + b"\n" + _encoder.encode([(row, book.bids, book.asks) for row, book in depth.items()])


def encode_beat(beat: Beat) -> bytes:
    return _encoder.encode(beat)


def decode_market(data: bytes | None) -> TickBatch | Beat:
    """Decode a record of market.ticks; raise BadEvent if it is neither a batch nor a beat."""
    line, _, depth_line = (data or b"").partition(b"\n")
    try:
        market = _market_decoder.decode(line)
    except ValueError as error:
        raise BadEvent(f"not a tick batch or a beat: {error}") from error
    if isinstance(market, TickBatch):
        if market.depth_line is not None:
            raise BadEvent("not a tick batch or a beat: depth_line is no field of the first line but the second line")
        if depth_line:
            return replace(market, depth_line=depth_line)
    return market


def decode_depth(batch: TickBatch) -> dict[int, Depth]:
    """Decode a batch's order books by row; empty where the source has none."""
    if batch.depth_line is None:
        return {}
    try:
        return {row: Depth(bids, asks) for row, bids, asks in _depth_decoder.decode(batch.depth_line)}
    except ValueError as error:
        raise BadEvent(f"not a line of order books: {error}") from error


def encode(event: Value) -> bytes:
    """Encode an event: the same event gives the same bytes, everywhere."""
    return event.model_dump_json().encode()


def decode_any(data: bytes | None, first: type[Value], *others: type[Value]) -> Any:
    """Decode a record of a topic that carries events of several classes into one of them.

    What begins as none of the others is decoded as the first. Raises BadEvent as `decode` does.
    """
    for kind in others:
        if data is not None and data.startswith(_beginning(kind)):
            return decode(kind, data)
    return decode(first, data)


@cache
def _beginning(kind: type[Value]) -> bytes:
    """How `encode` begins an event of a class: with its kind."""
    return b'{"kind":"%b"' % str(kind.model_fields["kind"].default).encode()


def decode(kind: type[E], data: bytes | None) -> E:
    """Decode a record into its event class; raise BadEvent that says which field is wrong."""
    try:
        return kind.model_validate_json(data or b"")
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the record"
        raise BadEvent(f"not a {kind.__name__}: {place}: {first['msg']}") from error
