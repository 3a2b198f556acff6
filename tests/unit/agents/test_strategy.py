"""The brain: one signal, the same bytes for every broker, and a strategy that raises is paused alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from agents.strategy import Brain
from panda_streams.codec import decode, encode_batch, encode_beat
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.signals import Decision, Intent, Side, Signal
from panda_streams.domain.ticks import Tick
from panda_streams.events import Beat, Level, Phase
from panda_streams.streams.loop import Record
from strategies.config import StrategyConfig
from tests.unit.agents.fakes import INSTRUMENTS, TICKS, FakeLoop, FakeTable, a_config, a_context
from tests.unit.builders import INFY, T0, a_batch, a_tick

NIFTY = "NSE:NIFTY 50"


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


class OnIndex(EverySecond):
    """Buys INFY, `times` at once, at every tick of the index."""

    def step(self, state: Mapping[str, int], tick: Tick) -> tuple[Mapping[str, int], tuple[Decision, ...]]:
        buy = Decision(instrument=INFY, side=Side.BUY, intent=Intent.ENTRY)
        return state, (buy,) * self.config.params.get("times", 1) if tick.instrument == NIFTY else ()


class World:
    """A brain on fakes; `restart` makes a new one on the same table."""

    def __init__(self, *configs: StrategyConfig, kind: Any = EverySecond, partitions: int = 1) -> None:
        self.configs, self.loop, self.table, self.kind = configs, FakeLoop(), FakeTable(), kind
        self.shards = ShardMap(partitions, INSTRUMENTS)
        self.restart()

    def restart(self) -> None:
        self.loop.crash_before = ""
        self.context = a_context(*self.configs, namespace=None, loop=self.loop)
        strategies = [self.kind(config) for config in self.configs]
        self.brain = Brain(self.context, self.table, strategies, self.shards)  # type: ignore[arg-type]

    def tick(self, offset: int, price: int = 140_000, instrument: str = INFY, shard: int = 0) -> None:
        batch = a_batch(a_tick(price, row=offset, time=T0 + offset, instrument=instrument), sequence=offset)
        asyncio.run(self.brain.handle(Record(TICKS, shard, offset, b"", encode_batch(batch))))

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

    assert (signal.cause.shard, signal.cause.offset, signal.cause.row, signal.cause.time) == (0, 1, 1, T0 + 1)
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
    time = asyncio.run(world.brain.handle(Record(TICKS, 0, 1, b"", beat)))

    assert time == T0 + 1000
    assert world.signals() == []


def test_a_signal_said_again_after_a_kill_carries_the_same_quote() -> None:
    world = World(a_config(watches=[NIFTY]), kind=OnIndex)
    world.tick(0, 140_050)
    world.loop.crash_before = "outputs"
    with pytest.raises(InterruptedError):
        world.tick(1, instrument=NIFTY)
    world.restart()

    world.tick(1, instrument=NIFTY)

    (signal,) = world.signals()
    assert signal.quote is not None
    assert (signal.quote.price, signal.quote.tick.offset) == (Decimal("1400.50"), 0)


def test_an_index_tick_that_every_shard_sees_makes_a_signal_on_the_shard_of_its_instrument_alone() -> None:
    (home,) = ShardMap(4, INSTRUMENTS).shards(INFY)
    world = World(a_config(watches=[NIFTY]), kind=OnIndex, partitions=4)

    world.tick(0, instrument=NIFTY, shard=home)
    world.tick(0, instrument=NIFTY, shard=(home + 1) % 4)

    assert [signal.cause.shard for signal in world.signals()] == [home]
    assert "not on this shard" in world.context.levels.paused("Momentum").reason


def test_two_decisions_on_one_instrument_at_a_tick_would_be_one_signal_and_pause_the_strategy() -> None:
    world = World(a_config(watches=[NIFTY], params={"times": 2}), kind=OnIndex)

    world.tick(0, instrument=NIFTY)

    assert world.signals() == []
    assert "decided twice" in world.context.levels.paused("Momentum").reason


def test_a_strategy_is_paused_only_after_the_signals_of_its_batch_are_in_the_row() -> None:
    # Else a kill in between would step the batch again without it, and give its sequence numbers to other signals.
    world = World(a_config())
    good = a_tick(row=1, time=T0 + 1)
    batch = a_batch(a_tick(row=0), good, a_tick(666, row=2, time=T0 + 2), sequence=0)

    asyncio.run(world.brain.handle(Record(TICKS, 0, 0, b"", encode_batch(batch))))

    assert [output.topic for output in world.loop.sent] == ["paper.signals.raw", "zerodha.signals.raw", "control"]
    world.restart()
    asyncio.run(world.brain.handle(Record(TICKS, 0, 0, b"", encode_batch(batch))))
    assert len(world.signals()) == 1


@pytest.mark.parametrize("broken", ["dump", "load"])
def test_a_strategy_whose_state_cannot_be_stored_or_loaded_is_paused_alone(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: EverySecond, value: Any) -> Any:
        if self.config.strategy_id == "Momentum":
            raise TypeError("a mistake")
        return dict(value)

    world = World(a_config(), a_config("Other"))
    world.tick(0)
    monkeypatch.setattr(EverySecond, broken, fail)
    world.restart()

    for offset in (1, 2, 3):
        world.tick(offset)

    assert "TypeError: a mistake" in world.context.levels.paused("Momentum").reason
    assert len(world.loop.to("control")) == 1
    assert [s.strategy_id for s in world.signals()].count("Other") == 2


def test_the_mirror_is_written_from_the_rows_and_leaves_what_the_brain_holds_alone() -> None:
    world = World(a_config())
    world.tick(0)
    early = dict(world.table.stored)
    world.tick(1)
    late, world.table.stored = world.table.stored, early
    world.restart()

    world.brain.mirror_rows()  # while the rows are still being recovered
    world.table.stored = late
    world.tick(1)

    assert len(world.signals()) == 1
