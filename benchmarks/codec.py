"""Decoding a batch of 20 ticks: the arrays of `market.ticks` against bare lists, JSON objects and pydantic models.

Arrays, objects and models give the same ticks. The arrays and the models are checked field by field, the lists and the
objects are not.
"""

from __future__ import annotations

from typing import Literal

import click
import orjson
from msgspec.structs import asdict, astuple
from pydantic import BaseModel, ConfigDict

from benchmarks.measure import Result, cpu_us
from panda_streams.codec import decode_market, encode_batch
from panda_streams.domain.ticks import Tick
from panda_streams.events import TickBatch

_TICKS = tuple(
    Tick(f"NSE:SHARE{number:02}", 139_055 + number, 20, 84_211, 139_050, 139_060, 1_623_126_844_310 + number, number)
    for number in range(20)
)
_BATCH = TickBatch("sim", "sim", "seed-1", 4, 1_623_126_845_000, _TICKS)


class _TickModel(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)
    instrument: str
    price: int
    quantity: int | None
    volume: int | None
    bid: int | None
    ask: int | None
    time: int
    row: int


class _BatchModel(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)
    kind: Literal["ticks"]
    world: str
    source: str
    run: str
    sequence: int
    time: int
    ticks: list[_TickModel]


def measure() -> list[Result]:
    arrays = encode_batch(_BATCH)
    objects = orjson.dumps({**orjson.loads(arrays), "ticks": [asdict(tick) for tick in _TICKS]})

    def from_objects() -> TickBatch:
        head = orjson.loads(objects)
        ticks = tuple([Tick(**fields) for fields in head["ticks"]])
        return TickBatch(head["world"], head["source"], head["run"], head["sequence"], head["time"], ticks)

    models = [tuple(model.model_dump().values()) for model in _BatchModel.model_validate_json(objects).ticks]
    assert decode_market(arrays) == from_objects() == _BATCH
    assert models == [astuple(tick) for tick in _TICKS]

    ours, lists, plain, pydantic, encoding = cpu_us(
        [
            lambda: decode_market(arrays),
            lambda: orjson.loads(arrays),
            from_objects,
            lambda: _BatchModel.model_validate_json(objects),
            lambda: encode_batch(_BATCH),
        ]
    )
    count = len(_TICKS)
    click.echo(f"a tick: {1000 * ours / count:.0f} ns to decode, {1000 * encoding / count:.0f} ns to encode")
    name = "decode 20 ticks, CPU microseconds, against"
    return [
        Result.at_most(f"{name} orjson.loads, lists of values", ours, lists),
        Result.at_most(f"{name} JSON objects, unchecked", ours, plain),
        Result.at_most(f"{name} pydantic models", ours, pydantic),
    ]
