"""A strategy for the arm's benchmark: buys at every other tick, so that the arm has something to do."""

from __future__ import annotations

from typing import Any

from panda_streams.domain.signals import Decision, Intent, Side
from panda_streams.domain.ticks import Tick
from panda_streams.domain.values import Value
from strategies.interface import Strategy

__all__ = ["Eager"]


class EagerParams(Value):
    until: int = 0
    """Event time of its last signal, milliseconds since the epoch."""


class Eager(Strategy[None]):
    """Every signal is an entry that no limit refuses: whatever the schedule, each becomes an order and is filled."""

    Params = EagerParams
    params: EagerParams

    def initial(self) -> None:
        return None

    def step(self, state: None, tick: Tick) -> tuple[None, tuple[Decision, ...]]:
        if tick.row % 2 or tick.time > self.params.until or tick.instrument not in self.config.trades:
            return None, ()
        return None, (Decision(instrument=tick.instrument, side=Side.BUY, intent=Intent.ENTRY),)

    def dump(self, state: None) -> Any:
        return None

    def load(self, data: Any) -> None:
        return None
