"""Table `brain`, key: shard number. What the strategies know on one shard.

Rebuilt by replaying market.ticks from the beginning.
"""

from __future__ import annotations

from typing import Any

from panda_streams.domain.ticks import Tick, TickRef
from tables import Row

__all__ = ["NAME", "BrainRow", "StoredState"]

NAME = "brain"


class StoredState(Row):
    """A strategy's state on a shard, as its own `dump` made it, under the configuration that made it."""

    config: str
    data: Any


class BrainRow(Row):
    applied: int = -1
    """Offset of the last record of market.ticks that is in the states."""
    sequence: int = 0
    """Next sequence number of the shard's signals."""
    fanout: dict[str, int] = {}  # noqa: RUF012  pydantic copies defaults
    """Signals sent so far, by broker."""
    states: dict[str, StoredState] = {}  # noqa: RUF012
    """By strategy_id."""
    quotes: dict[str, tuple[TickRef, Tick]] = {}  # noqa: RUF012
    """Last tick of each traded instrument: a signal carries one, whatever was restarted in between."""
