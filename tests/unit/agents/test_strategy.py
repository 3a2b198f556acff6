"""The brain: one signal, the same bytes for every broker, and a strategy that raises is paused alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from agents.strategy import Brain
from panda_streams.codec import decode, encode_batch, encode_beat
from panda_streams.domain.signals import Decision, Intent, Side, Signal
from panda_streams.domain.ticks import Tick
from panda_streams.events import Beat, Level, Phase
from panda_streams.streams.loop import Record
from strategies.config import StrategyConfig
from tests.unit.agents.fakes import TICKS, FakeLoop, FakeTable, a_config, a_context
from tests.unit.builders import INFY, T0, a_batch, a_tick


class EverySecond:
    """Buys at every second tick of an instrument; raises at the price 666."""

    def __init__(self, config: StrategyConfig) -> None:
        self.config = config

    def initial(self) -> Mapping[str, int]:
        return {}

    def step(self, state: Mapping[str, int], tick: Tick) -> tuple[Mapping[str, int], tuple[Decision, ...]]:
        if tick.price == 666:
            raise ZeroDivisionError("a mistake")
        count = state.get(tick.instrument, 0) + 1
        wants = (Decision(instrument=tick.instrument, side=Side.BUY, intent=Intent.ENTRY),) if count % 2 == 0 else ()
        return {**state, tick.instrument: count}, wants

    def dump(self, state: Mapping[str, int]) -> Any:
        return dict(state)

    def load(self, data: Any) -> Mapping[str, int]:
        return dict(data)


class World:
    """A brain on fakes; `restart` makes a new one on the same table."""

    def __init__(self, *configs: StrategyConfig) -> None:
        self.configs, self.loop, self.table = configs, FakeLoop(), FakeTable()
        self.restart()

    def restart(self) -> None:
        self.context = a_context(*self.configs, namespace=None, loop=self.loop)
        self.brain = Brain(self.context, self.table, [EverySecond(config) for config in self.configs])  # type: ignore[arg-type, misc]

    def tick(self, offset: int, price: int = 140_000, instrument: str = INFY) -> None:
        batch = a_batch(a_tick(price, row=offset, time=T0 + offset, instrument=instrument), sequence=offset)
        asyncio.run(self.brain.handle(Record(TICKS, 2, offset, b"2", encode_batch(batch))))

    def signals(self, broker: str = "paper") -> list[Signal]:
        return [decode(Signal, output.value) for output in self.loop.to(f"{broker}.signals.raw")]


def test_every_listed_broker_receives_the_very_same_bytes() -> None:
    world = World(a_config())
    for offset in range(4):
        world.tick(offset)

    paper, zerodha = world.loop.to("paper.signals.raw"), world.loop.to("zerodha.signals.raw")

    assert len(paper) == 2
    assert [output.value for output in paper] == [output.value for output in zerodha]
    assert {output.key for output in paper} == {b"paper"}


def test_a_signal_carries_its_cause_and_the_quote_it_was_made_at() -> None:
    world = World(a_config())
    world.tick(0, 140_000)
    world.tick(1, 140_050)

    (signal,) = world.signals()

    assert (signal.cause.shard, signal.cause.offset, signal.cause.row, signal.cause.time) == (2, 1, 1, T0 + 1)
    assert signal.quote is not None
    assert (str(signal.quote.price), signal.quote.bid) == ("1400.50", None)


def test_a_batch_seen_again_after_a_restart_says_nothing_twice_and_goes_on() -> None:
    world = World(a_config())
    for offset in range(3):
        world.tick(offset)
    world.restart()

    for offset in (1, 2, 3):
        world.tick(offset)

    assert [(signal.cause.offset, signal.sequence) for signal in world.signals()] == [(1, 0), (3, 1)]


def test_the_same_ticks_give_the_same_ids() -> None:
    first, second = World(a_config()), World(a_config())
    for world in (first, second):
        for offset in range(6):
            world.tick(offset)

    assert [s.signal_id for s in first.signals()] == [s.signal_id for s in second.signals()]
    assert len({s.signal_id for s in first.signals()}) == 3


def test_a_strategy_that_raises_is_paused_and_the_other_goes_on() -> None:
    other = a_config("Other", trades=["NSE:TCS"])
    world = World(a_config(), other)

    world.tick(0, 666)
    for offset in (1, 2):
        world.tick(offset)
        world.tick(offset + 10, instrument="NSE:TCS")

    (level,) = [decode(Level, output.value) for output in world.loop.to("control")]
    assert (level.scope, level.value) == ("strategy:Momentum", "PAUSED")
    assert "ZeroDivisionError: a mistake" in level.reason
    assert {signal.strategy_id for signal in world.signals()} == {"Other"}


def test_a_decision_on_a_foreign_instrument_pauses_the_strategy() -> None:
    world = World(a_config(trades=["NSE:TCS"], watches=["NSE:NIFTY 50"]))

    for offset in (0, 1):
        world.tick(offset, instrument="NSE:NIFTY 50")

    assert "not among what it trades" in world.context.levels.paused("Momentum").reason
    assert world.signals() == []


def test_another_configuration_starts_a_strategy_afresh() -> None:
    world = World(a_config())
    world.tick(0)
    world.configs = (a_config(params={"changed": 1}),)
    world.restart()

    world.tick(1)

    assert world.signals() == []


def test_beats_reach_no_strategy() -> None:
    world = World(a_config())
    world.tick(0)

    beat = encode_beat(Beat("sim", "sim", "1", 1, T0 + 1000, Phase.OPEN))
    time = asyncio.run(world.brain.handle(Record(TICKS, 2, 1, b"2", beat)))

    assert time == T0 + 1000
    assert world.signals() == []
