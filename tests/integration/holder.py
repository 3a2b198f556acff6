"""A strategy that buys each of its shares once, and holds them."""

from __future__ import annotations

from typing import Any

from panda_streams.domain.signals import Decision, Intent, Side
from panda_streams.domain.ticks import Tick
from panda_streams.domain.values import Value
from strategies.interface import Strategy

__all__ = ["Holder"]

State = tuple[str, ...]
"""What was bought."""


class Holder(Strategy[State]):
    class Params(Value):
        """None."""

    def initial(self) -> State:
        return ()

    def step(self, state: State, tick: Tick) -> tuple[State, tuple[Decision, ...]]:
        if tick.instrument in state:
            return state, ()
        bought = Decision(instrument=tick.instrument, side=Side.BUY, intent=Intent.ENTRY)
        return (*state, tick.instrument), (bought,)

    def dump(self, state: State) -> Any:
        return list(state)

    def load(self, data: Any) -> State:
        return tuple(data)
