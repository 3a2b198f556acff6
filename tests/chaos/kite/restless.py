"""A strategy that never rests: entries and exits at the market and at limits, brackets, changes and cancellations."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from pydantic import Field

from panda_streams.domain.signals import Decision, Intent, OrderType, Side, Terms, identify
from panda_streams.domain.ticks import Tick, price_of
from panda_streams.domain.values import Value
from strategies.interface import Strategy

__all__ = ["ROUNDS", "Restless"]

_TICK = 5
"""Paise: the smallest step of a price."""
ROUNDS = ("market", "exit", "away", "change", "cancel", "near", "exit", "bracket", "hold", "exit_at_limit", "exit")
"""What an instrument goes through, again and again, each instrument from another place on."""

State = dict[str, tuple[int, int]]
"""Instrument to its next round, and the event time from which it is due."""


class RestlessParams(Value):
    every_s: float = Field(5, gt=0)
    """Event seconds from one round of an instrument to the next."""
    away_bps: float = Field(6, ge=0)
    """How far behind the last price a resting entry waits, basis points."""
    bracket_bps: float = Field(8, gt=0)
    """How far from the entry a bracket's target and stop are, basis points."""


class Restless(Strategy[State]):
    """Buys and sells in turn, in rounds: what an account refuses or has not filled changes nothing in them."""

    Params = RestlessParams
    params: RestlessParams

    def initial(self) -> State:
        return {}

    def step(self, state: State, tick: Tick) -> tuple[State, tuple[Decision, ...]]:
        place = int(identify("restless", tick.instrument)[:8], 16)
        every = int(1000 * self.params.every_s)
        number, due = state.get(tick.instrument, (place % (2 * len(ROUNDS)), tick.time + place % every))
        if tick.time < due:
            return {**state, tick.instrument: (number, due)}, ()
        decision = self._decision(number, tick)
        return {**state, tick.instrument: (number + 1, tick.time + every)}, () if decision is None else (decision,)

    def _decision(self, number: int, tick: Tick) -> Decision | None:
        turn, step = divmod(number, len(ROUNDS))
        side, other = (Side.BUY, Side.SELL) if turn % 2 == 0 else (Side.SELL, Side.BUY)
        sign = 1 if side is Side.BUY else -1

        def at(bps: float) -> Decimal:
            """A price so far beyond the last one, in the direction of the trade."""
            return price_of(round(tick.price * (1 + sign * bps / 10_000) / _TICK) * _TICK, 2)

        name, away, wide = tick.instrument, self.params.away_bps, self.params.bracket_bps
        match ROUNDS[step]:
            case "market":
                return Decision(instrument=name, side=side, intent=Intent.ENTRY)
            case "away":
                terms = Terms(order_type=OrderType.LIMIT, price=at(-away))
                return Decision(instrument=name, side=side, intent=Intent.ENTRY, terms=terms)
            case "change":
                terms = Terms(order_type=OrderType.LIMIT, price=at(-away / 2))
                return Decision(instrument=name, side=side, intent=Intent.MODIFY, terms=terms)
            case "cancel":
                return Decision(instrument=name, side=side, intent=Intent.CANCEL)
            case "near":
                terms = Terms(order_type=OrderType.LIMIT, price=at(2))
                return Decision(instrument=name, side=side, intent=Intent.ENTRY, terms=terms)
            case "bracket":
                terms = Terms(order_type=OrderType.LIMIT, price=at(2), target=at(wide), stop=at(-wide))
                return Decision(instrument=name, side=side, intent=Intent.ENTRY, terms=terms)
            case "exit_at_limit":
                terms = Terms(order_type=OrderType.LIMIT, price=at(away))
                return Decision(instrument=name, side=other, intent=Intent.EXIT, terms=terms)
            case "exit":
                return Decision(instrument=name, side=other, intent=Intent.EXIT)
            case _:
                return None

    def dump(self, state: State) -> Any:
        return {name: list(round) for name, round in state.items()}

    def load(self, data: Any) -> State:
        return {name: (number, due) for name, (number, due) in data.items()}
