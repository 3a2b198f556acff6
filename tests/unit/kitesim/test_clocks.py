"""kitesim's time on the world's tick log, which is a list here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from panda_streams.domain.ticks import Tick
from panda_streams.events import END_REACH_MS, Beat, Phase, TickBatch
from panda_streams.kitesim import clocks
from panda_streams.kitesim.clocks import LogReader, ReplayClock, WallClock, _Read
from panda_streams.kitesim.engine import Engine
from panda_streams.kitesim.store import Store
from tests.unit.builders import INDEX, T0, a_batch, a_tick
from tests.unit.kitesim.bench import INSTRUMENTS, SECRET, a_broker

Log = list[list[TickBatch | Beat]]
"""The records of each shard."""


class ListReader(LogReader):
    """Reads lists, a few records at a time."""

    def __init__(self, log: Log, places: dict[int, int]) -> None:
        super().__init__({}, "market.ticks", len(log), INSTRUMENTS)
        self._log = log
        self.next = {shard: places.get(shard, 0) for shard in range(len(log))}

    async def read(self, shards: Iterable[int]) -> list[_Read]:
        found = []
        for shard in shards:
            start = self.next[shard]
            records = self._log[shard][start : start + 3]
            found += [_Read(shard, start + number, value) for number, value in enumerate(records)]
            self.next[shard] += len(records)
        await asyncio.sleep(0)
        return found


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(clocks, "ADVANCE_S", 0.05)
    return tmp_path / "kitesim.sqlite"


def beat(second: int, *, end: bool = False) -> Beat:
    return Beat("sim", "sim", "1", 0, T0 + 1000 * second, Phase.OPEN, end)


def batch(*ticks: tuple[str, int]) -> TickBatch:
    """Ticks as (instrument, milliseconds after the opening)."""
    return a_batch(*(a_tick(140_000 + at, instrument=name, time=T0 + at, row=at) for name, at in ticks))


def a_log() -> Log:
    """INFY on the first shard, TCS on the second, an index on both."""
    return [
        [
            beat(0),
            batch(("NSE:INFY", 100), (INDEX.id, 150)),
            beat(1),
            batch(("NSE:INFY", 1500)),
            beat(2),
            beat(3, end=True),
        ],
        [beat(0), batch(("NSE:TCS", 50), (INDEX.id, 150), ("NSE:TCS", 900)), beat(1), beat(2), beat(3, end=True)],
    ]


class Run:
    """An engine on a file, and every tick that it met, in order."""

    def __init__(self, path: Path, log: Log) -> None:
        self.engine = Engine(Store(path), a_broker(), SECRET)
        self.met: list[tuple[str, int]] = []
        meet = self.engine.broker.meet

        def noted(tick: Tick, book: object) -> None:
            self.met.append((tick.instrument, tick.time - T0))
            meet(tick, book)  # type: ignore[arg-type]

        self.engine.broker.meet = noted  # type: ignore[method-assign,assignment]
        self.reader = ListReader(log, self.engine.store.places())

    def advance(self, *milliseconds: int) -> list[int]:
        """What the clock shows after each call."""

        async def run() -> list[int]:
            clock, shown = ReplayClock(self.engine, self.reader, 2), []
            for until in milliseconds:
                await clock.advance(T0 + until)
                shown.append((self.engine.broker.time or 0) - T0)
            return shown

        shown = asyncio.run(run())
        self.engine.store.close()
        return shown


def test_ticks_of_all_shards_meet_in_the_order_of_event_time_and_no_further_than_told(path: Path) -> None:
    run = Run(path, a_log())

    assert run.advance(120, 1000, 500) == [120, 1000, 1000]
    assert run.met == [("NSE:TCS", 50), ("NSE:INFY", 100), (INDEX.id, 150), ("NSE:TCS", 900)]


@pytest.mark.parametrize("stop", [0, 60, 120, 150, 900, 1000, 1200, 2000])
def test_a_restart_goes_on_at_its_place(path: Path, stop: int) -> None:
    whole, first = Run(path.with_name("whole"), a_log()), Run(path, a_log())
    whole.advance(2000)
    first.advance(stop)
    second = Run(path, a_log())
    second.advance(2000)

    assert first.met + second.met == whole.met


def test_it_comes_as_far_as_the_beats_of_every_shard(path: Path) -> None:
    log = a_log()
    del log[1][3:]

    assert Run(path, log).advance(5000) == [1000]


def test_without_any_beat_there_is_no_time(path: Path) -> None:
    run = Run(path, [[], a_log()[1]])

    assert run.advance(1000) == [-T0]
    assert run.engine.broker.time is None


def test_after_the_end_a_minute_more_passes(path: Path) -> None:
    assert Run(path, a_log()).advance(10**9) == [3000 + END_REACH_MS]


def test_on_the_walls_clock_ticks_meet_as_they_come(path: Path) -> None:
    run = Run(path, a_log())

    async def catch_up() -> int | None:
        clock = WallClock(run.engine, run.reader, 2)
        await clock.catch_up({0: 4, 1: 2})
        return clock.newest

    assert asyncio.run(catch_up()) == T0 + 3000 + END_REACH_MS
    assert sorted(run.met) == sorted(
        [("NSE:INFY", 100), (INDEX.id, 150), ("NSE:INFY", 1500), ("NSE:TCS", 50), ("NSE:TCS", 900)]
    )
    assert run.engine.store.places() == run.reader.next
    run.engine.store.close()
