"""Table `brain`, key: shard number. What the strategies know on one shard.

Rebuilt by replaying market.ticks from the beginning.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import convert
from msgspec.structs import astuple
from pydantic import PlainSerializer, PlainValidator

from panda_streams.domain.ticks import Tick
from panda_streams.domain.values import Value
from tables import Row

__all__ = ["NAME", "BrainRow", "Entered", "StoredState"]

NAME = "brain"

StoredTick = Annotated[
    Tick,
    PlainValidator(lambda stored: stored if isinstance(stored, Tick) else convert(stored, Tick)),
    PlainSerializer(astuple, return_type=tuple),
]
"""A tick as the array of its fields."""


class StoredState(Row):
    """A strategy's state on a shard, as its own `dump` made it, under the configuration that made it."""

    config: str
    data: Any


class Entered(Value):
    """The instruments that a strategy has entered under the name of a contract since it last closed what it had there.

    `exited` is True once they have been closed: they are kept for another EXIT, and the next entry replaces them.
    """

    instruments: tuple[str, ...] = ()
    exited: bool = False


class BrainRow(Row):
    signals: int = 0
    """Signals said so far: the version of the fan-out counts in the mirror."""
    fanout: dict[str, int] = {}  # noqa: RUF012  pydantic copies defaults
    """Signals sent so far, by broker."""
    states: dict[str, StoredState] = {}  # noqa: RUF012
    """By strategy_id."""
    paused: dict[str, str] = {}  # noqa: RUF012
    """Strategies that see no tick, and why."""
    unsaid: dict[str, str] = {}  # noqa: RUF012
    """Those of them that raised and have not been published as paused yet, and why."""
    quotes: dict[str, tuple[str, str, int, StoredTick]] = {}  # noqa: RUF012
    """Last tick of each instrument that is traded, that a contract may stand for, or that was entered under one's name,
    after its source, run and offset: a signal carries it, whatever was restarted in between."""
    entered: dict[str, dict[str, Entered]] = {}  # noqa: RUF012
    """By strategy_id and name of the contract: what an EXIT of that name closes."""
    unresolved: dict[str, int] = {}  # noqa: RUF012
    """Decisions on contracts of which no signal could be made, by strategy_id."""
