from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import pytest

from panda_streams.alerts import Alert, AlertKind
from panda_streams.calendar_files import calendar_of
from panda_streams.codec import decode_depth, decode_market
from panda_streams.domain.calendar import Calendar
from panda_streams.domain.instruments import Instrument
from panda_streams.events import Beat, TickBatch
from panda_streams.feeds.kite import KiteFeed, Wanted
from panda_streams.feeds.kite_line import Patience
from panda_streams.feeds.publisher import FeedState
from panda_streams.feeds.recording import Faults, SymbolMap
from panda_streams.feeds.replay import Replay
from panda_streams.feeds.simulator import session_start
from panda_streams.identity import World
from panda_streams.instrument_files import load_instruments
from panda_streams.kite import KiteProfile
from panda_streams.kite_access import kite_access
from panda_streams.kite_frames import Mode
from panda_streams.topics import Topics
from panda_streams.worlds import prepare
from tests.fake_kite import FakeKite, fake_kite
from tests.integration.conftest import FreshWorld, Spawned, fresh_world
from tests.integration.reading import read_topic
from tests.polling import eventually, eventually_async
from tests.servers import RunningServers
from tests.unit.kite_packets import INFY_TOKEN, NIFTY_TOKEN, a_full, an_index

pytestmark = pytest.mark.integration

INSTRUMENTS = load_instruments()
OPENS = 1_623_123_900
"""2021-06-08 09:15:00 in India, seconds since the epoch."""
INFY, NIFTY = "NSE:INFY", "NSE:NIFTY 50"
BY_NUMBER = {INFY_TOKEN: INSTRUMENTS[INFY], NIFTY_TOKEN: INSTRUMENTS[NIFTY]}


@dataclass
class Told:
    """An alerter that keeps what it is told."""

    alerts: list[Alert] = field(default_factory=list)

    def send(self, alert: Alert) -> None:
        self.alerts.append(alert)


@dataclass
class Running:
    feed: KiteFeed
    kite: FakeKite
    told: Told


@pytest.fixture
def world(world: FreshWorld) -> FreshWorld:
    asyncio.run(prepare(world.settings, world.servers))
    return world


@asynccontextmanager
async def feeding(
    world: FreshWorld,
    kite: FakeKite,
    *,
    mode: Mode = Mode.FULL,
    patience: Patience | None = None,
    recording: Path | None = None,
    real: bool = False,
    instruments: Mapping[int, Instrument] = BY_NUMBER,
) -> AsyncIterator[Running]:
    """A feed of a Kite, stopped in the end; `real` lets it pass for that of production."""
    told = Told()
    access = kite_access(world.settings, World("sim"), kite.address)
    if real:
        access = replace(access, profile=KiteProfile.PRODUCTION)
    wanted = Wanted(instruments, mode, recording, patience or Patience())
    calendar = calendar_of(world.servers.world, None) if mode is Mode.FULL else Calendar.always_open()
    feed = KiteFeed(world.settings, world.servers, access, wanted, INSTRUMENTS, calendar, told)  # type: ignore[arg-type]
    running = asyncio.create_task(feed.run())
    try:
        yield Running(feed, kite, told)
        feed.stop.set()
        assert await running is FeedState.STOPPED
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(check: Callable[[], object], what: str) -> None:
    async def checked() -> object:
        return check()

    await eventually_async(checked, what=what, timeout_s=30)


def by_shard(world: FreshWorld) -> dict[int, list[TickBatch | Beat]]:
    lines = read_topic(world.servers.kafka, Topics(world.servers.prefix).ticks)
    return {shard: [decode_market(line.value) for line in lines if line.partition == shard] for shard in range(4)}


def ticks_of(world: FreshWorld, instrument: str) -> list[tuple[int, int]]:
    """Price and time of each tick of an instrument, on the first shard that has them."""
    for records in by_shard(world).values():
        batches = [record for record in records if isinstance(record, TickBatch)]
        ticks = [tick for batch in batches for tick in batch.ticks if tick.instrument == instrument]
        if ticks:
            return [(tick.price, tick.time) for tick in ticks]
    return []


def run(story: Callable[[FakeKite], Awaitable[None]]) -> None:
    async def with_kite() -> None:
        async with fake_kite() as kite:
            await story(kite)

    asyncio.run(with_kite())


async def trade(kite: FakeKite, seconds: range) -> None:
    """Send a tick of the share and of the index for each of these seconds after the opening."""
    for second in seconds:
        at = OPENS + second
        await kite.send([a_full(price=140_000 + second, exchange_s=at), an_index(price=1_570_000, exchange_s=at)])


def test_ticks_of_kite_are_published_with_the_exchanges_times_and_beats(world: FreshWorld) -> None:
    async def story(kite: FakeKite) -> None:
        async with feeding(world, kite) as running:
            await until(lambda: kite.modes, "the feed has subscribed")
            await trade(kite, range(1, 11))
            await until(
                lambda: (running.feed.time or 0) >= 1000 * (OPENS + 10), "event time passes after the last tick"
            )
            assert running.feed.state is FeedState.RUNNING
            assert running.feed.detail == "2 instruments of kite:simulator in mode full on 1 line"

    run(story)

    assert ticks_of(world, INFY) == [(140_000 + second, 1000 * (OPENS + second)) for second in range(1, 11)]
    for records in by_shard(world).values():
        assert [record.sequence for record in records] == list(range(len(records)))
        assert {(record.source, record.world) for record in records} == {("kite:simulator", world.name)}
        beaten = 0
        for record in records:
            if isinstance(record, Beat):
                assert not record.end
                beaten = record.time
            else:
                assert all(tick.time > beaten for tick in record.ticks)
        assert beaten >= 1000 * (OPENS + 10)
    share = next(
        record
        for records in by_shard(world).values()
        for record in records
        if isinstance(record, TickBatch) and record.ticks[0].instrument == INFY
    )
    assert decode_depth(share)[share.ticks[0].row] == a_full().depth


def test_a_feed_that_is_started_again_goes_on_after_what_the_world_has_reached(world: FreshWorld) -> None:
    async def story(kite: FakeKite) -> None:
        for seconds in (range(1, 6), range(5, 10)):
            async with feeding(world, kite) as running:
                before = len(kite.modes)
                await until(lambda known=before: len(kite.modes) > known, "the feed has subscribed")
                await trade(kite, seconds)
                reached = 1000 * (OPENS + seconds[-1])
                await until(lambda known=reached, one=running: (one.feed.time or 0) >= known, "it is published")

    run(story)

    records = by_shard(world)[0]
    assert len({record.run for record in records}) == 2
    times = [record.time for record in records if isinstance(record, Beat)]
    assert times == sorted(set(times))


def test_a_lost_connection_is_told_and_the_feed_goes_on(world: FreshWorld) -> None:
    async def story(kite: FakeKite) -> None:
        async with feeding(world, kite) as running:
            await until(lambda: kite.modes, "the feed has subscribed")
            await trade(kite, range(1, 4))
            await until(lambda: running.feed.ticks == 6, "they are published")
            await kite.hang_up()
            await until(lambda: running.feed.state is FeedState.WAITING, "the feed waits")
            assert "Kite closed the connection" in running.feed.detail
            await until(lambda: len(kite.modes) == 2, "it has subscribed again")
            await trade(kite, range(8, 10))
            await until(lambda: running.feed.ticks == 10, "it goes on")
            assert running.feed.missed == 1
            assert "1 gaps" in running.feed.detail

    run(story)

    assert [price for price, _ in ticks_of(world, INFY)] == [140_001, 140_002, 140_003, 140_008, 140_009]


def test_people_hear_of_a_connection_that_is_down_while_the_market_trades(world: FreshWorld) -> None:
    async def story(kite: FakeKite) -> None:
        async with feeding(world, kite, patience=Patience(lost_s=0.5)) as running:
            await until(lambda: kite.modes, "the feed has subscribed")
            await trade(kite, range(1, 4))
            await until(lambda: running.feed.ticks == 6, "they are published")
            await kite.hang_up()
            await until(lambda: running.told.alerts, "an alert is sent")
            await until(lambda: len(running.told.alerts) == 2, "and another once it is back")
            down, back = running.told.alerts
            assert (down.kind, down.title) == (AlertKind.FEED_LOST, "line 1 to Kite is down")
            assert "Kite closed the connection" in down.body
            assert back.title == "line 1 to Kite is back"

    run(story)


@pytest.mark.parametrize(("at", "trades"), [("2026-08-24T10:00:00+05:30", True), ("2026-08-24T15:16:00+05:30", False)])
def test_an_index_that_stands_still_is_missed_while_its_members_trade_and_not_in_their_auction(
    world: FreshWorld, at: str, trades: bool
) -> None:
    second = int(datetime.fromisoformat(at).timestamp())
    index = {NIFTY_TOKEN: INSTRUMENTS[NIFTY]}

    async def story(kite: FakeKite) -> None:
        kite.first = [an_index(exchange_s=second)]
        async with feeding(world, kite, patience=Patience(tickless_s=0.8), instruments=index) as running:
            await until(lambda: running.feed.ticks, "its first tick is published")
            before = kite.beats
            if trades:
                await until(lambda: running.feed.gaps, "the connection is made again")
                assert "while the market trades" in running.feed.gaps[0].reason
            else:
                await until(lambda: kite.beats > before + 20, "twice the patience has passed")
                assert running.feed.gaps == []

    run(story)


def test_real_ticks_go_into_the_world_live_with_their_times_and_stale_ones_do_not(
    servers: RunningServers, tmp_path: Path
) -> None:
    with fresh_world(servers, tmp_path, name="live") as world:
        asyncio.run(prepare(world.settings, world.servers))
        second = time.time_ns() // 1_000_000_000

        async def story(kite: FakeKite) -> None:
            kite.first = [a_full(price=139_000, exchange_s=second - 3600)]
            for number in range(2):
                async with feeding(world, kite, real=True) as running:
                    await until(lambda known=number: len(kite.modes) > known, "the feed has subscribed")
                    await kite.send([a_full(price=140_000 + number, exchange_s=second)])
                    await until(lambda one=running: one.feed.ticks == 1, "it is published")
                    beaten = time.time_ns() // 1_000_000
                    await until(lambda one=running, at=beaten: (one.feed.time or 0) > at, "time passes without ticks")
                    assert dict(running.feed.counts) == {"stale": 1}

        run(story)

        (first, second_start) = ticks_of(world, INFY)
        assert first[0] == 140_000
        assert second - 5 <= first[1] / 1000 <= second + 5
        assert second_start[0] == 140_001
        for records in by_shard(world).values():
            assert {record.source for record in records} == {"kite"}
            beats = [record.time for record in records if isinstance(record, Beat)]
            assert beats == list(range(beats[0], beats[-1] + 1, 1000))


def test_people_hear_of_a_session_that_has_ended(world: FreshWorld) -> None:
    async def story(kite: FakeKite) -> None:
        async with feeding(world, kite) as running:
            await until(lambda: kite.modes, "the feed has subscribed")
            kite.tokens = set()
            await kite.hang_up()
            await until(lambda: running.told.alerts, "an alert is sent")
            assert running.told.alerts[0].kind is AlertKind.TOKEN_EXPIRED
            await until(lambda: len(running.told.alerts) == 2, "and another once it is back")
            assert "is back" in running.told.alerts[1].title

    run(story)


def test_what_cannot_be_published_is_counted_and_stops_nothing(world: FreshWorld) -> None:
    async def story(kite: FakeKite) -> None:
        async with feeding(world, kite) as running:
            await until(lambda: kite.modes, "the feed has subscribed")
            await trade(kite, range(100, 101))
            await kite.send([a_full(price=0, exchange_s=OPENS + 100), a_full(token=738561, exchange_s=OPENS + 100)])
            await kite.send([a_full(exchange_s=OPENS + 1)])
            await kite.send_bytes(b"\x00\x02\x00\x05hello\x00\xb8")
            await trade(kite, range(101, 102))
            await until(lambda: running.feed.ticks == 4, "the others are published")
            assert dict(running.feed.counts) == {
                "without a price": 1,
                "not subscribed": 1,
                "stale": 1,
                "unknown": 1,
                "cut off": 1,
            }

    run(story)


def test_without_the_exchanges_times_a_tick_has_the_time_of_its_arrival(world: FreshWorld) -> None:
    begun = time.time_ns() // 1_000_000

    async def story(kite: FakeKite) -> None:
        async with feeding(world, kite, mode=Mode.QUOTE) as running:
            await until(lambda: kite.modes, "the feed has subscribed")
            await kite.send([a_full()])
            await until(lambda: running.feed.ticks == 1, "it is published")
            await until(lambda: (running.feed.time or 0) > begun + 1000, "time passes without ticks")

    run(story)

    ((price, at),) = ticks_of(world, INFY)
    assert price == 140_000
    assert begun - 1000 <= at <= time.time_ns() // 1_000_000


def test_a_recording_of_kite_replays_what_was_published(world: FreshWorld, tmp_path: Path) -> None:
    path = tmp_path / "recordings" / "kite.gz"

    async def story(kite: FakeKite) -> None:
        async with feeding(world, kite, recording=path) as running:
            await until(lambda: kite.modes, "the feed has subscribed")
            await trade(kite, range(1, 8))
            await until(lambda: running.feed.ticks == 14, "they are published")
            assert not path.exists()

    run(story)

    replay = Replay([path], SymbolMap(INSTRUMENTS), Faults(print))
    kept = [tick for frame in replay.frames(None) for tick in frame.ticks]
    assert replay.source == "recording:kite:simulator"
    assert [(tick.price, tick.time) for tick in kept if tick.instrument == INFY] == ticks_of(world, INFY)


def test_the_command_publishes_until_it_is_told_to_stop(
    world: FreshWorld, spawn: Callable[..., Spawned], tmp_path: Path
) -> None:
    async def story(kite: FakeKite) -> None:
        kite.first = [a_full(exchange_s=OPENS + 1)]
        command = ["panda", "feed", "kite", "--instruments", f"{INFY},{NIFTY}", "--root", kite.address, "--json"]
        feed = spawn(command)
        await until(lambda: kite.modes, "the feed has subscribed")
        assert sorted(kite.subscriptions[0]) == [NIFTY_TOKEN, INFY_TOKEN]
        await asyncio.to_thread(eventually, lambda: ticks_of(world, INFY), what="its first tick is published")
        feed.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(feed.wait) == 0
        report = json.loads(feed.output().splitlines()[-1])
        assert (report["source"], report["state"], report["ticks"]) == ("kite:simulator", "stopped", 1)
        assert "secret" not in feed.output()

    run(story)


def test_the_kitesim_of_another_deployment_feeds_this_one(
    world: FreshWorld, spawn: Callable[..., Spawned], free_port_base: int, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{free_port_base}"
    elsewhere = {**world.env, "PANDA_HOME": str(tmp_path / "elsewhere"), "PANDA_WORLD": "sim"}
    spawn(
        ["panda", "kitesim", "--source", "sim", "--speed", "10", "--port", str(free_port_base)],
        env={name: value for name, value in elsewhere.items() if name not in ("KAFKA_BROKER_URL", "REDIS_URL")},
    )
    feed = spawn(["panda", "feed", "kite", "--root", address, "--json"])

    ticks = eventually(lambda: (found := ticks_of(world, INFY))[20:] and found, timeout_s=60, what="ticks come")
    feed.process.send_signal(signal.SIGTERM)

    assert feed.wait() == 0
    assert json.loads(feed.output().splitlines()[-1])["source"] == "kite:simulator"
    times = [at for _, at in ticks]
    assert times == sorted(times)
    assert session_start(0) <= times[0] < session_start(1)
