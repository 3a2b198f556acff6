"""The torture: runs on the replay clock full of faults and deaths, and a session that another worker takes over."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from tests.chaos.kite.market import trading_days, write_calendar, write_recording
from tests.chaos.kite.plan import RunPlan, draw
from tests.chaos.kite.results import KiteResults
from tests.chaos.kite.takeover import take_over
from tests.chaos.kite.world import KiteWorld, Outcome, Scene
from tests.servers import RunningServers, free_port_base, run_servers

__all__ = ["torture_kite"]

_AT_ONCE = 2
"""Runs at the same time: each one waits for most of its time, for answers that do not come."""
_SPEED = "6"
"""Event seconds a wall second of the feed, which is faster than the arm is with its broker."""


def torture_kite(
    *, directory: Path, jars: Path, port_base: int, orders: int, seed: int, say: Callable[[str], None]
) -> KiteResults:
    """Place `orders` orders at least, as `seed` says; `directory` is emptied first, and keeps what a run with findings
    left."""
    begun = time.monotonic()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    plans, outcomes = draw(seed, orders), dict[str, Outcome]()
    with (
        run_servers(directory / "servers", jars, port_base) as servers,
        ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        bases = _bases(len(plans) + 1)
        runs: dict[str, Future[Outcome]] = {
            "takeover": pool.submit(take_over, directory / "takeover", servers, bases.pop(), seed)
        }
        for number, plan in enumerate(plans):
            runs[f"run-{number}"] = pool.submit(_run, directory / f"run-{number}", servers, bases.pop(), plan)
        for name, future in runs.items():
            outcomes[name] = future.result()
            say(_line(name, outcomes[name]))
            if not outcomes[name].findings:
                shutil.rmtree(directory / name)
    return KiteResults(
        seed=seed,
        asked=orders,
        command=f'make chaos ARGS="kite --orders {orders} --seed {seed}"',
        seconds=time.monotonic() - begun,
        runs=outcomes,
    )


def _run(directory: Path, servers: RunningServers, ports: int, plan: RunPlan) -> Outcome:
    directory.mkdir(parents=True)
    days = trading_days(plan.days, plan.seconds)
    scene = Scene(
        recording=write_recording(days, plan.seed, directory / "recording.csv.gz"),
        calendar=write_calendar(days, directory / "calendar.yaml"),
        seed=plan.seed,
        speed=_SPEED,
    )
    world = KiteWorld(directory / f"{directory.name}.world", servers, ports, scene)
    outcome = world.run(plan.kills)
    world.delete()
    return outcome


def _bases(count: int) -> list[int]:
    """So many values for PANDA_PORT_BASE."""
    bases: set[int] = set()
    while len(bases) < count:
        bases.add(free_port_base())
    return list(bases)


def _line(name: str, outcome: Outcome) -> str:
    verdict = f"{len(outcome.findings)} findings" if outcome.findings else "the broker's ledger equals ours"
    return (
        f"{name}: {outcome.orders} orders, {outcome.trades} trades, {outcome.ambiguous} ambiguous answers, "
        f"{len(outcome.died)} kills and freezes in {outcome.seconds:.1f} s: {verdict}"
    )
