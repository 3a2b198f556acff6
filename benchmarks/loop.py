"""The loop alone: a RocksDB row and an acknowledged output a record, against the same by hand (relay.py)."""

from __future__ import annotations

from statistics import median

import click

from benchmarks.cluster import Cluster
from benchmarks.contest import FAUST, ROUNDS, contend, module
from benchmarks.market import PARTITIONS
from benchmarks.measure import Result
from benchmarks.relay import RECORDS, record

_RECORDS = 100_000

CONTENDERS = {
    "worker": [FAUST, "-A", "benchmarks.relay_worker", "worker", "-l", "info"],
    "aiokafka": module("relay_rival"),
}


def measure(cluster: Cluster, rounds: int = ROUNDS) -> list[Result]:
    click.echo(f"loop: {_RECORDS:,} records")
    logs = {number: [record(n) for n in range(number, _RECORDS, PARTITIONS)] for number in range(PARTITIONS)}
    cpu: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    differing = 0
    for number in range(1, rounds + 1):
        with cluster.world() as world:
            world.create(world.prefix + name for name in ("relay", "aiokafka-changelog", *CONTENDERS))
            world.fill(f"{world.prefix}relay", logs)
            said = {}
            for name, command in CONTENDERS.items():
                found = contend(name, command, {**world.env, RECORDS: str(_RECORDS)}, world.home)
                cpu[name].append(found["cpu_s"])
                said[name] = world.read(world.prefix + name)
                click.echo(f"  round {number}, {name}: {found['cpu_s']:.2f} s of CPU, {found['wall_s']:.2f} s")
        assert len(said["worker"]) == _RECORDS
        differing += said["worker"] != said["aiokafka"]
    rate = {name: _RECORDS / median(seconds) for name, seconds in cpu.items()}
    return [
        Result.at_least("loop, records per CPU second, against aiokafka", rate["worker"], rate["aiokafka"], 0.75),
        Result.equal("loop, rounds whose outputs differ", differing, 0),
    ]
