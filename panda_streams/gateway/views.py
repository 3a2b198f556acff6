"""What people see of a world: the typed answers of the gateway and of `panda status`, with None for what is absent."""

from __future__ import annotations

from enum import StrEnum

from panda_streams.domain.values import Value
from panda_streams.events import Health
from panda_streams.mirrored import (
    Amount,
    DayRecord,
    GainsRecord,
    LinkRecord,
    OrderRecord,
    PositionRecord,
    Refusal,
    StopRecord,
    StrategyRecord,
    TraderRecord,
)

__all__ = [
    "ArmState",
    "NamespaceView",
    "PortfolioView",
    "PositionView",
    "ProcessView",
    "StageView",
    "State",
    "StopView",
    "SummaryView",
]


class ArmState(StrEnum):
    """RUNNING reports; STOPPED has been there and does not report any more; NONE has never run."""

    RUNNING = "running"
    STOPPED = "stopped"
    NONE = "none"


class PositionView(PositionRecord):
    stale: bool
    """The market has moved on for more than ten seconds and this number has not."""


class PortfolioView(Value):
    """One strategy's book at one broker account."""

    namespace: str
    strategy_id: str
    currency: str
    simulated: bool
    capital: Amount
    cash: Amount
    equity: Amount | None
    realised: Amount
    unrealised: Amount | None
    charges: Amount
    open_positions: int
    fills: int
    bookings: int
    bookings_waiting: int
    gains: dict[str, dict[str, GainsRecord]]
    """For tax: by financial year and term."""
    time: int | None
    at: int
    """Wall time up to which these numbers are known to hold: a book without a position holds while its arm runs."""
    stale: bool
    positions: tuple[PositionView, ...]


class SummaryView(Value):
    """One broker account's totals, in its one currency; None with a reason where there is nothing to add up."""

    namespace: str
    currency: str | None
    capital: Amount | None
    cash: Amount | None
    equity: Amount | None
    realised: Amount | None
    unrealised: Amount | None
    charges: Amount | None
    strategies: int
    """Strategies that have a book there."""
    open_positions: int
    fills: int
    at: int | None
    """The oldest of its books."""
    stale: bool
    reason: str
    """Why a figure is absent; empty if none is."""


class StageView(Value):
    """How far one stage of an arm has come: feed, brain, risk, execution or portfolio."""

    stage: str
    reached: int | None
    """Event time up to which all of its workers have done their part, no later than the feed; None if not known."""
    behind_ms: int | None
    """Event time from there to the feed; None if either is not known, and for the feed itself."""
    waits: str
    """What holds it up: the streams whose beat its next record waits for, or a process that is not well; empty if
    nothing does."""


class StopView(StopRecord):
    fix: str
    """What to do about it."""
    chosen: bool
    """True if an operator wanted it: then nothing is wrong."""


class NamespaceView(Value):
    """One broker account, whether or not an arm trades it."""

    namespace: str
    title: str
    currency: str | None
    live: bool
    """True where real money moves."""
    trader: bool
    arm: ArmState
    mode: str | None
    """The strictest of what operators have set and of the arm's own stops of the account."""
    mode_reason: str | None
    operators_mode: str | None
    """What operators alone have set, as a running arm says; where it is another one, the mode is one of the stops'."""
    stops: tuple[StopView, ...]
    """Stops that the arm has put itself in."""
    day: DayRecord | None
    """Its trading day; None before the first one."""
    ready: bool
    detail: str
    lag: int | None
    signals_waiting: int | None
    """Signals that the brain has sent and no arm has handled; None if the brain has not counted any yet."""
    signals: int | None
    validated: int | None
    rejected: int | None
    refusals: dict[str, int]
    recent_refusals: tuple[Refusal, ...]
    strategies: tuple[str, ...]
    """Strategies that list this broker."""
    link: LinkRecord | None = None
    """The line of a live arm to its broker; None if none has run."""
    at_broker: TraderRecord | None = None
    """What a live arm has at its broker, and what its books do not explain."""
    stages: tuple[StageView, ...]
    """The way of an event to its books, in order; empty if no arm has ever reported."""
    last_event_time: int | None
    at: int | None
    """When its arm last said anything."""
    reason: str
    """Why there is no arm or no number; empty if there is."""


class ProcessView(Health):
    fresh: bool
    """False if it has not reported for ten seconds."""

    @property
    def scope(self) -> str:
        return self.namespace or self.role


class State(Value):
    """Everything that the screen shows, at the wall time `now`."""

    now: int
    world: str
    simulated: bool
    world_note: str | None
    """What is not real about this world, for people."""
    namespaces: tuple[NamespaceView, ...]
    summaries: dict[str, SummaryView]
    portfolios: dict[str, tuple[PortfolioView, ...]]
    orders: dict[str, tuple[OrderRecord, ...]]
    strategies: tuple[StrategyRecord, ...]
    strategies_at: int | None
    """When the brain wrote its strategies; None if it never has."""
    processes: tuple[ProcessView, ...]
    problems: tuple[str, ...]
    foreign_stamp: str | None
    """Set if the Redis database carries another world's stamp: then nothing of this state may be shown."""

    def namespace(self, name: str) -> NamespaceView | None:
        return next((view for view in self.namespaces if view.namespace == name), None)
