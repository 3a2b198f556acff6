"""The torture: an undisturbed run, then runs with kills, each compared with it."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.chaos.compare import compare, once
from tests.chaos.kills import Kill, draw
from tests.chaos.recording import cut_recording
from tests.chaos.results import Results, Run
from tests.chaos.world import ChaosWorld, Outcome
from tests.servers import run_servers

__all__ = ["RESULTS", "torture"]

RESULTS = "chaos-results.json"
"""In PANDA_HOME."""
_TICKS = 20_000
"""Eight minutes of the session."""
_KILLS_A_RUN = 10
_SPEEDS = ("16", "20", "24")
"""Event seconds a wall second: the data lasts for most kills of a run, and behind a worker that was killed waits a
minute of it. The undisturbed run is made at max."""


def torture(
    *, session: Path, directory: Path, jars: Path, port_base: int, kills: int, seed: int, say: Callable[[str], None]
) -> Results:
    """Kill `kills` times, as `seed` says; `directory` is emptied first, and keeps what a run with findings left."""
    begun = time.monotonic()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    recording = cut_recording(session, _TICKS, directory / "session.csv.gz")
    speeds = random.Random(seed)
    with run_servers(directory / "servers", jars, port_base) as servers:

        def run(name: str, speed: str, plan: list[Kill]) -> Outcome:
            world = ChaosWorld(directory / name, servers, recording, speed)
            outcome = world.run(plan)
            world.delete()
            return outcome

        undisturbed = run("undisturbed", "max", [])
        say(f"undisturbed: {len(undisturbed.log)} records in {undisturbed.seconds:.1f} s")
        runs = []
        # What is wrong without a kill has another cause, and there is nothing sound to compare with.
        plans = [] if undisturbed.findings else draw(seed, kills, _KILLS_A_RUN)
        for number, plan in enumerate(plans):
            speed = speeds.choice(_SPEEDS)
            outcome = run(f"run-{number}", speed, plan)
            runs.append(
                Run(
                    number=number,
                    speed=speed,
                    died=outcome.died,
                    unreached=outcome.unreached,
                    wiped=outcome.wiped,
                    seconds=outcome.seconds,
                    refold=outcome.findings,
                    identity=tuple(compare(undisturbed.log, outcome.log, undisturbed.books, outcome.books)),
                )
            )
            say(_line(runs[-1]))
            if not runs[-1].refold and not runs[-1].identity:
                shutil.rmtree(directory / f"run-{number}")
    return Results(
        seed=seed,
        command=f'make chaos ARGS="--kills {kills} --seed {seed}"',
        seconds=time.monotonic() - begun,
        records=dict(Counter(entry.topic for entry in once(undisturbed.log).values())),
        reference=undisturbed.findings,
        runs=runs,
    )


def _line(run: Run) -> str:
    verdict = "identical" if not run.identity else f"{len(run.identity)} differences"
    wrong = f", {len(run.refold)} contradictions" if run.refold else ""
    return (
        f"run {run.number} at speed {run.speed}: {len(run.died)} kills ({run.unreached} points not reached, "
        f"{run.wiped} wiped) in {run.seconds:.1f} s: {verdict}{wrong}"
    )
