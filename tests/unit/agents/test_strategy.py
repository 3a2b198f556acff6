"""The brain: one signal, the same bytes for every broker, and a strategy that raises is paused alone."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson
import pytest

from agents.strategy import Brain
from panda_streams.codec import decode, encode, encode_batch, encode_beat
from panda_streams.domain.instruments import Instruments
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.signals import Decision, Intent, Side, Signal
from panda_streams.domain.ticks import Tick
from panda_streams.events import Beat, Level, Phase, StageBeat
from panda_streams.topics import level_key
from strategies.config import StrategyConfig
from tests.unit.agents.fakes import INSTRUMENTS, TICKS, a_config, a_context
from tests.unit.bench import DLQ, Bench, Killed
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
    """A brain of one worker, a bench for each shard; `restart` makes a new one on the same rows and logs."""

    def __init__(
        self,
        *configs: StrategyConfig,
        kind: Any = EverySecond,
        shards: int = 1,
        instruments: Instruments = INSTRUMENTS,
    ) -> None:
        self.configs, self.kind, self.shards = configs, kind, ShardMap(shards, instruments)
        self.levels: list[Level] = []
        self.benches: list[Bench] = []
        self.make()
        self.benches = [Bench(lambda: self.brain, shard) for shard in range(shards)]

    def make(self) -> None:
        self.context = a_context(*self.configs, namespace=None)
        strategies = [self.kind(config) for config in self.configs]
        self.brain = Brain(self.context, strategies, self.shards, ["paper", "zerodha"])
        for level in [*self.pauses(), *self.levels]:
            self._apply(level)

    def restart(self) -> None:
        self.make()
        for bench in self.benches:
            bench.restart()

    def tick(self, offset: int, price: int = 140_000, instrument: str = INFY, shard: int = 0) -> None:
        batch = a_batch(a_tick(price, row=offset, time=T0 + offset, instrument=instrument), sequence=offset)
        self.benches[shard].deliver(TICKS, offset, encode_batch(batch))

    def beat(self, offset: int, time: int, *, end: bool = False) -> None:
        beat = Beat("sim", "sim", "1", offset, time, Phase.OPEN, end)
        self.benches[0].deliver(TICKS, offset, encode_beat(beat))

    def set(self, strategy_id: str, state: str) -> None:
        """What an operator does."""
        scope = f"strategy:{strategy_id}"
        level = Level(world="sim", scope=scope, setting="state", value=state, who="me", at=0, reason="lunch")
        self.levels.append(level)
        self._apply(level)

    def _apply(self, level: Level) -> None:
        self.context.levels.apply("control", level_key(level.scope, level.setting), encode(level))

    def paused(self, strategy_id: str = "Momentum") -> str:
        """Why a strategy is paused."""
        level = self.context.levels.paused(strategy_id)
        return level.reason if level else ""

    def signals(self, broker: str = "paper", *, shard: int = 0) -> list[Signal]:
        return [decode(Signal, output.value) for output in self.benches[shard].to(f"{broker}.signals.raw")]

    def pauses(self) -> list[Level]:
        return [decode(Level, output.value) for bench in self.benches for output in bench.to("control")]


def test_every_listed_broker_receives_the_very_same_bytes() -> None:
    world = World(a_config())
    for offset in range(4):
        world.tick(offset)

    paper, zerodha = (world.benches[0].to(f"{broker}.signals.raw") for broker in ("paper", "zerodha"))

    assert len(paper) == 2
    assert [output.value for output in paper] == [output.value for output in zerodha]
    assert {output.key for output in paper} == {b"paper"}


def test_a_broker_that_a_strategy_does_not_list_hears_nothing_of_it() -> None:
    world = World(a_config(brokers=["paper"]))
    for offset in range(4):
        world.tick(offset)

    assert (len(world.signals("paper")), world.signals("zerodha")) == (2, [])


def test_a_signal_carries_its_cause_and_the_quote_it_was_made_at() -> None:
    world = World(a_config())
    world.tick(0, 140_000)
    world.tick(1, 140_050)

    (signal,) = world.signals()

    assert (signal.cause.shard, signal.cause.offset, signal.cause.row, signal.cause.time) == (0, 1, 1, T0 + 1)
    assert signal.quote is not None
    assert (str(signal.quote.price), signal.quote.bid) == ("1400.50", None)


def test_a_signal_is_numbered_by_the_record_of_its_cause() -> None:
    world = World(a_config())
    ticks = [a_tick(row=row, time=T0 + row) for row in range(4)]
    world.tick(0)
    world.benches[0].deliver(TICKS, 7, encode_batch(a_batch(*ticks, sequence=7)))

    assert [(s.producer, s.sequence) for s in world.signals()] == [
        ("brain/0/Momentum", 7 << 16),
        ("brain/0/Momentum", (7 << 16) + 1),
    ]


def test_a_pause_of_one_strategy_shifts_no_number_of_another() -> None:
    alone, beside = World(a_config("Other")), World(a_config(), a_config("Other"))
    beside.set("Momentum", "PAUSED")
    for world in (alone, beside):
        for offset in range(4):
            world.tick(offset)

    assert alone.signals() == beside.signals()
    assert len(alone.signals()) == 2


def test_strategies_that_decide_at_one_tick_say_it_in_the_order_of_their_configurations() -> None:
    world = World(a_config("Second"), a_config("First"))
    for offset in range(2):
        world.tick(offset)

    assert [signal.strategy_id for signal in world.signals()] == ["Second", "First"]


def test_a_batch_seen_again_after_a_restart_says_nothing_twice_and_goes_on() -> None:
    world = World(a_config())
    for offset in range(3):
        world.tick(offset)
    world.restart()

    for offset in (1, 2, 3):
        world.tick(offset)

    assert [signal.cause.offset for signal in world.signals()] == [1, 3]


def test_what_was_said_after_the_last_checkpoint_is_said_again_in_the_same_words() -> None:
    world = World(a_config())
    world.tick(0)
    world.benches[0].write = False
    for offset in range(1, 6):
        world.tick(offset)
    said = world.benches[0].to("paper.signals.raw")

    world.restart()

    assert world.benches[0].to("paper.signals.raw") == said + said
    assert [signal.cause.offset for signal in world.signals()[:3]] == [1, 3, 5]


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

    (level,) = world.pauses()
    assert (level.scope, level.value) == ("strategy:Momentum", "PAUSED")
    assert "ZeroDivisionError: a mistake" in level.reason
    assert {signal.strategy_id for signal in world.signals()} == {"Other"}


def test_a_strategy_that_raised_on_one_shard_sees_no_tick_on_another() -> None:
    (home,) = ShardMap(4, INSTRUMENTS).shards(INFY)
    (other,) = ShardMap(4, INSTRUMENTS).shards("NSE:TCS")
    world = World(a_config(trades=[INFY, "NSE:TCS"]), shards=4)

    world.tick(0, 666, shard=home)
    for offset in (0, 1):
        world.tick(offset, instrument="NSE:TCS", shard=other)

    assert home != other
    assert world.signals(shard=other) == []


def test_a_resumed_strategy_goes_on_from_the_state_it_was_paused_in() -> None:
    world = World(a_config())
    world.tick(0)
    world.set("Momentum", "PAUSED")
    world.tick(1)
    world.set("Momentum", "ACTIVE")

    world.tick(2)

    assert [signal.cause.offset for signal in world.signals()] == [2]


def test_a_pause_is_durable_before_the_next_tick() -> None:
    # Else the ticks that were stepped before it would be stepped again without the strategy, after a kill.
    world = World(a_config())
    world.tick(0)
    bench = world.benches[0]
    bench.write = False
    world.tick(1)
    stored = dict(bench.rows)
    world.set("Momentum", "PAUSED")

    bench.run()

    assert bench.rows != stored
    world.set("Momentum", "ACTIVE")
    world.restart()
    assert [signal.cause.offset for signal in world.signals()] == [1]


def test_a_decision_on_a_foreign_instrument_pauses_the_strategy() -> None:
    world = World(a_config(trades=["NSE:TCS"], watches=["NSE:NIFTY 50"]))

    for offset in (0, 1):
        world.tick(offset, instrument="NSE:NIFTY 50")

    assert "not among what it trades" in world.paused()
    assert world.signals() == []


def test_another_configuration_starts_a_strategy_afresh() -> None:
    world = World(a_config())
    world.tick(0)
    world.configs = (a_config(params={"changed": 1}),)
    world.restart()

    world.tick(1)

    assert world.signals() == []


def test_another_configuration_is_durable_before_the_first_tick_that_it_sees() -> None:
    world = World(a_config())
    world.tick(0)
    world.configs = (a_config(params={"changed": 1}),)
    world.benches[0].write = False

    world.restart()

    row = orjson.loads(world.benches[0].rows[b"0"])
    assert row["states"]["Momentum"]["config"] == world.configs[0].version


def test_a_beat_reaches_no_strategy_and_is_passed_on_to_every_broker() -> None:
    world = World(a_config())
    world.tick(0)

    world.beat(1, T0 + 1000)

    assert world.signals() == []
    for broker in ("paper", "zerodha"):
        passed = [decode(StageBeat, output.value) for output in world.benches[0].beats_to(f"{broker}.signals.raw")]
        assert [(beat.producer, beat.time) for beat in passed] == [("brain/0", T0 + 1000)]


def test_the_end_of_a_run_frees_all_that_waits_for_event_time() -> None:
    world = World(a_config())

    world.beat(0, T0 + 1000, end=True)

    (beat,) = [decode(StageBeat, output.value) for output in world.benches[0].beats_to("paper.signals.raw")]
    assert beat.time == T0 + 61_000


def test_the_last_beat_is_said_again_after_a_restart() -> None:
    world = World(a_config())
    world.beat(0, T0 + 1000)

    world.restart()

    first, again = world.benches[0].beats_to("paper.signals.raw")
    assert first == again


def test_a_tick_record_that_is_none_is_dead_lettered_and_the_next_one_is_handled() -> None:
    world = World(a_config())
    world.tick(0)

    world.benches[0].deliver(TICKS, 1, b"{}")
    world.tick(2)

    (letter,) = world.benches[0].to(DLQ)
    assert letter.value.startswith(b"market.ticks@1: not a tick batch or a beat")
    assert [signal.cause.offset for signal in world.signals()] == [2]


def test_a_signal_said_again_after_a_kill_carries_the_same_quote() -> None:
    world = World(a_config(watches=[NIFTY]), kind=OnIndex)
    world.tick(0, 140_050)
    world.benches[0].kill_at = "send"
    with pytest.raises(Killed):
        world.tick(1, instrument=NIFTY)

    world.restart()

    (signal,) = world.signals()
    assert signal.quote is not None
    assert (signal.quote.price, signal.quote.tick.offset) == (Decimal("1400.50"), 0)


def test_an_index_tick_that_every_shard_sees_makes_a_signal_on_the_shard_of_its_instrument_alone() -> None:
    (home,) = ShardMap(4, INSTRUMENTS).shards(INFY)
    world = World(a_config(watches=[NIFTY]), kind=OnIndex, shards=4)
    other = (home + 1) % 4

    world.tick(0, instrument=NIFTY, shard=home)
    world.tick(0, instrument=NIFTY, shard=other)

    assert [signal.cause.shard for signal in world.signals(shard=home)] == [home]
    assert world.signals(shard=other) == []
    assert "not on this shard" in world.paused()


def test_two_decisions_on_one_instrument_at_a_tick_would_be_one_signal_and_pause_the_strategy() -> None:
    world = World(a_config(watches=[NIFTY], params={"times": 2}), kind=OnIndex)

    world.tick(0, instrument=NIFTY)

    assert world.signals() == []
    assert "decided twice" in world.paused()


def test_a_kill_before_a_strategy_that_raised_is_paused_loses_no_signal_of_its_batch() -> None:
    world = World(a_config())
    batch = a_batch(a_tick(row=0), a_tick(row=1, time=T0 + 1), a_tick(666, row=2, time=T0 + 2), sequence=0)
    world.benches[0].kill_at = "send"
    with pytest.raises(Killed):
        world.benches[0].deliver(TICKS, 0, encode_batch(batch))

    world.restart()

    assert [output.topic for output in world.benches[0].sent] == ["paper.signals.raw", "zerodha.signals.raw", "control"]
    assert "a mistake" in world.paused()


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

    assert "TypeError: a mistake" in world.paused()
    assert len(world.pauses()) == 1
    assert [s.strategy_id for s in world.signals()].count("Other") == 2


def test_a_strategy_whose_state_cannot_be_loaded_sees_no_tick_before_its_pause_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(self: EverySecond, data: Any) -> Any:
        raise TypeError("a mistake")

    world = World(a_config())
    world.tick(0)
    monkeypatch.setattr(EverySecond, "load", fail)
    world.restart()

    batch = a_batch(*[a_tick(row=row, time=T0 + row) for row in range(1, 5)], sequence=1)
    world.benches[0].deliver(TICKS, 1, encode_batch(batch))

    assert world.signals() == []
    assert "TypeError: a mistake" in world.paused()


def test_the_mirror_counts_the_signals_of_each_broker() -> None:
    world = World(a_config(), a_config("Other", brokers=["paper"]))
    for offset in range(4):
        world.tick(offset)
    mirror = world.context.mirror

    assert orjson.loads(mirror.values["brain:fanout:0"])["counts"] == {"paper": 4, "zerodha": 2}
    assert mirror.members == {("brain:index:fanout", "0")}


def test_the_mirror_is_written_again_from_the_rows() -> None:
    world = World(a_config())
    for offset in range(2):
        world.tick(offset)
    shown = dict(world.context.mirror.values)
    world.make()

    list(world.brain.mirror(world.benches[0].table()))

    assert world.context.mirror.values == shown
