"""Limits how often alerts of a kind are delivered; what is held back is summed up in one that follows."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from pydantic import Field

from panda_streams.alerts.kinds import Alert, AlertKind
from panda_streams.domain.values import Value

__all__ = ["Limiter", "Rate"]

_NAMED = 10
"""Titles that a sum names; more would not be read."""


class Rate(Value):
    """At most `count` alerts of a kind within any `seconds`."""

    count: int = Field(5, ge=1)
    seconds: int = Field(600, ge=1)


@dataclass(slots=True)
class _Held:
    """What one kind has held back."""

    titles: Counter[str] = field(default_factory=Counter)
    last: Alert | None = None


class Limiter:
    """Passes alerts, or holds them back. Times are of a monotonic clock, in seconds."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._passed: dict[AlertKind, deque[float]] = {}
        self._held: dict[AlertKind, _Held] = {}

    def admit(self, alert: Alert, now: float) -> bool:
        """True if the alert may go now; else it is held back."""
        if alert.kind not in self._held and now >= self._free(alert.kind):
            self._passes(alert.kind, now)
            return True
        held = self._held.setdefault(alert.kind, _Held())
        held.titles[alert.title] += 1
        held.last = alert
        return False

    def due(self, now: float) -> list[Alert]:
        """What was held back and may go now, one sum a kind; at `math.inf` all of it."""
        ready = [kind for kind in self._held if now >= self._free(kind)]
        for kind in ready:
            self._passes(kind, now)
        return [_sum(self._held.pop(kind)) for kind in ready]

    @property
    def next_due(self) -> float | None:
        """When something that was held back may go; None if nothing is."""
        return min(map(self._free, self._held), default=None)

    def _free(self, kind: AlertKind) -> float:
        """When the kind may pass again."""
        passed = self._passed.get(kind)
        if passed is None or len(passed) < self._rate.count:
            return float("-inf")
        return passed[0] + self._rate.seconds

    def _passes(self, kind: AlertKind, now: float) -> None:
        self._passed.setdefault(kind, deque(maxlen=self._rate.count)).append(now)


def _sum(held: _Held) -> Alert:
    last, count = held.last, held.titles.total()
    assert last is not None
    if count == 1:
        return last
    lines = [f"{number} x {title}" for title, number in held.titles.most_common(_NAMED)]
    if (others := len(held.titles) - _NAMED) > 0:
        lines.append(f"and {others} others")
    body = "\n".join(["Held back:", *lines, "", "The last one:", last.body])
    return Alert(last.kind, f"{last.title}, and {count - 1} more", body)
