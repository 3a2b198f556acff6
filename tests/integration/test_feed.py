from __future__ import annotations

import asyncio
import csv
import gzip
import json
import signal
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path

import pytest

from panda_streams.codec import decode_market, encode_batch, encode_beat
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.ticks import Tick, price_of
from panda_streams.events import Beat, TickBatch
from panda_streams.feeds.batching import Batcher, Frame, Record
from panda_streams.feeds.recording import Faults, SymbolMap
from panda_streams.feeds.replay import Replay
from panda_streams.feeds.simulator import Simulator
from panda_streams.instrument_files import load_instruments
from panda_streams.topics import Topics
from panda_streams.worlds import prepare
from tests.conftest import RedisServer
from tests.integration.conftest import FreshWorld, Spawned, given_settings
from tests.integration.reading import Line, read_topic
from tests.polling import eventually

pytestmark = pytest.mark.integration

Spawn = Callable[..., Spawned]

INSTRUMENTS = load_instruments()
SHARDS = ShardMap(4, INSTRUMENTS)
OPENS = 1_623_123_900  # 2021-06-08 09:15:00 in India, seconds since the epoch
SYMBOLS = ["RELIANCE", "NIFTY", "INFY", "HDFCBANK", "ITC", "SBIN"]


@pytest.fixture
def world(world: FreshWorld) -> FreshWorld:
    asyncio.run(prepare(world.settings, world.servers))
    return world


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Forty minutes with a tick of six symbols every second, and a break of ten minutes."""
    seconds = [OPENS + second for second in (*range(1, 1201), *range(1801, 3001))]
    rows = [
        f"{datetime.fromtimestamp(second).astimezone().isoformat()},{symbol},{1000 + number}.{second % 100:02},{second}"
        for second in seconds
        for number, symbol in enumerate(SYMBOLS)
    ]
    path = tmp_path / "june.csv.gz"
    path.write_bytes(gzip.compress("\n".join(["timestamp,symbol,ltp,volume", *rows, ""]).encode()))
    return path


def published(world: FreshWorld) -> list[Line]:
    return read_topic(world.servers.kafka, Topics(world.servers.prefix).ticks)


def by_shard(world: FreshWorld) -> dict[int, list[bytes]]:
    lines = published(world)
    assert all(line.key == str(line.partition).encode() for line in lines)
    return {shard: [line.value for line in lines if line.partition == shard] for shard in range(4)}


def encoded(record: Record) -> bytes:
    return encode_beat(record.value) if isinstance(record.value, Beat) else encode_batch(record.value, record.depth)


def undisturbed(world: FreshWorld, source: Replay | Simulator, frames: Iterable[Frame]) -> dict[int, list[bytes]]:
    """The bytes of each shard as the source alone decides them."""
    records: dict[int, list[bytes]] = {shard: [] for shard in range(4)}
    for step in Batcher(world.name, source.source, source.run, SHARDS).steps(frames):
        for record in step.records:
            records[record.shard].append(encoded(record))
    return records


def when_published(world: FreshWorld, count: int) -> None:
    eventually(lambda: len(published(world)) > count, timeout_s=30, what=f"more than {count} records are published")


def ticks_in(lines: Iterable[Line]) -> dict[int, Tick]:
    """Every tick by its row; copies of an index's tick must be equal."""
    ticks: dict[int, Tick] = {}
    for line in lines:
        batch = decode_market(line.value)
        for tick in batch.ticks if isinstance(batch, TickBatch) else ():
            assert ticks.setdefault(tick.row, tick) == tick
    return ticks


def test_a_feed_that_is_killed_goes_on_where_kafka_ends(world: FreshWorld, spawn: Spawn, recording: Path) -> None:
    for count, speed in [(50, "200"), (2000, "400")]:
        feed = spawn(["panda", "feed", "replay", str(recording), "--speed", speed])
        when_published(world, count)
        assert feed.process.poll() is None
        feed.kill()
    last = spawn(["panda", "feed", "replay", str(recording), "--speed", "max"])
    assert last.wait(60) == 0

    source = Replay([recording], SymbolMap(INSTRUMENTS), Faults(print))
    assert by_shard(world) == undisturbed(world, source, source.frames(None))


def test_a_simulation_that_is_stopped_and_killed_goes_on_as_if_nothing_had_happened(
    world: FreshWorld, spawn: Spawn
) -> None:
    command = ["panda", "feed", "sim", "--speed", "100", "--seed", "7"]
    first = spawn(command)
    when_published(world, 300)
    first.process.send_signal(signal.SIGTERM)
    assert first.wait() == 0
    second = spawn(command)
    when_published(world, 1500)
    second.kill()
    third = spawn(command)
    when_published(world, 3000)
    third.process.send_signal(signal.SIGINT)
    assert third.wait() == 0

    simulator = Simulator(INSTRUMENTS, 7, 0.5)
    found = by_shard(world)
    whole = undisturbed(world, simulator, islice(simulator.frames(None), 5000))
    assert found == {shard: records[: len(found[shard])] for shard, records in whole.items()}


def test_a_recording_that_was_replayed_to_its_end_is_not_replayed_again(
    world: FreshWorld, spawn: Spawn, recording: Path
) -> None:
    command = ["panda", "feed", "replay", str(recording), "--speed", "max", "--json"]
    assert spawn(command).wait(60) == 0
    before = len(published(world))

    again = spawn(command)

    assert again.wait(60) == 0
    report = json.loads(again.output().splitlines()[-1])
    assert (report["state"], report["records"], len(published(world))) == ("finished", 0, before)
    assert "already replayed to its end" in again.output()


def test_a_second_feed_of_a_world_is_refused(world: FreshWorld, spawn: Spawn, recording: Path) -> None:
    first = spawn(["panda", "feed", "sim", "--speed", "50"])
    when_published(world, 10)

    second = spawn(["panda", "feed", "replay", str(recording), "--speed", "max"])

    assert second.wait() == 6
    assert f"feed-0 of world {world.name} already runs (pid {first.pid})" in second.output()


def test_event_time_of_a_world_never_goes_back(world: FreshWorld, spawn: Spawn, recording: Path) -> None:
    sim = spawn(["panda", "feed", "sim", "--speed", "50"])
    when_published(world, 10)
    sim.process.terminate()
    assert sim.wait() == 0
    before = len(published(world))

    refused = spawn(["panda", "feed", "replay", str(recording), "--speed", "max"])

    assert refused.wait() == 1
    assert "begins before that, at 2021-06-08 09:15:00 IST" in refused.output()
    assert "has reached 2026-01-05 09:15:" in refused.output()
    assert len(published(world)) == before


def test_a_recording_that_changed_in_place_is_another_run(world: FreshWorld, spawn: Spawn, recording: Path) -> None:
    command = ["panda", "feed", "replay", str(recording), "--speed", "max"]
    assert spawn(command).wait(60) == 0
    recording.write_bytes(gzip.compress(gzip.decompress(recording.read_bytes()).replace(b"1003.", b"1004.")))

    changed = spawn(command)

    assert changed.wait(60) == 1
    assert "begins before that" in changed.output()


def test_health_is_reported_and_an_outage_of_redis_does_not_hold_the_feed_up(
    world: FreshWorld, spawn: Spawn, recording: Path, redis_server: RedisServer
) -> None:
    env = {**world.env, "REDIS_URL": redis_server.url}
    settings = given_settings(env)
    asyncio.run(prepare(settings, replace(world.servers, redis=redis_server.url)))
    feed = spawn(["panda", "feed", "replay", str(recording), "--speed", "600"], env=env)

    def health() -> dict[str, object]:
        with redis_server.client() as client:
            assert client.smembers("feed:index:health") in ({"0"}, set())
            return json.loads(client.get("feed:health:0") or "{}")

    running = eventually(lambda: (h := health()).get("events") and h, what="the feed reports its health")
    redis_server.stop()

    assert isinstance(running, dict)
    assert (running["world"], running["role"], running["state"], running["ready"]) == (
        world.name,
        "feed",
        "running",
        True,
    )
    assert "june.csv.gz, speed 600" in str(running["detail"])
    assert feed.wait(60) == 0
    assert {json.loads(records[-1])["end"] for records in by_shard(world).values()} == {True}


def test_a_feed_without_its_redis_at_start_names_the_setting(
    world: FreshWorld, spawn: Spawn, redis_server: RedisServer
) -> None:
    redis_server.stop()
    feed = spawn(["panda", "feed", "sim"], env={**world.env, "REDIS_URL": redis_server.url})

    assert feed.wait(15) == 3
    assert "REDIS_URL" in feed.output()
    assert published(world) == []


def test_what_a_world_has_published_can_be_recorded_and_replayed(
    world: FreshWorld, spawn: Spawn, recording: Path, tmp_path: Path
) -> None:
    assert spawn(["panda", "feed", "replay", str(recording), "--speed", "max"]).wait(60) == 0
    assert spawn(["panda", "record", "own.gz"]).wait(60) == 0

    original = Replay([recording], SymbolMap(INSTRUMENTS), Faults(print))
    copy = Replay([tmp_path / "own.gz"], SymbolMap(INSTRUMENTS), Faults(print))

    assert list(copy.frames(None)) == list(original.frames(None))
    overwriting = spawn(["panda", "record", "own.gz"])
    assert overwriting.wait(60) == 2
    assert "exists" in overwriting.output()


def test_real_ticks_arrive_exactly_and_bad_lines_stop_nothing(
    world: FreshWorld, spawn: Spawn, shared_data: Path, tmp_path: Path
) -> None:
    source = shared_data / "nse_ticks_2021" / "nse_ticks_2021-06-08.csv.gz"
    with gzip.open(source, "rt") as text:
        lines = list(islice(text, 20_001))
    lines[500] = "2021-06-08T09:16:00,INFY,1390,1\n"
    lines[501] = "2021-06-08T09:16:00+05:30,ZOMATO,140,1\n"
    (tmp_path / "real.csv").write_text("".join(lines))

    feed = spawn(["panda", "feed", "replay", "real.csv", "--speed", "max", "--json"])

    assert feed.wait(60) == 0
    report = json.loads(feed.output().splitlines()[-1])
    assert (report["ticks"], report["bad_lines"], report["unknown_symbols"]) == (19_998, 1, {"ZOMATO": 1})
    assert "real.csv line 501: expected a time like" in feed.output()
    symbols = SymbolMap(INSTRUMENTS)
    ticks = ticks_in(published(world))
    rows = list(csv.reader(lines[1:]))
    assert ticks.keys() == set(range(20_000)) - {499, 500}
    for row, tick in ticks.items():
        stamp, symbol, price, volume = rows[row]
        assert symbols.find(symbol) == (tick.instrument, 2)
        assert (price_of(tick.price, 2), tick.volume) == (Decimal(price), int(volume))
        assert tick.time == int(datetime.fromisoformat(stamp).timestamp() * 1000)
        assert (tick.quantity, tick.bid, tick.ask) == (None, None, None)
