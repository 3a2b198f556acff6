from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda_streams.domain.instruments import Instrument, InstrumentKind, Instruments
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.ticks import Tick
from panda_streams.errors import PandaError
from panda_streams.events import Beat, Phase, TickBatch
from panda_streams.feeds.batching import Assembler, Batcher, Frame, Standing
from tests.unit.builders import T0, a_tick

SHARES = ["INFY", "RELIANCE", "HDFCBANK", "ITC", "SBIN", "LT"]
INDEX = "NSE:NIFTY 50"
INSTRUMENTS = Instruments(
    [
        *(Instrument(exchange="NSE", symbol=symbol, kind=InstrumentKind.EQUITY) for symbol in SHARES),
        Instrument(exchange="NSE", symbol="NIFTY 50", kind=InstrumentKind.INDEX, tick_size=Decimal("0.05")),
    ]
)
SHARDS = ShardMap(3, INSTRUMENTS)
IDS = [instrument.id for instrument in INSTRUMENTS]

Records = dict[int, list[TickBatch | Beat]]

# Times go forward by up to some minutes, so that there are gaps, and back by up to three seconds.
sources = st.lists(
    st.tuples(
        st.sampled_from(IDS),
        st.one_of(st.integers(0, 900), st.integers(-3000, 3000), st.integers(59_000, 150_000)),
    ),
    min_size=1,
    max_size=60,
)


def ticks_of(source: Sequence[tuple[str, int]]) -> list[Tick]:
    ticks, time = [], T0
    for row, (instrument, later) in enumerate(source):
        time += later
        ticks.append(a_tick(row=row, time=time, instrument=instrument))
    return ticks


def records_of(ticks: Sequence[Tick], standing: dict[int, Standing] | None = None) -> Records:
    frames = Assembler().frames((tick, None) for tick in ticks)
    records: Records = {shard: [] for shard in range(SHARDS.partitions)}
    for step in Batcher("sim", "recording", "r1", SHARDS, standing).steps(frames):
        for record in step.records:
            records[record.shard].append(record.value)
    return records


@given(sources)
def test_each_shard_counts_its_records_from_zero_without_a_gap(source: list[tuple[str, int]]) -> None:
    for records in records_of(ticks_of(source)).values():
        assert [record.sequence for record in records] == list(range(len(records)))


@given(sources)
def test_beats_go_forward_and_no_tick_comes_at_or_before_one_that_was_said(source: list[tuple[str, int]]) -> None:
    for records in records_of(ticks_of(source)).values():
        beaten = 0
        for record in records:
            if isinstance(record, Beat):
                assert record.time > beaten
                beaten = record.time
            else:
                assert all(beaten < tick.time <= record.time for tick in record.ticks)
                assert record.time == max(tick.time for tick in record.ticks)


@given(sources)
def test_every_shard_has_the_same_beats_a_second_apart_or_around_a_closed_gap(source: list[tuple[str, int]]) -> None:
    records = records_of(ticks_of(source))
    beats = [[record for record in own if isinstance(record, Beat)] for own in records.values()]

    assert all([(b.time, b.phase, b.end) for b in own] == [(b.time, b.phase, b.end) for b in beats[0]] for own in beats)
    for before, after in pairwise(beats[0]):
        if after.time - before.time != 1000:
            assert after.time - before.time > 58_000
            assert (before.phase, after.phase) == (Phase.CLOSED, Phase.CLOSED)


@given(sources)
def test_every_tick_is_on_its_shards_once_and_an_index_on_all(source: list[tuple[str, int]]) -> None:
    ticks = ticks_of(source)
    records = records_of(ticks)

    for shard, own in records.items():
        rows = [tick.row for record in own if isinstance(record, TickBatch) for tick in record.ticks]
        assert rows == [tick.row for tick in ticks if shard in SHARDS.shards(tick.instrument)]
    assert list(SHARDS.shards(INDEX)) == [0, 1, 2]


@given(sources, st.data())
def test_a_feed_that_goes_on_from_any_record_says_what_it_would_have_said(
    source: list[tuple[str, int]], data: st.DataObject
) -> None:
    ticks = ticks_of(source)
    whole = records_of(ticks)
    had = {shard: data.draw(st.integers(0, len(own)), label=f"records of {shard}") for shard, own in whole.items()}
    standing = {shard: Standing.of(own[had[shard] - 1]) for shard, own in whole.items() if had[shard]}

    rest = records_of(ticks, standing)

    assert rest == {shard: own[had[shard] :] for shard, own in whole.items()}


def test_a_short_recording_beats_before_its_first_tick_and_for_five_seconds_after_its_last() -> None:
    beats = [r for r in records_of([a_tick(time=T0 + 500)])[0] if isinstance(r, Beat)]

    said = [(beat.time - T0, beat.phase.value, beat.end) for beat in beats]
    tail = [(1000 * second, "closed", False) for second in range(2, 7)]
    assert said == [(0, "closed", False), (1000, "open", False), *tail, (7000, "closed", True)]


def test_a_tick_belongs_to_the_second_that_it_ends() -> None:
    frames = list(Assembler().frames((a_tick(row=row, time=T0 + late), None) for row, late in enumerate([0, 1, 1000])))

    assert [(frame.time - T0, [tick.row for tick in frame.ticks]) for frame in frames] == [(0, [0]), (1000, [1, 2])]


def test_a_tick_whose_time_goes_back_takes_the_highest_time_so_far_and_is_counted() -> None:
    assembler = Assembler()
    frames = list(assembler.frames((a_tick(row=row, time=T0 + at), None) for row, at in enumerate([2500, 700, 2600])))

    assert [[tick.time - T0 for tick in frame.ticks] for frame in frames] == [[2500, 2500, 2600]]
    assert assembler.moved == 1


@pytest.mark.parametrize(
    "standing",
    [
        Standing(frame=T0 + 1000, beat=False, sequence=7),  # another number there
        Standing(frame=T0 + 30_000, beat=True, sequence=1),  # after the end
        Standing(frame=T0 - 5000, beat=True, sequence=1),  # before the start
    ],
)
def test_a_source_that_is_not_what_it_was_is_refused(standing: Standing) -> None:
    shard = SHARDS.shards("NSE:INFY")[0]

    with pytest.raises(PandaError, match=f"shard {shard} stands at sequence {standing.sequence}"):
        records_of([a_tick(time=T0 + 500)], {shard: standing})


def test_a_source_entered_in_its_middle_takes_its_numbers_from_where_the_shards_stand() -> None:
    frames = [Frame(T0 + second * 1000, [], {}) for second in range(4)]
    standing = {shard: Standing(T0 + 1000, beat=True, sequence=100 + shard) for shard in range(3)}

    batcher = Batcher("sim", "sim", "1-0.5", SHARDS, standing, from_first=False)
    first = next(step for step in batcher.steps(frames) if step.records)

    assert first.time == T0 + 2000
    assert [record.value.sequence for record in first.records] == [101, 102, 103]
