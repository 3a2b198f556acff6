"""Wire types: what travels on each topic. One class an event, frozen; money is a decimal string.

Tick batches and beats have a codec of their own (codec.py); every other event is the JSON of its class.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from panda_streams.domain.orders import Fill, OrderState
from panda_streams.domain.signals import Side, Signal
from panda_streams.domain.ticks import Tick
from panda_streams.domain.values import Value

__all__ = [
    "Beat",
    "DeadLetter",
    "Filled",
    "Health",
    "Level",
    "Mark",
    "Mode",
    "OrderUpdate",
    "Phase",
    "Rejected",
    "RuleResult",
    "Signal",
    "Snapshot",
    "TickBatch",
    "Validated",
    "WIRE_EVENTS",
]


class Phase(StrEnum):
    """Phase of the trading session at a beat."""

    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class TickBatch:
    """All ticks of one feed frame that belong to one shard.

    `sequence` counts the records of (source, run) on this shard from 0 without a gap, beats included. `ticks` are in
    the order of their rows. `depth` maps a row to the order book at that tick and is decoded only on demand.
    """

    world: str
    source: str
    run: str
    sequence: int
    time: int
    """Highest event time of its ticks, milliseconds since the epoch."""
    ticks: tuple[Tick, ...]
    depth_line: bytes | None = None
    """The undecoded second line: see codec.decode_depth."""


@dataclass(frozen=True, slots=True)
class Beat:
    """Event time has reached `time` on this shard: no tick with a time up to it follows. `end`: none follows at all."""

    world: str
    source: str
    run: str
    sequence: int
    time: int
    phase: Phase
    end: bool = False


class RuleResult(Value):
    """One risk rule's finding: what it saw and the limit it saw it against."""

    code: str
    passed: bool
    value: str | None
    limit: str | None


class Validated(Value):
    """A signal that passed every rule of an arm, with the quantity that it may trade there."""

    kind: Literal["validated"] = "validated"
    world: str
    namespace: str
    signal: Signal
    order_id: str
    quantity: int
    rules: tuple[RuleResult, ...]
    producer: str
    sequence: int


class Rejected(Value):
    """A signal that an arm refused: `codes` are the rules that it broke."""

    kind: Literal["rejected"] = "rejected"
    world: str
    namespace: str
    signal: Signal
    codes: tuple[str, ...]
    rules: tuple[RuleResult, ...]
    producer: str
    sequence: int


class OrderUpdate(Value):
    """A change of an order's state, with the fill that caused it."""

    kind: Literal["order"] = "order"
    world: str
    namespace: str
    order_id: str
    signal_id: str
    strategy_id: str
    instrument: str
    side: Side
    quantity: int
    state: OrderState
    reason: str | None
    time: int
    fill: Fill | None
    producer: str
    sequence: int


class Filled(Value):
    """A fill on its way to the strategy's portfolio."""

    kind: Literal["fill"] = "fill"
    world: str
    namespace: str
    fill: Fill
    producer: str
    sequence: int


class Mark(Value):
    """Last prices of the instruments that a strategy holds on one shard, at most one record a second."""

    kind: Literal["mark"] = "mark"
    world: str
    namespace: str
    strategy_id: str
    shard: int
    time: int
    prices: dict[str, Decimal]


class Snapshot(Value):
    """A strategy's portfolio after a change, amounts in the account's currency."""

    kind: Literal["snapshot"] = "snapshot"
    world: str
    namespace: str
    strategy_id: str
    time: int
    capital: Decimal
    cash: Decimal
    realised: Decimal
    unrealised: Decimal
    charges: Decimal
    producer: str
    sequence: int


class Mode(StrEnum):
    """Level of an arm: ACTIVE trades, HALTED refuses entries and exits alike."""

    ACTIVE = "ACTIVE"
    HALTED = "HALTED"


class Level(Value):
    """An operator's setting, in force until another replaces it: with who, when (milliseconds) and why."""

    kind: Literal["level"] = "level"
    world: str
    scope: str
    setting: str
    value: str
    who: str
    at: int
    reason: str


class DeadLetter(Value):
    """A record that could not be processed: where it stands, why, and its bytes as base64."""

    kind: Literal["dead-letter"] = "dead-letter"
    world: str
    topic: str
    partition: int
    offset: int
    reason: str
    key: str | None
    payload: str


class Health(Value):
    """What a process says of itself every second, in Redis under `<scope>:health:<instance>`."""

    kind: Literal["health"] = "health"
    world: str
    role: str
    namespace: str | None
    instance: int
    pid: int
    state: str
    """starting, recovering, running, waiting, finished or stopped."""
    ready: bool
    mode: str | None
    """ACTIVE or HALTED for an arm."""
    detail: str
    """What it is waiting for or doing, for people; empty if all is well."""
    lag: int | None
    """Records on its input topics that it has not processed."""
    events: int
    """Records processed since the process started."""
    last_event_time: int | None
    """Event time of the last record processed, milliseconds since the epoch."""
    started_at: int
    at: int
    """Wall time of this report, milliseconds since the epoch."""
    url: str | None


WIRE_EVENTS: dict[str, tuple[type[Value], ...]] = {
    "signals.raw": (Signal,),
    "signals.validated": (Validated,),
    "signals.rejected": (Rejected,),
    "orders.updates": (OrderUpdate,),
    "orders.filled": (Filled,),
    "marks": (Mark,),
    "portfolio.snapshots": (Snapshot,),
    "control": (Level,),
    "dlq": (DeadLetter,),
}
"""The events of each topic but market.ticks."""
