"""A strategy whose orders rest on the market for long: limit entries with brackets, changed once and then cancelled."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from pydantic import Field

from panda_streams.domain.signals import Decision, Intent, OrderType, Side, Terms
from panda_streams.domain.ticks import Tick, price_of
from panda_streams.domain.values import Value
from strategies.interface import Strategy

__all__ = ["Patient"]

_TICK = 5
"""Paise: the smallest step of a price."""
_ROUNDS = 4
"""Of an instrument: enter, change, cancel, exit."""

State = dict[str, tuple[int, int]]
"""Instrument to its next round, and the event time from which it is due."""


class PatientParams(Value):
    every_s: float = Field(12, gt=0)
    """Event seconds from one round of an instrument to the next."""
    away_bps: float = Field(4, ge=0)
    """How far behind the last price an entry waits, basis points."""
    bracket_bps: float = Field(8, gt=0)
    """How far from the entry's limit its target and its stop are, basis points."""


class Patient(Strategy[State]):
    """Buys and sells in turn at a limit that is not reached at once, so that some order works at any moment."""

    Params = PatientParams
    params: PatientParams

    def initial(self) -> State:
        return {}

    def step(self, state: State, tick: Tick) -> tuple[State, tuple[Decision, ...]]:
        number, due = state.get(tick.instrument, (0, 0))
        if tick.time < due:
            return state, ()
        due = tick.time + int(1000 * self.params.every_s)
        return {**state, tick.instrument: (number + 1, due)}, (self._decision(number, tick),)

    def _decision(self, number: int, tick: Tick) -> Decision:
        turn, step = divmod(number, _ROUNDS)
        side, other = (Side.BUY, Side.SELL) if turn % 2 == 0 else (Side.SELL, Side.BUY)
        sign = 1 if side is Side.BUY else -1
        limit = tick.price * (1 - sign * self.params.away_bps / 10_000)
        match step:
            case 0:
                bracket = sign * limit * self.params.bracket_bps / 10_000
                terms = Terms(
                    order_type=OrderType.LIMIT,
                    price=_price(limit),
                    target=_price(limit + bracket),
                    stop=_price(limit - bracket),
                )
                return Decision(instrument=tick.instrument, side=side, intent=Intent.ENTRY, terms=terms)
            case 1:
                terms = Terms(order_type=OrderType.LIMIT, price=_price((limit + tick.price) / 2))
                return Decision(instrument=tick.instrument, side=side, intent=Intent.MODIFY, terms=terms)
            case 2:
                return Decision(instrument=tick.instrument, side=side, intent=Intent.CANCEL)
            case _:
                return Decision(instrument=tick.instrument, side=other, intent=Intent.EXIT)

    def dump(self, state: State) -> Any:
        return {name: list(round) for name, round in state.items()}

    def load(self, data: Any) -> State:
        return {name: (number, due) for name, (number, due) in data.items()}


def _price(units: float) -> Decimal:
    """The price at the step nearest to `units` paise."""
    return price_of(round(units / _TICK) * _TICK, 2)
