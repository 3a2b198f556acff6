"""Runs every benchmark, on one Kafka for the whole run: `python -m benchmarks [NAME...]`."""

from __future__ import annotations

import logging

import click

from benchmarks import arm, brain, codec, kite_decoder, latency, loop, matching, risk, steps
from benchmarks.cluster import start_cluster
from benchmarks.contest import ROUNDS
from benchmarks.measure import Result, report

_ALONE = {
    "codec": codec.measure,
    "kite_decoder": kite_decoder.measure,
    "steps": steps.measure,
    "matching": matching.measure,
    "risk": risk.measure,
}
_WITH_KAFKA = {"brain": brain.measure, "loop": loop.measure, "arm": arm.measure, "latency": latency.measure}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*_ALONE, *_WITH_KAFKA]))
@click.option("--rounds", type=click.IntRange(min=1), default=ROUNDS, help="Rounds of each contest.", show_default=True)
def main(names: tuple[str, ...], rounds: int) -> None:
    """Run the benchmarks of these NAMES, or all of them; exit with 1 if a goal is missed."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a topic that was just made has no leader for a moment
    wanted = names or (*_ALONE, *_WITH_KAFKA)
    results: list[Result] = []
    for name, measure in _ALONE.items():
        if name in wanted:
            results += measure()
    contests = [measure for name, measure in _WITH_KAFKA.items() if name in wanted]
    if contests:
        with start_cluster() as cluster:
            for contest in contests:
                results += contest(cluster, rounds)
    report(results)
    if not all(result.ok for result in results):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
