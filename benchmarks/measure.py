"""Measures functions against a reference in the same run, prints the table and keeps the numbers."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click
from rich.console import Console
from rich.table import Table

__all__ = ["Result", "cpu_us", "report"]

_LATEST = Path(__file__).parent / "results" / "latest.json"
_ROUNDS = 7
_ROUND_S = 0.2


@dataclass(frozen=True, slots=True)
class Result:
    """One comparison. `ok` says whether `value / reference` keeps to `goal`; without a goal it is only reported."""

    name: str
    value: float
    reference: float
    goal: float | None
    bound: Literal["at least", "at most", "equal"]
    ok: bool

    @classmethod
    def at_least(cls, name: str, value: float, reference: float, goal: float | None = None) -> Result:
        """More is better: `value` is at least `goal` times `reference`."""
        ok = goal is None or value >= goal * reference
        return cls(name, round(value, 3), round(reference, 3), goal, "at least", ok)

    @classmethod
    def at_most(cls, name: str, value: float, reference: float, goal: float | None = None) -> Result:
        """Less is better: `value` is at most `goal` times `reference`."""
        ok = goal is None or value <= goal * reference
        return cls(name, round(value, 3), round(reference, 3), goal, "at most", ok)

    @classmethod
    def equal(cls, name: str, value: float, reference: float) -> Result:
        """A gate: `value` is `reference`."""
        return cls(name, value, reference, 1, "equal", value == reference)

    @property
    def ratio(self) -> float:
        return self.value / self.reference if self.reference else 1.0


def cpu_us(subjects: Sequence[Callable[[], object]]) -> list[float]:
    """CPU microseconds of one call of each subject: the least of several rounds, in which they take turns.

    They take turns so that a machine which slows down meanwhile slows all of them; the least is what is left when
    nothing else disturbs.
    """
    counts = []
    for subject in subjects:
        begun = time.process_time()
        subject()
        counts.append(max(1, int(_ROUND_S / max(time.process_time() - begun, 1e-6))))
    least = [float("inf")] * len(subjects)
    for _ in range(_ROUNDS):
        for number, (subject, count) in enumerate(zip(subjects, counts, strict=True)):
            begun = time.process_time()
            for _ in range(count):
                subject()
            least[number] = min(least[number], (time.process_time() - begun) / count * 1e6)
    return least


def report(results: Iterable[Result]) -> None:
    """Print the results, and put them into results/latest.json in place of earlier ones of the same names."""
    table = Table("what", title=f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPUs")
    for name in ("value", "reference", "ratio", "goal", ""):
        table.add_column(name, justify="right")
    kept = {one["name"]: one for one in json.loads(_LATEST.read_text())} if _LATEST.is_file() else {}
    for result in results:
        goal = "" if result.goal is None else f"{result.bound} {result.goal:g}"
        verdict = "" if result.goal is None else "ok" if result.ok else "MISSED"
        table.add_row(
            result.name, f"{result.value:,.2f}", f"{result.reference:,.2f}", f"{result.ratio:.2f}", goal, verdict
        )
        kept[result.name] = asdict(result)
    _LATEST.parent.mkdir(exist_ok=True)
    _LATEST.write_text(json.dumps(list(kept.values()), indent=1) + "\n")
    console = Console()
    # A pipe has no width that the table should fold to.
    (console if console.is_terminal else Console(width=140)).print(table)
    click.echo(f"written to {_LATEST}")
