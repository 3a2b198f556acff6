from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda_streams.domain.shards import ShardMap
from panda_streams.events import Beat, Phase, TickBatch
from panda_streams.feeds.batching import Step
from panda_streams.feeds.live import LAG_MS, STALE_MS, Keeper, LiveBatcher, Observed, ToldClock, WallClock
from panda_streams.instrument_files import load_instruments
from panda_streams.kite_frames import Packet
from tests.unit.builders import INFY, T0
from tests.unit.kite_packets import a_full, a_last_price, an_index

SHARDS = ShardMap(4, load_instruments())
NIFTY = "NSE:NIFTY 50"
HOME = SHARDS.home(INFY)


class Wall:
    """A clock that is set by hand."""

    def __init__(self, now: int = T0) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def a_batcher(begins: int = T0) -> LiveBatcher:
    return LiveBatcher("live", "kite", "r1", SHARDS, begins)


def seen(time: int, instrument: str = INFY, packet: Packet | None = None) -> Observed:
    return Observed(instrument, time, packet or a_full(exchange_s=time // 1000))


def times(step: Step) -> list[int]:
    return [tick.time for record in step.records if isinstance(record.value, TickBatch) for tick in record.value.ticks]


def test_a_tick_has_what_the_packet_says_and_its_order_book_beside_it() -> None:
    (record,) = a_batcher().ticks([seen(T0 + 5000)]).records

    assert record.shard == HOME
    assert isinstance(record.value, TickBatch)
    (tick,) = record.value.ticks
    assert (tick.instrument, tick.price, tick.quantity, tick.volume) == (INFY, 140_000, 5, 1000)
    assert (tick.bid, tick.ask, tick.time, tick.row) == (139_990, 140_010, T0 + 5000, 0)
    assert record.depth == {0: a_full().depth}


def test_an_index_is_copied_to_every_shard_and_a_last_price_has_nothing_else() -> None:
    step = a_batcher().ticks([seen(T0 + 5000, NIFTY, an_index()), seen(T0 + 5000, INFY, a_last_price())])

    assert [record.shard for record in step.records] == [0, 1, 2, 3]
    assert step.ticks == 2
    home = next(record.value for record in step.records if record.shard == HOME)
    assert isinstance(home, TickBatch)
    assert [(tick.row, tick.volume, tick.bid) for tick in home.ticks] == [(0, None, None), (1, None, None)]


def test_a_beat_is_said_for_each_second_once_its_ticks_must_have_come() -> None:
    batcher = a_batcher()

    assert list(batcher.beats(T0 + LAG_MS + 999, Phase.OPEN)) == []
    steps = list(batcher.beats(T0 + LAG_MS + 2000, Phase.OPEN))

    assert [step.time for step in steps] == [T0 + 1000, T0 + 2000]
    assert [record.shard for record in steps[0].records] == [0, 1, 2, 3]


def test_across_a_gap_a_beat_is_said_at_each_of_its_ends() -> None:
    batcher = a_batcher()

    steps = list(batcher.beats(T0 + LAG_MS + 3_600_000, Phase.CLOSED))

    assert [step.time for step in steps] == [T0 + 1000, T0 + 3_600_000]


def test_a_tick_that_comes_after_its_beat_takes_the_earliest_time_that_is_left() -> None:
    batcher = a_batcher()
    list(batcher.beats(T0 + 3000 + LAG_MS, Phase.OPEN))

    late = batcher.ticks([seen(T0 + 3000), seen(T0 + 1000), seen(T0 + 4000), seen(T0 + 3500)])

    assert times(late) == [T0 + 3001, T0 + 3001, T0 + 4000, T0 + 4000]
    assert batcher.moved == 1


def test_many_ticks_of_a_shard_are_several_records() -> None:
    step = a_batcher().ticks([seen(T0 + 1000)] * 1200)

    assert [len(record.value.ticks) for record in step.records if isinstance(record.value, TickBatch)] == [
        500,
        500,
        200,
    ]
    assert all(record.depth is not None and len(record.depth) <= 500 for record in step.records)


@given(st.lists(st.one_of(st.integers(-5000, 10_000), st.none()), max_size=40))
def test_no_tick_contradicts_a_beat_and_sequences_have_no_gap(story: list[int | None]) -> None:
    """A number is a tick that much away from T0; None lets a second pass."""
    batcher, now = a_batcher(), T0
    records = []
    for event in story:
        if event is None:
            now += 1000
            for step in batcher.beats(now, Phase.OPEN):
                records += step.records
        else:
            records += batcher.ticks([seen(T0 + event), seen(T0 + event, NIFTY, an_index())]).records

    for shard in range(4):
        own = [record.value for record in records if record.shard == shard]
        assert [value.sequence for value in own] == list(range(len(own)))
        beaten = newest = T0
        for value in own:
            if isinstance(value, Beat):
                assert value.time > beaten
                beaten = value.time
            else:
                assert all(tick.time > beaten for tick in value.ticks)
                assert newest <= value.ticks[0].time <= value.time
                newest = value.time


def test_a_real_exchange_is_as_late_as_it_is_here() -> None:
    clock = WallClock(Wall(T0))

    assert clock.now() == T0
    assert clock.stamp(T0 - 700) == T0 - 700
    assert clock.stamp(None) == T0


@pytest.mark.parametrize(("told", "stamped"), [(T0 - STALE_MS - 1, None), (T0 - STALE_MS, T0 - STALE_MS)])
def test_what_kite_says_again_long_afterwards_is_stale(told: int, stamped: int | None) -> None:
    assert WallClock(Wall(T0)).stamp(told) == stamped


def test_an_exchanges_time_far_ahead_is_not_believed() -> None:
    assert WallClock(Wall(T0)).stamp(T0 + 86_400_000) == T0


def test_at_a_simulated_exchange_it_is_as_late_as_its_newest_tick_says() -> None:
    wall = Wall()
    clock = ToldClock(None, wall)
    assert clock.now() is None
    assert clock.stamp(None) is None

    assert [clock.stamp(T0 + 60_000), clock.stamp(T0 + 59_000), clock.stamp(None)] == [
        T0 + 60_000,
        T0 + 59_000,
        T0 + 60_000,
    ]
    wall.now += 2000
    assert clock.now() == T0 + 62_000
    wall.now += 3_600_000
    assert clock.now() == T0 + 66_000


def test_ticks_from_before_what_the_world_has_reached_are_stale() -> None:
    clock = ToldClock(T0, Wall())

    assert clock.stamp(T0 - STALE_MS - 1) is None
    assert clock.now() is None
    assert clock.stamp(T0 - 1000) == T0 - 1000


def test_what_was_said_is_kept_in_frames_of_a_second() -> None:
    batcher, keeper = a_batcher(), Keeper()
    frames = keeper.add(batcher.ticks([seen(T0 + 1000), seen(T0 + 1500, NIFTY, an_index())]))
    for step in batcher.beats(T0 + 1000 + LAG_MS, Phase.OPEN):
        frames += keeper.add(step)

    assert [(frame.time, [tick.row for tick in frame.ticks], list(frame.depth)) for frame in frames] == [
        (T0 + 1000, [0], [0])
    ]
    assert [(frame.time, [tick.row for tick in frame.ticks]) for frame in keeper.rest()] == [(T0 + 2000, [1])]
