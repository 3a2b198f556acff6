"""Many cases, on several processors; what fails is shrunk and said with the command that repeats it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby
from typing import NamedTuple

from tests.simulation.cases import Case, run, shrink

__all__ = ["Failure", "campaign", "shrunk"]


class Failure(NamedTuple):
    """A case that failed, and what is wrong with it."""

    case: Case
    wrong: list[str]

    def __str__(self) -> str:
        return "\n  ".join([f"repeat: {self.case.command}", *(line[:2000] for line in self.wrong[:5])])


def campaign(cases: Sequence[Case], jobs: int) -> Iterator[list[Failure]]:
    """Run the cases of each input in turn; yields the failures of every input."""
    groups = [list(group) for _, group in groupby(cases, key=lambda case: (case.scenario, case.input))]
    if jobs == 1:
        yield from map(_failures, groups)
        return
    # Not forked: a test runner has threads.
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_failures, groups, chunksize=4)


def _failures(cases: list[Case]) -> list[Failure]:
    return [Failure(case, wrong) for case in cases if (wrong := run(case))]


def shrunk(failure: Failure) -> Failure:
    """A smaller case that fails, too."""
    case = shrink(failure.case)
    return Failure(case, run(case))
