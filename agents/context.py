"""What every agent of a worker is given by the composition root."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from panda_streams.domain.instruments import Instruments
from panda_streams.domain.risk.limits import LimitSet
from panda_streams.identity import Identity
from panda_streams.levels import Levels
from panda_streams.mirror import Mirror
from panda_streams.topics import Topics
from strategies.config import StrategyConfig

__all__ = ["Context"]


@dataclass(frozen=True, slots=True)
class Context:
    identity: Identity
    topics: Topics
    instruments: Instruments
    strategies: Mapping[str, StrategyConfig]
    """By strategy_id."""
    limits: LimitSet
    """What the files say of the arm's account; the brain has none."""
    levels: Levels
    mirror: Mirror
    partitions: int
    """Of every topic: the number of shards too."""
    ordered: bool
    """True on the replay clock: records act in the order of event time; False on the wall clock, as they come."""

    @property
    def world(self) -> str:
        return self.identity.world.name

    @property
    def namespace(self) -> str:
        assert self.identity.namespace is not None, "only an arm has a namespace"
        return self.identity.namespace

    def topic(self, name: str) -> str:
        """The full name of one of the arm's topics."""
        return self.topics.of(self.namespace, name)

    def now_ms(self) -> int:
        """Wall time for what people read; no decision may depend on it."""
        return time.time_ns() // 1_000_000
