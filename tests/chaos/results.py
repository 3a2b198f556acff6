"""What a torture found: chaos-results.json, and the same for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.compare import Finding, count
from tests.chaos.kills import PROCESSES

__all__ = ["Results", "Run"]

_SHOWN = 50
"""Findings that are written out; all are counted."""

_PRINTED = 10


@dataclass(frozen=True, slots=True)
class Run:
    """One disturbed run. `refold`: what contradicts its own log; `identity`: what differs from the undisturbed run."""

    number: int
    speed: str
    died: tuple[str, ...]
    unreached: int
    wiped: int
    seconds: float
    refold: tuple[Finding, ...]
    identity: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Results:
    """All runs of one torture, and what is wrong with the undisturbed run (`reference`)."""

    seed: int
    command: str
    seconds: float
    records: dict[str, int]
    """Of the undisturbed run, by topic, beats and repeats apart."""
    reference: tuple[Finding, ...]
    runs: Sequence[Run] = field(default=())

    @property
    def refold(self) -> list[Finding]:
        """What is wrong without any comparison with another run."""
        return [*self.reference, *(finding for run in self.runs for finding in run.refold)]

    @property
    def identity(self) -> list[Finding]:
        """What is not as in the undisturbed run."""
        return [finding for run in self.runs for finding in run.identity]

    @property
    def kills(self) -> int:
        return sum(len(run.died) for run in self.runs)

    def as_json(self) -> dict[str, Any]:
        points = Counter(name for run in self.runs for name in run.died)
        found = [*self.refold, *self.identity]
        return {
            "seed": self.seed,
            "command": self.command,
            "seconds": round(self.seconds, 1),
            "runs": len(self.runs),
            "kills": self.kills,
            "kills_by_process": dict(_by_process(points)),
            "kills_by_point": dict(sorted(points.items())),
            "points_not_reached": sum(run.unreached for run in self.runs),
            "tables_wiped": sum(run.wiped for run in self.runs),
            "records": self.records,
            **{kind.value: number for kind, number in count(found).items()},
            "identical": sum(not run.identity for run in self.runs),
            "contradicting": sum(bool(run.refold) for run in self.runs),
            "findings": [{"kind": finding.kind.value, "what": finding.what} for finding in found[:_SHOWN]],
            "each_run": [
                {
                    "number": run.number,
                    "speed": run.speed,
                    "kills": len(run.died),
                    "seconds": round(run.seconds, 1),
                    "wrong": len(run.refold),
                    "identical": not run.identity,
                }
                for run in self.runs
            ],
        }

    def summary(self) -> str:
        """The figures of the whole, and the first findings."""
        found = [*self.refold, *self.identity]
        counted = ", ".join(f"{number} {kind.value}" for kind, number in count(found).items())
        lines = [f"{self.kills} kills in {len(self.runs)} runs, {self.seconds:.0f} s: {counted}"]
        lines += [f"  {finding.kind.value}: {finding.what}" for finding in found[:_PRINTED]]
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.as_json(), indent=1) + "\n")


def _by_process(points: Counter[str]) -> Counter[str]:
    processes: Counter[str] = Counter()
    for name, number in points.items():
        who = name.split(":")[0]
        processes[PROCESSES.get(who, who)] += number
    return processes
