"""The brain's step over simulated ticks: 20 momentum strategies on 10 shares each, against their bare steps.

The difference is what the brain adds to the strategies: finding who sees a tick, naming it, catching what they raise,
and making signals. Decoding, Kafka and checkpoints are not in it.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import click

from agents.brain.shard import Shard, step
from benchmarks.measure import Result, cpu_us
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.ticks import Place, Tick
from panda_streams.events import TickBatch
from panda_streams.feeds.simulator import Simulator
from panda_streams.instrument_files import load_instruments
from strategies.config import StrategyConfig
from strategies.interface import Strategy
from strategies.momentum import Momentum

_STRATEGIES = 20
_SHARES = 10
_FRAMES = 900
"""Event seconds of the market: the strategies have been warm for most of them."""
_PARTITIONS = 4
_INDEX = "NSE:NIFTY 50"


def _batches(shards: ShardMap) -> dict[int, list[TickBatch]]:
    """The same ticks as a feed would publish, by shard."""
    batches: dict[int, list[TickBatch]] = {number: [] for number in range(shards.partitions)}
    for frame in islice(Simulator(shards.instruments, seed=1, rate=0.5).frames(None), _FRAMES):
        split: dict[int, list[Tick]] = {}
        for tick in frame.ticks:
            for number in shards.shards(tick.instrument):
                split.setdefault(number, []).append(tick)
        for number, ticks in split.items():
            made = batches[number]
            made.append(TickBatch("sim", "sim", "seed-1", len(made), frame.time, tuple(ticks)))
    return batches


def _strategies(shares: list[str]) -> list[Strategy[Any]]:
    made: list[Strategy[Any]] = []
    for number in range(_STRATEGIES):
        trades = [shares[(number + place) % len(shares)] for place in range(_SHARES)]
        account = {"capital": "1000000", "share_of_capital": "0.08", "max_position": 1000}
        form = {"strategy_id": f"Momentum_{number}", "strategy": "momentum", "watches": [_INDEX], "trades": trades}
        config = StrategyConfig.model_validate({**form, "brokers": ["paper"], "accounts": {"paper": account}})
        made.append(Momentum(config))
    return made


def measure() -> list[Result]:
    instruments = load_instruments()
    shards = ShardMap(_PARTITIONS, instruments)
    batches = _batches(shards)
    seen = {tick.instrument for made in batches.values() for batch in made for tick in batch.ticks}
    strategies = _strategies(sorted(name for name in seen if instruments[name].tradable))
    seen_by: dict[str, list[Strategy[Any]]] = {}
    for strategy in strategies:
        for name in strategy.config.instruments:
            seen_by.setdefault(name, []).append(strategy)

    def brain() -> int:
        signals = 0
        for number, made in batches.items():
            shard = Shard(strategies)
            for offset, batch in enumerate(made):
                said, failures = step(shard, batch, Place(batch.source, batch.run, number, offset), shards)
                assert not failures
                signals += len(said)
        return signals

    def bare() -> int:
        decided = 0
        for made in batches.values():
            states = {strategy: strategy.initial() for strategy in strategies}
            for batch in made:
                for tick in batch.ticks:
                    for strategy in seen_by.get(tick.instrument, ()):
                        states[strategy], decisions = strategy.step(states[strategy], tick)
                        decided += len(decisions)
        return decided

    signals = brain()
    assert signals == bare() > 0
    ticks = sum(len(batch.ticks) for made in batches.values() for batch in made)
    value, reference = cpu_us([brain, bare])
    click.echo(f"{ticks:,} ticks, {signals} signals")
    name = f"brain step, CPU microseconds a tick, {_STRATEGIES} momentum strategies, against their bare steps"
    return [Result.at_most(name, value / ticks, reference / ticks)]
