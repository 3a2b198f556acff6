"""The whole arm: risk, execution and portfolio on signals that all become orders, against the same by hand.

On the replay clock, so that both handle the same seconds of event time one after the other: arm_rival.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median

import click

from agents.brain.shard import Shard, step
from agents.reading import brain_writer
from benchmarks.arm_rival import changelog
from benchmarks.cluster import Cluster, World
from benchmarks.contest import FAUST, ROUNDS, contend, module
from benchmarks.market import PARTITIONS, WORLD, tick_log, write_instruments, write_strategies
from benchmarks.measure import Result
from panda_streams.brokers.port import registered_brokers
from panda_streams.codec import decode, decode_market, encode
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.ticks import Place
from panda_streams.events import Filled, Snapshot, StageBeat, TickBatch
from panda_streams.feeds.simulator import session_start
from panda_streams.instrument_files import load_instruments
from panda_streams.streams.sender import partition_of
from strategies.config import load_strategies
from strategies.interface import build

_SECONDS = 45
"""Event time: no shard has more records than execution remembers, so none is read again."""
_LAST_SIGNAL_S = 38
"""The rest of the time is for fills."""
_ACCOUNT = {"capital": "1000000000", "share_of_capital": "0.000004", "max_position": 10_000_000}
"""Without a limit that binds: no verdict depends on what has been filled so far. Orders are so small that most of them
are filled by one tick."""

_WORKER = [FAUST, "-A", "benchmarks.arm_worker", "worker", "-l", "info"]
_CONTENDERS = {"worker": _WORKER, "aiokafka": module("arm_rival")}


def _raw(instruments: Path, strategies: Path, logs: Mapping[int, list[bytes]]) -> tuple[list[bytes], int]:
    """What the brain would say, in the order of event time with its beats; and how many signals are among it."""
    known = load_instruments(instruments)
    made = [build(config) for config in load_strategies(strategies, known, registered_brokers())]
    shards = ShardMap(PARTITIONS, known)
    found: list[tuple[int, int, int, bytes]] = []
    for number, log in logs.items():
        shard = Shard(made)
        for offset, value in enumerate(log):
            batch = decode_market(value)
            if isinstance(batch, TickBatch):
                signals, _ = step(shard, batch, Place(batch.source, batch.run, number, offset), shards)
                found += [(signal.cause.time, number, offset, encode(signal)) for signal in signals]
            else:
                beat = StageBeat(world=WORLD, producer=brain_writer(number), time=batch.reached)
                # After all that was said up to its time.
                found.append((batch.reached, PARTITIONS, offset, encode(beat)))
    count = sum(number < PARTITIONS for _, number, _, _ in found)
    return [value for _, _, _, value in sorted(found, key=lambda one: one[:3])], count


def _fills(world: World) -> dict[str, str]:
    """Fill by id, without the number that its shard has given it."""
    values = [decode(Filled, value) for value in world.read(f"{world.prefix}paper.orders.filled")]
    return {filled.fill.fill_id: filled.fill.model_dump_json() for filled in values}


def _books(world: World) -> dict[str, tuple[str, str]]:
    """Cash and charges of each strategy at the end."""
    snapshots = [decode(Snapshot, value) for value in world.read(f"{world.prefix}paper.portfolio.snapshots")]
    last = sorted(snapshots, key=lambda snapshot: snapshot.sequence)
    return {snapshot.strategy_id: (str(snapshot.cash), str(snapshot.charges)) for snapshot in last}


def measure(cluster: Cluster, rounds: int = ROUNDS) -> list[Result]:
    instruments, strategies = cluster.directory / "instruments.yaml", cluster.directory / "eager"
    write_instruments(instruments)
    until = session_start(0) + 1000 * _LAST_SIGNAL_S
    write_strategies(strategies, "benchmarks.eager:Eager", _ACCOUNT, until=until)
    logs = tick_log(instruments, _SECONDS)
    raw, signals = _raw(instruments, strategies, logs)
    records = len(raw) + sum(len(log) for log in logs.values())
    click.echo(f"arm: {signals:,} signals, {records:,} records")
    counts = {"BENCH_RECORDS": records, "BENCH_RAW": len(raw), "BENCH_SIGNALS": signals}
    numbers: dict[str, list[tuple[float, float]]] = {name: [] for name in _CONTENDERS}
    differing = 0
    for number in range(1, rounds + 1):
        found = {}
        for name, command in _CONTENDERS.items():
            with cluster.world(
                PANDA_INSTRUMENTS=str(instruments), PANDA_STRATEGIES=str(strategies), PANDA_PAPER_PARTICIPATION="1"
            ) as world:
                _fill(world, logs, raw)
                env = {**world.env, "BROKER_NAMESPACE": "paper", **{key: str(count) for key, count in counts.items()}}
                took = contend(name, command, env, world.home)
                found[name] = _fills(world), _books(world)
            numbers[name].append((took["cpu_s"], took["wall_s"]))
            click.echo(f"  round {number}, {name}: {took['cpu_s']:.2f} s of CPU, {took['wall_s']:.2f} s")
        assert len(found["aiokafka"][0]) >= signals
        differing += found["worker"] != found["aiokafka"]
    cpu, wall = (
        {name: signals / median(took[place] for took in all_took) for name, all_took in numbers.items()}
        for place in range(2)
    )
    return [
        Result.at_least("arm, orders per CPU second, against aiokafka", cpu["worker"], cpu["aiokafka"], 0.6),
        Result.at_least("arm, orders a second, against aiokafka", wall["worker"], wall["aiokafka"]),
        Result.equal("arm, rounds whose fills or books differ", differing, 0),
    ]


def _fill(world: World, logs: Mapping[int, list[bytes]], raw: list[bytes]) -> None:
    world.create(f"{world.prefix}{changelog(agent)}" for agent in ("risk", "execution", "portfolio"))
    world.fill(f"{world.prefix}market.ticks", {n: [(None, value) for value in log] for n, log in logs.items()})
    home = partition_of(b"paper", PARTITIONS)
    world.fill(f"{world.prefix}paper.signals.raw", {home: [(b"paper", value) for value in raw]})
