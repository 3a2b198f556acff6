"""What an alert is: its kind, how loud each kind is, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from panda_streams.identity import Identity, World

__all__ = ["Alert", "AlertKind", "Loudness", "Origin"]


class AlertKind(StrEnum):
    """What alerts are about; each can be on, silent or off."""

    HALT = "HALT"
    """An operator has halted an arm, or all of them, or lets it only reduce."""
    RESUME = "RESUME"
    """An arm or a strategy has been resumed."""
    AUTOMATIC_HALT = "AUTOMATIC_HALT"
    """An arm has stopped itself, or one of its strategies, at a limit."""
    FLATTEN = "FLATTEN"
    """An operator flattens an account; and again once all its positions are closed."""
    STRATEGY_PAUSED = "STRATEGY_PAUSED"
    """A strategy has been paused: it raised, or an operator paused it."""
    WORKER_DIED = "WORKER_DIED"
    """A process has ended that should not; it is started again, or a restart cannot mend it."""
    WORKER_STALLED = "WORKER_STALLED"
    """A process hung, and its supervisor has killed it."""
    DEAD_LETTER = "DEAD_LETTER"
    """A record could not be processed and went to a dead-letter topic."""
    ORDER_REJECTED = "ORDER_REJECTED"
    """The market has refused orders."""
    FEED_STALE = "FEED_STALE"
    """An arm has stopped itself because no tick comes while the market trades."""
    FEED_LOST = "FEED_LOST"
    """The feed has lost its connection to a broker while the market trades; and again once it is back."""
    RECONCILE_MISMATCH = "RECONCILE_MISMATCH"
    """A broker holds something else than our books say."""
    TOKEN_EXPIRED = "TOKEN_EXPIRED"
    """A broker's session has ended: nobody is logged in."""
    CONTRACT_NOTE = "CONTRACT_NOTE"
    """The contract note of a trading day is booked."""
    TEST = "TEST"
    """`panda alert test`."""


class Loudness(StrEnum):
    """What becomes of the alerts of a kind."""

    ON = "on"
    """Delivered."""
    SILENT = "silent"
    """Delivered as mere information, and without a sound where the service can."""
    OFF = "off"
    """Not delivered."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that people should hear of. `title` names what it is about, for alerts are summed up by it."""

    kind: AlertKind
    title: str
    body: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where alerts come from; said in each of them."""

    world: World
    process: str
    """As `namespace paper, instance 0`."""

    @classmethod
    def of(cls, identity: Identity) -> Origin:
        what = f"namespace {identity.namespace}" if identity.namespace else identity.role.value
        return cls(identity.world, f"{what}, instance {identity.instance}")

    def title(self, alert: Alert) -> str:
        """The title as people see it: what is not real says so first."""
        return f"SIMULATED: {alert.title}" if self.world.simulated else alert.title

    def body(self, alert: Alert) -> str:
        return f"{alert.body}\n\n{alert.kind} in world {self.world.name}, {self.process}"
