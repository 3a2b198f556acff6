"""A market of 500 shares and an index: its instruments, 20 strategies on 10 shares each, and its tick log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from panda_streams.codec import encode_batch, encode_beat
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.ticks import Tick
from panda_streams.events import Beat, Phase, TickBatch
from panda_streams.feeds.simulator import FRAMES_A_DAY, Simulator, session_start
from panda_streams.instrument_files import load_instruments

__all__ = ["PARTITIONS", "WORLD", "tick_log", "write_instruments", "write_strategies"]

PARTITIONS = 4
WORLD = "replay:bench"
_SHARES = 500
_INDEX = "NIFTY 50"
_STRATEGIES = 20
_TRADED = 10
_TICKS_A_RECORD = 20
_RATE = 1.6
"""Ticks of an instrument and second: 10 records of 20 ticks a second on each of 4 shards, and one beat."""


def write_instruments(file: Path) -> None:
    index = {"exchange": "NSE", "symbol": _INDEX, "kind": "index", "reference_price": "15700"}
    shares = [
        {
            "exchange": "NSE",
            "symbol": f"S{number:03}",
            "kind": "equity",
            "weight": "0.2",
            "reference_price": str(200 + 7 * number),
        }
        for number in range(_SHARES)
    ]
    file.write_text(json.dumps([index, *shares]))  # JSON is YAML


def write_strategies(directory: Path, strategy: str, account: dict[str, Any], **params: Any) -> None:
    directory.mkdir()
    for number in range(_STRATEGIES):
        form = {
            "strategy_id": f"Bench_{number:02}",
            "strategy": strategy,
            "watches": [f"NSE:{_INDEX}"],
            "trades": [f"NSE:S{number * _TRADED + place:03}" for place in range(_TRADED)],
            "brokers": ["paper"],
            "params": params,
            "accounts": {"paper": account},
        }
        (directory / f"{number:02}.yaml").write_text(json.dumps(form))


def tick_log(instruments: Path, seconds: int) -> dict[int, list[bytes]]:
    """The records of market.ticks by shard: 20 ticks each, a beat every second, and the end."""
    shards = ShardMap(PARTITIONS, load_instruments(instruments))
    logs: dict[int, list[bytes]] = {number: [] for number in range(PARTITIONS)}
    for time, ticks in _seconds(shards, seconds):
        for number, log in logs.items():
            for some in _records(ticks[number]):
                log.append(encode_batch(TickBatch(WORLD, "sim", "bench", len(log), some[-1].time, some)))
            log.append(encode_beat(Beat(WORLD, "sim", "bench", len(log), time, Phase.OPEN)))
    for log in logs.values():
        log.append(encode_beat(Beat(WORLD, "sim", "bench", len(log), time + 5000, Phase.CLOSED, end=True)))
    return logs


def _records(ticks: list[Tick]) -> Iterator[tuple[Tick, ...]]:
    count = max(1, round(len(ticks) / _TICKS_A_RECORD))
    for number in range(count):
        yield tuple(ticks[number * len(ticks) // count : (number + 1) * len(ticks) // count])


def _seconds(shards: ShardMap, seconds: int) -> Iterator[tuple[int, dict[int, list[Tick]]]]:
    simulator = Simulator(shards.instruments, seed=1, rate=_RATE)
    closes = session_start(0) + 1000 * FRAMES_A_DAY  # up to there without order books, which nobody here needs
    for frame in islice(simulator.frames(closes), seconds):
        split: dict[int, list[Tick]] = {number: [] for number in range(shards.partitions)}
        index = False
        for tick in frame.ticks:
            if not shards.instruments[tick.instrument].tradable:
                if index:
                    continue  # an exchange publishes an index once a second
                index = True
            for number in shards.shards(tick.instrument):
                split[number].append(tick)
        yield frame.time, split
