"""`python -m tests.simulation --schedules N --seed S`: as many schedules as wished, or one case again."""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.simulation.campaign import Failure, campaign, shrunk
from tests.simulation.cases import Case, cases, run
from tests.simulation.market import SCENARIOS
from tests.simulation.schedule import FULL, Bounds

_SHOWN = 3
"""Failures that are shrunk and shown: more have the same cause as a rule."""


def _main() -> int:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--schedules", type=int, default=1000, help="how many, over all scenarios")
    parser.add_argument("--seed", type=int, default=1, help="of all inputs")
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="processes")
    parser.add_argument(
        "--case", metavar="SCENARIO/INPUT/SCHEDULE", help=f"one case; scenarios: {', '.join(SCENARIOS)}"
    )
    parser.add_argument("--seconds", type=int, help="of a case: seconds of its market")
    parser.add_argument("--turns", type=int, default=FULL.turns, help="of a case: turns of its schedule")
    parser.add_argument("--kills", type=int, default=FULL.kills, help="of a case: kills of its schedule")
    parser.add_argument("--retries", type=int, default=1, help="of a case: 0 for no sends that stand in the log twice")
    parser.add_argument("--skips", type=int, default=1, help="of a case: 0 for no records that are not delivered")
    parser.add_argument("--litter", type=int, default=1, help="of a case: 0 for no records that nobody can decode")
    given = parser.parse_args()
    if given.case is not None:
        scenario, input, schedule = given.case.split("/")
        bounds = Bounds(given.turns, given.kills, bool(given.retries), bool(given.skips), bool(given.litter))
        case = Case(scenario, int(input), int(schedule), given.seconds, bounds)
        wrong = run(case)
        print("\n".join(wrong) or "nothing is wrong")
        return 1 if wrong else 0
    return _many(given.schedules, given.seed, given.jobs)


def _many(schedules: int, seed: int, jobs: int) -> int:
    began = time.monotonic()
    failures: list[Failure] = []
    chosen = cases(schedules, seed)
    for number, found in enumerate(campaign(chosen, jobs), start=1):
        failures += found
        if number % 250 == 0:
            print(f"{number} inputs, {len(failures)} failures, {time.monotonic() - began:.0f} s", flush=True)
    for failure in failures[:_SHOWN]:
        print(f"\n{failure}\nshrunk to", flush=True)
        print(shrunk(failure), flush=True)
    for failure in failures[_SHOWN:]:
        print(f"repeat: {failure.case.command}")
    print(f"{len(chosen)} schedules of seed {seed}, {len(failures)} failures, {time.monotonic() - began:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(_main())
