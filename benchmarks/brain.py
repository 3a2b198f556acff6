"""The brain: 20 momentum strategies on 10 of 500 shares each, 20 ticks a record, against other clients of Kafka.

The worker is the real one, with checkpoints, beats, health and mirror; the others do the same decoding, steps and
signals. The signals must be the same to the byte.
"""

from __future__ import annotations

from statistics import median

import click

from benchmarks.cluster import Cluster
from benchmarks.contest import FAUST, ROUNDS, contend, module
from benchmarks.market import tick_log, write_instruments, write_strategies
from benchmarks.measure import Result
from panda_streams.codec import decode_any
from panda_streams.events import Signal, StageBeat

_SECONDS = 2500
"""Event time: about two million ticks."""

_CONTENDERS = {
    "worker": ([FAUST, "-A", "benchmarks.brain_worker", "worker", "-l", "info"], "paper.signals.raw"),
    "aiokafka": (module("brain_rivals", "aiokafka"), "aiokafka"),
    "librdkafka": (module("brain_rivals", "librdkafka"), "librdkafka"),
    "faust": ([FAUST, "-A", "benchmarks.brain_stock", "worker", "-l", "info"], "faust"),
}


def measure(cluster: Cluster, rounds: int = ROUNDS) -> list[Result]:
    instruments, strategies = cluster.directory / "instruments.yaml", cluster.directory / "momentum"
    write_instruments(instruments)
    account = {"capital": "1000000", "share_of_capital": "0.08", "max_position": 1000}
    write_strategies(strategies, "momentum", account)
    logs = tick_log(instruments, _SECONDS)
    records = sum(len(log) for log in logs.values())
    ticks = sum(value.count(b"NSE:") for log in logs.values() for value in log)
    click.echo(f"brain: {ticks:,} ticks in {records:,} records")
    cpu: dict[str, list[float]] = {name: [] for name in _CONTENDERS}
    differing = 0
    for number in range(1, rounds + 1):
        with cluster.world(PANDA_INSTRUMENTS=str(instruments), PANDA_STRATEGIES=str(strategies)) as world:
            world.fill(f"{world.prefix}market.ticks", {n: [(None, value) for value in log] for n, log in logs.items()})
            world.create(f"{world.prefix}{topic}" for name, (_, topic) in _CONTENDERS.items() if name != "worker")
            said = {}
            for name, (command, topic) in _CONTENDERS.items():
                found = contend(name, command, {**world.env, "BENCH_RECORDS": str(records)}, world.home)
                cpu[name].append(found["cpu_s"])
                said[name] = _signals(world.read(f"{world.prefix}{topic}"))
                click.echo(f"  round {number}, {name}: {found['cpu_s']:.2f} s of CPU, {found['wall_s']:.2f} s")
        click.echo(f"  round {number}: {len(said['worker'])} signals")
        assert said["worker"], "the benchmark needs signals"
        differing += sum(len(said["worker"].items() ^ other.items()) for other in said.values())
    rate = {name: ticks / median(seconds) for name, seconds in cpu.items()}
    return [
        Result.at_least("brain, ticks per CPU second, against aiokafka", rate["worker"], rate["aiokafka"], 0.8),
        Result.at_least("brain, ticks per CPU second, against librdkafka", rate["worker"], rate["librdkafka"]),
        Result.at_least("brain, ticks per CPU second, against stock Faust", rate["worker"], rate["faust"], 6),
        Result.equal("brain, signals that differ from another contender's", differing, 0),
    ]


def _signals(values: list[bytes]) -> dict[str, bytes]:
    signals = {}
    for value in values:
        event = decode_any(value, Signal, StageBeat)
        if not isinstance(event, StageBeat):
            assert event.signal_id not in signals, f"said twice: {event.signal_id}"
            signals[event.signal_id] = value
    return signals
