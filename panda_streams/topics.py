"""Every topic: its name, what its key is, what it holds and how long it is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["ARM_TOPICS", "SHARED_TOPICS", "TopicKey", "TopicSpec", "Topics", "level_key"]

_HOUR_MS = 3_600_000


class TopicKey(StrEnum):
    """What decides the partition of a record."""

    SHARD = "instrument shard"
    ACCOUNT = "account"
    STRATEGY = "strategy_id"
    SETTING = "(scope, setting)"
    ORIGIN = "key of the origin"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic. `name` is without prefix; an arm's topics are named after its namespace."""

    name: str
    key: TopicKey
    value: str
    readers: str
    compacted: bool = False
    retention_hours: int | None = None
    """None keeps records for ever (compacted topics) or as the settings say (ticks)."""
    config: dict[str, str] = field(default_factory=dict)

    def configs(self, tick_retention_hours: int) -> dict[str, str]:
        """The topic's Kafka configuration."""
        if self.compacted:
            return {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1", **self.config}
        hours = self.retention_hours or tick_retention_hours
        return {"cleanup.policy": "delete", "retention.ms": str(hours * _HOUR_MS), **self.config}


_MONTH = 31 * 24

SHARED_TOPICS = (
    TopicSpec(
        "market.ticks",
        TopicKey.SHARD,
        "TickBatch: the ticks of one feed frame that belong to one shard; Beat: event time, every second",
        "brain, execution, kitesim",
    ),
    TopicSpec("control", TopicKey.SETTING, "Level for every arm; the world's stamp", "every worker", compacted=True),
)

ARM_TOPICS = (
    TopicSpec("signals.raw", TopicKey.ACCOUNT, "Signal", "risk", retention_hours=_MONTH),
    TopicSpec("signals.validated", TopicKey.SHARD, "Validated; Adjusted; Flatten", "execution", retention_hours=_MONTH),
    TopicSpec("signals.rejected", TopicKey.ACCOUNT, "Rejected", "tools", retention_hours=_MONTH),
    TopicSpec(
        "broker.commands",
        TopicKey.ACCOUNT,
        "Command; Counted",
        "the trader of a real broker",
        retention_hours=_MONTH,
        config={"flush.messages": "1"},
    ),
    TopicSpec("broker.reports", TopicKey.SHARD, "OrderReport; StrangerReport", "execution", retention_hours=_MONTH),
    TopicSpec(
        "orders.updates", TopicKey.ACCOUNT, "OrderUpdate; Prices; Silence; DayEnd", "risk", retention_hours=_MONTH
    ),
    TopicSpec("orders.filled", TopicKey.STRATEGY, "Filled; Booked", "portfolio", retention_hours=_MONTH),
    TopicSpec("marks", TopicKey.STRATEGY, "Mark", "portfolio", retention_hours=24),
    TopicSpec("portfolio.snapshots", TopicKey.ACCOUNT, "Snapshot", "tools", retention_hours=_MONTH),
    TopicSpec("control", TopicKey.SETTING, "Level: for this arm", "the arm's workers", compacted=True),
    TopicSpec("audit", TopicKey.ACCOUNT, "Action; Completed; Stopped", "risk", retention_hours=12 * _MONTH),
    TopicSpec("dlq", TopicKey.ORIGIN, "DeadLetter", "tools", retention_hours=12 * _MONTH),
)

BRAIN_DLQ = TopicSpec("brain.dlq", TopicKey.ORIGIN, "DeadLetter", "tools", retention_hours=12 * _MONTH)


@dataclass(frozen=True, slots=True)
class Topics:
    """The full names of the topics of one world (`prefix` as in Identity)."""

    prefix: str

    @property
    def ticks(self) -> str:
        return f"{self.prefix}market.ticks"

    @property
    def control(self) -> str:
        """Levels for every arm, the ones that start later too."""
        return f"{self.prefix}control"

    def of(self, namespace: str, name: str) -> str:
        """The full name of an arm's topic: `of("paper", "signals.raw")`; the brain owns only a `dlq`."""
        return f"{self.prefix}{namespace}.{name}"

    def specs(self, namespaces: list[str]) -> dict[str, TopicSpec]:
        """All topics of a world with these namespaces, by full name."""
        specs = {f"{self.prefix}{spec.name}": spec for spec in (*SHARED_TOPICS, BRAIN_DLQ)}
        for namespace in namespaces:
            specs |= {self.of(namespace, spec.name): spec for spec in ARM_TOPICS}
        return specs


def level_key(scope: str, setting: str) -> bytes:
    """The key of a level on a control topic: its last record is the level in force."""
    return f"{scope}/{setting}".encode()
