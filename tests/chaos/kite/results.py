"""What the torture of the Zerodha arm found: chaos-results.json, and the same for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.compare import Finding, Kind, count
from tests.chaos.kite.faults import AMBIGUOUS, KINDS, WEBSOCKET
from tests.chaos.kite.world import Outcome

__all__ = ["LEAST_AMBIGUOUS", "KiteResults"]

LEAST_AMBIGUOUS = 0.1
"""Share of the orders of which it has to have been unknown at some time whether the broker had them."""
_SHOWN = 50
"""Findings that are written out; all are counted."""
_PRINTED = 10
_FIRST = (Kind.DOUBLED, Kind.LOST)
"""What is named before the rest."""


@dataclass(frozen=True, slots=True)
class KiteResults:
    """All runs of one torture."""

    seed: int
    asked: int
    """Orders that there were to be."""
    command: str
    """Repeats it."""
    seconds: float
    runs: Mapping[str, Outcome]

    @property
    def orders(self) -> int:
        return sum(run.orders for run in self.runs.values())

    @property
    def findings(self) -> list[Finding]:
        return [finding for run in self.runs.values() for finding in run.findings]

    @property
    def unknown(self) -> int:
        """Orders of which it is unknown in the end whether the broker has them."""
        return sum(run.left_unknown for run in self.runs.values())

    @property
    def fired(self) -> Counter[str]:
        """Faults by kind."""
        total: Counter[str] = Counter()
        for run in self.runs.values():
            total += run.fired
        return total

    @property
    def missed(self) -> list[str]:
        """Kinds of faults that never came."""
        return [kind for kind in (*KINDS, *WEBSOCKET) if not self.fired[kind]]

    @property
    def share(self) -> float:
        """Of the orders, those with an ambiguous answer, or that a death left without one."""
        return sum(run.unsure for run in self.runs.values()) / max(self.orders, 1)

    @property
    def wanting(self) -> list[str]:
        """What the torture was too mild for."""
        return [
            *([f"only {self.orders} orders of {self.asked}"] if self.orders < self.asked else []),
            *([f"only {self.share:.1%} ambiguous"] if self.share < LEAST_AMBIGUOUS else []),
            *(f"no {kind}" for kind in self.missed),
        ]

    @property
    def died(self) -> Counter[str]:
        return Counter(name for run in self.runs.values() for name in run.died)

    def as_json(self) -> dict[str, Any]:
        frozen = sum(number for name, number in self.died.items() if name.endswith(":frozen"))
        fired = self.fired
        return {
            "arm": "zerodha",
            "seed": self.seed,
            "command": self.command,
            "seconds": round(self.seconds, 1),
            "runs": len(self.runs),
            "kills": self.died.total() - frozen,
            "freezes": frozen,
            "kills_by_point": dict(sorted(self.died.items())),
            "points_not_reached": sum(run.unreached for run in self.runs.values()),
            "orders": self.orders,
            "trades": sum(run.trades for run in self.runs.values()),
            "ambiguous": {kind: fired[kind] for kind in AMBIGUOUS},
            "ambiguous_answers": sum(fired[kind] for kind in AMBIGUOUS),
            "orders_once_unknown": sum(run.unsure for run in self.runs.values()),
            "ambiguous_share": round(self.share, 4),
            "other_faults": {kind: number for kind, number in sorted(fired.items()) if kind not in AMBIGUOUS},
            "unknown": self.unknown,
            **{kind.value: number for kind, number in count(self.findings).items()},
            "identical": sum(not run.findings for run in self.runs.values()),
            "wanting": self.wanting,
            "findings": [{"kind": one.kind.value, "what": one.what} for one in self.findings[:_SHOWN]],
            "each_run": [
                {
                    "name": name,
                    "orders": run.orders,
                    "trades": run.trades,
                    "ambiguous_answers": run.ambiguous,
                    "kills": len(run.died),
                    "seconds": round(run.seconds, 1),
                    "wrong": len(run.findings),
                }
                for name, run in self.runs.items()
            ],
        }

    def summary(self) -> str:
        """The figures of the whole, and the first findings."""
        counted = count(self.findings)
        others = ", ".join(
            f"{number} {kind}" for kind, number in counted.items() if kind not in (Kind.DOUBLED, Kind.LOST)
        )
        faults = ", ".join(f"{kind} {number}" for kind, number in sorted(self.fired.items()))
        lines = [
            f"{self.orders} orders, {self.share:.1%} of them with an ambiguous answer; {self.died.total()} kills and "
            f"freezes in {len(self.runs)} runs, {self.seconds:.0f} s",
            f"{counted[Kind.DOUBLED]} doubled, {counted[Kind.LOST]} lost, {self.unknown} unknown; {others}",
            f"faults: {faults}",
            *(f"  too mild: {text}" for text in self.wanting),
            *(f"  {finding.kind.value}: {finding.what}" for finding in self.findings[:_PRINTED]),
        ]
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.as_json(), indent=1) + "\n")
