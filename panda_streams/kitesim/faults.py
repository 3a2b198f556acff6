"""Faults that are injected on purpose: what Kite's users meet, drawn by a seeded generator and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field

from panda_streams.domain.matching import draw
from panda_streams.domain.values import Value
from panda_streams.yaml_texts import TextFile

__all__ = ["CALL_FAULTS", "Armed", "Call", "Fault", "Faults", "Scenario", "read_scenario"]


class Fault(StrEnum):
    """What can go wrong. Those of an order call come before the order is taken, or after it."""

    TIMEOUT_BEFORE = "timeout_before"
    """No answer for `seconds`, then a 504; not taken."""
    TIMEOUT_AFTER = "timeout_after"
    """Taken; the answer comes `seconds` later."""
    ERROR_5XX_AFTER = "error_5xx_after"
    """Taken; the answer is a 500."""
    HTML_502_BEFORE = "html_502_before"
    """Not taken; the answer is a page of a gateway."""
    HTML_502_AFTER = "html_502_after"
    """Taken; the answer is a page of a gateway."""
    AMBIGUOUS_400_BEFORE = "ambiguous_400_before"
    """Not taken; a 400 that says that the order may have been."""
    AMBIGUOUS_400_AFTER = "ambiguous_400_after"
    """Taken; a 400 that says that the order may have been."""
    RESET_BEFORE = "reset_before"
    """Not taken; the connection is reset."""
    RESET_AFTER = "reset_after"
    """Taken; the connection is reset."""
    LATE_BOOK = "late_book"
    """Taken and answered; the order book shows it `seconds` later."""
    BURST_429 = "burst_429"
    """Not taken: too many requests."""
    TOKEN_EXPIRY = "token_expiry"
    """Every access token dies, at any call that needs one."""
    DUPLICATE_UPDATE = "duplicate_update"
    """The websocket tells of an order twice."""
    REORDERED_UPDATE = "reordered_update"
    """The websocket tells of an order after the next thing that it tells, at most a second later."""
    MISSING_UPDATE = "missing_update"
    """The websocket does not tell of an order."""
    SILENT_WS = "silent_ws"
    """The websocket sends nothing more for `seconds`, and stays open; drawn with each thing that it would send."""


CALL_FAULTS = (
    Fault.BURST_429,
    Fault.TIMEOUT_BEFORE,
    Fault.HTML_502_BEFORE,
    Fault.AMBIGUOUS_400_BEFORE,
    Fault.RESET_BEFORE,
    Fault.TIMEOUT_AFTER,
    Fault.ERROR_5XX_AFTER,
    Fault.HTML_502_AFTER,
    Fault.AMBIGUOUS_400_AFTER,
    Fault.RESET_AFTER,
    Fault.LATE_BOOK,
)
"""Those of an order call, in the order in which they are drawn; one call meets one at the most."""


class Call(StrEnum):
    """A call that changes orders."""

    PLACE = "place"
    MODIFY = "modify"
    CANCEL = "cancel"


class Armed(Value):
    """A fault that waits for its turn: the next `count` times, or each time with a probability."""

    kind: Fault
    """Which."""
    count: int = Field(0, ge=0)
    """The next so many times."""
    probability: float = Field(0.0, ge=0, le=1)
    """Each time, once the count is used up."""
    seconds: float = Field(8.0, ge=0)
    """How long, of what takes time: kiteconnect waits for 7 s."""
    calls: frozenset[Call] = frozenset(Call)
    """Which order calls it can meet."""


class Scenario(Value):
    """What the file of PANDA_KITESIM_FAULTS holds."""

    seed: int = 1
    faults: tuple[Armed, ...] = ()


def read_scenario(path: Path | None) -> Scenario:
    """Read a scenario; raises BadInput that names the entry."""
    if path is None:
        return Scenario()
    fix = "write `seed: 1` and `faults:`, a list of {kind: timeout_after, probability: 0.1}; see docs/kitesim.md"
    return TextFile(path, "faults file", "PANDA_KITESIM_FAULTS", fix).read(Scenario.model_validate)


class Faults:
    """What is armed, and how often each kind has fired. The same seed and the same questions fire the same."""

    def __init__(self, scenario: Scenario) -> None:
        self._seed = scenario.seed
        self._armed = {armed.kind: armed for armed in scenario.faults}
        self._drawn: Counter[Fault] = Counter()
        self.fired: Counter[Fault] = Counter()

    def arm(self, armed: Armed) -> None:
        """Arm a fault in place of what was armed of its kind."""
        self._armed[armed.kind] = armed

    def disarm(self) -> None:
        self._armed.clear()

    @property
    def armed(self) -> tuple[Armed, ...]:
        return tuple(self._armed.values())

    def fire(self, kind: Fault, call: Call | None = None) -> Armed | None:
        """Ask whether a fault happens now; it is counted."""
        armed = self._armed.get(kind)
        if armed is None or (call is not None and call not in armed.calls):
            return None
        if armed.count:
            left = armed.count - 1
            if left or armed.probability:
                self._armed[kind] = armed.model_copy(update={"count": left})
            else:
                del self._armed[kind]
        else:
            self._drawn[kind] += 1
            if draw(str(self._seed), kind, str(self._drawn[kind])) >= armed.probability:
                return None
        self.fired[kind] += 1
        return armed

    def of_call(self, call: Call) -> Armed | None:
        """The fault that an order call meets, if any."""
        for kind in CALL_FAULTS:
            if (armed := self.fire(kind, call)) is not None:
                return armed
        return None

    def report(self) -> Mapping[str, Any]:
        return {
            "seed": self._seed,
            "armed": [armed.model_dump(mode="json") for armed in self._armed.values()],
            "fired": {kind.value: self.fired[kind] for kind in Fault if self.fired[kind]},
        }
