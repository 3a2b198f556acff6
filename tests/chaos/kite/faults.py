"""What kitesim gets wrong in a torture: a scenario for each life of its process."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

__all__ = ["AMBIGUOUS", "KINDS", "SETTINGS", "WEBSOCKET", "scenario"]

SETTINGS = {"PANDA_KITE_TIMEOUT_S": "0.5", "PANDA_KITE_ABSENT_AFTER_S": "2"}
"""The arm's patience: longer than the longest time for which kitesim hides an order, shorter than a test's."""
_LATE_S = 0.9
"""How long an order is missing in the book: below PANDA_KITE_ABSENT_AFTER_S, as in life it has to be."""
_SLOW_S = 0.8
"""How late an answer comes: above PANDA_KITE_TIMEOUT_S."""
_SILENT_S = 40.0
"""Longer than the arm waits for a heartbeat."""

_ANSWERS: Mapping[str, tuple[float, float | None]] = {
    # Not taken: nothing but the absence in the book tells, after PANDA_KITE_ABSENT_AFTER_S.
    "timeout_before": (0.003, _SLOW_S),
    "html_502_before": (0.003, None),
    "ambiguous_400_before": (0.003, None),
    "reset_before": (0.003, None),
    # Taken: the book tells.
    "timeout_after": (0.04, _SLOW_S),
    "error_5xx_after": (0.04, None),
    "html_502_after": (0.04, None),
    "ambiguous_400_after": (0.04, None),
    "reset_after": (0.04, None),
}
AMBIGUOUS = tuple(_ANSWERS)
"""After these the arm cannot know whether its call was taken."""
_OTHERS: Mapping[str, tuple[float, float | None]] = {
    "late_book": (0.02, _LATE_S),
    "burst_429": (0.02, None),
    "token_expiry": (0.001, None),
}
WEBSOCKET: Mapping[str, tuple[float, float | None]] = {
    "duplicate_update": (0.1, None),
    "reordered_update": (0.1, None),
    "missing_update": (0.1, None),
    "silent_ws": (0.01, _SILENT_S),
}
KINDS = (*_ANSWERS, *_OTHERS)
"""What a run on the replay clock meets; nobody listens to the websocket there."""


def scenario(seed: int, *, websocket: bool, each: bool) -> str:
    """The faults file of one life of kitesim; with `each` its first calls meet each kind once."""
    chosen = {**_ANSWERS, **_OTHERS, **(WEBSOCKET if websocket else {})}
    faults = [
        {
            "kind": kind,
            "probability": probability,
            "count": int(each),
            **({} if seconds is None else {"seconds": seconds}),
        }
        for kind, (probability, seconds) in chosen.items()
    ]
    return yaml.safe_dump({"seed": seed, "faults": faults})
