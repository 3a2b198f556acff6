from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from panda_streams.errors import ServerUnreachable, SettingsError
from panda_streams.mirror import Mirror, place
from tests.polling import eventually_async

NOWHERE = "redis://someone:secret@127.0.0.1:1/0"


async def until(true: Callable[[], object]) -> None:
    async def check() -> object:
        return true()

    await eventually_async(check, what="what the mirror holds is in Redis")


def held(redis_server: Any, *keys: str) -> list[str | None]:
    with redis_server.client() as client:
        found: list[str | None] = client.mget(keys)
        return found


@pytest.mark.parametrize("key", ["zerodha:portfolio:M", "paperx:portfolio:M", "paper", "", "panda:stamp"])
def test_a_key_outside_its_scope_is_refused_at_once(key: str) -> None:
    mirror = Mirror(NOWHERE, "paper")

    for write in (
        lambda: mirror.put(key, b"{}", 1),
        lambda: mirror.remove(key),
        lambda: mirror.add(key, "m"),
        lambda: mirror.discard(key, "m"),
    ):
        with pytest.raises(ValueError, match="must not write"):
            write()


def test_what_is_put_is_in_redis_after_a_flush(redis_server: Any) -> None:
    async def run() -> None:
        mirror = Mirror(redis_server.url, "paper")
        await mirror.start()
        mirror.put("paper:risk", b'{"a":1}', 1)
        mirror.add("paper:index:orders", "o1")
        mirror.add("paper:index:orders", "o2")
        mirror.discard("paper:index:orders", "o1")
        assert await mirror.flush()
        await mirror.stop()

    asyncio.run(run())

    assert held(redis_server, "paper:risk") == ['{"a":1}']
    with redis_server.client() as client:
        assert client.smembers("paper:index:orders") == {"o2"}


def test_it_flushes_by_itself(redis_server: Any) -> None:
    async def run() -> None:
        mirror = Mirror(redis_server.url, "paper")
        await mirror.start()
        mirror.put("paper:risk", b"1", 1)
        await until(lambda: held(redis_server, "paper:risk") == ["1"])
        await mirror.stop()

    asyncio.run(run())


def test_stopping_writes_what_is_pending(redis_server: Any) -> None:
    async def run() -> None:
        mirror = Mirror(redis_server.url, "paper")
        await mirror.start()
        mirror.put("paper:risk", b"last", 1)
        await mirror.stop()
        assert not mirror.healthy

    asyncio.run(run())

    assert held(redis_server, "paper:risk") == ["last"]


def test_many_puts_of_a_key_are_one_write(redis_server: Any) -> None:
    async def run() -> None:
        mirror = Mirror(redis_server.url, "paper")
        await mirror.start()
        with redis_server.client() as client:
            before = client.info("commandstats").get("cmdstat_set", {"calls": 0})["calls"]
            for version in range(1000):
                mirror.put("paper:risk", str(version).encode(), version)
            await mirror.flush()
            assert client.info("commandstats")["cmdstat_set"]["calls"] == before + 1
        await mirror.stop()

    asyncio.run(run())

    assert held(redis_server, "paper:risk") == ["999"]


@pytest.mark.parametrize("flushed_between", [False, True])
@pytest.mark.parametrize(
    ("first", "second", "left"),
    [((1, b"a"), (2, b"b"), "b"), ((2, b"a"), (1, b"b"), "a"), ((2, b"a"), (2, b"b"), "b")],
)
def test_an_older_version_never_replaces_a_newer_one(
    redis_server: Any, first: tuple[int, bytes], second: tuple[int, bytes], left: str, flushed_between: bool
) -> None:
    async def run() -> None:
        mirror = Mirror(redis_server.url, "paper")
        await mirror.start()
        mirror.put("paper:risk", first[1], first[0])
        if flushed_between:
            await mirror.flush()
        mirror.put("paper:risk", second[1], second[0])
        await mirror.stop()

    asyncio.run(run())

    assert held(redis_server, "paper:risk") == [left]


def test_a_suspended_owner_cannot_write_over_its_successor(redis_server: Any) -> None:
    async def run() -> None:
        old, new = Mirror(redis_server.url, "paper"), Mirror(redis_server.url, "paper")
        await old.start()
        await new.start()
        new.put("paper:risk", b"successor", 8)
        await new.stop()
        old.put("paper:risk", b"zombie", 7)
        await old.stop()

    asyncio.run(run())

    assert held(redis_server, "paper:risk") == ["successor"]


@pytest.mark.parametrize("flushed_between", [False, True])
def test_after_a_removal_any_version_may_be_put(redis_server: Any, flushed_between: bool) -> None:
    async def run() -> None:
        mirror = Mirror(redis_server.url, "paper")
        await mirror.start()
        mirror.put("paper:orders:o1", b"old", 9)
        await mirror.flush()
        mirror.remove("paper:orders:o1")
        if flushed_between:
            await mirror.flush()
            assert held(redis_server, "paper:orders:o1") == [None]
        mirror.put("paper:orders:o1", b"new", 1)
        await mirror.stop()

    asyncio.run(run())

    assert held(redis_server, "paper:orders:o1") == ["new"]


def test_more_rows_than_one_script_call_takes_are_all_written(redis_server: Any) -> None:
    async def run() -> None:
        mirror = Mirror(redis_server.url, "paper")
        await mirror.start()
        for number in range(1201):
            mirror.put(f"paper:orders:{number}", str(number).encode(), 1)
            mirror.add("paper:index:orders", str(number))
        await mirror.stop()

    asyncio.run(run())

    assert held(redis_server, "paper:orders:0", "paper:orders:1200") == ["0", "1200"]
    with redis_server.client() as client:
        assert client.scard("paper:index:orders") == 1201


def test_an_outage_loses_nothing_and_the_owner_is_told_when_it_ends(redis_server: Any) -> None:
    async def run() -> None:
        told: list[str] = []
        mirror = Mirror(redis_server.url, "paper")
        mirror.on_reconnect(lambda: (told.append("back"), mirror.put("paper:portfolio:M", b"whole row", 5))[0])
        await mirror.start()
        mirror.put("paper:portfolio:M", b"whole row", 5)
        await mirror.flush()

        redis_server.stop()
        for version in range(1, 50):
            mirror.put("paper:risk", str(version).encode(), version)
        assert not await mirror.flush()
        assert not mirror.healthy
        mirror.put("paper:risk", b"older", 3)
        redis_server.start()

        await until(lambda: held(redis_server, "paper:risk", "paper:portfolio:M") == ["49", "whole row"])
        assert told == ["back"]
        assert mirror.healthy
        await mirror.stop()

    asyncio.run(run())


def test_a_redis_that_restarted_unseen_is_noticed_within_seconds(redis_server: Any) -> None:
    async def run() -> None:
        mirror = Mirror(redis_server.url, "paper")
        mirror.on_reconnect(lambda: mirror.put("paper:risk", b"again", 1))
        await mirror.start()
        mirror.put("paper:risk", b"again", 1)
        await mirror.flush()
        redis_server.stop()
        redis_server.start()

        await until(lambda: held(redis_server, "paper:risk") == ["again"])
        await mirror.stop()

    asyncio.run(run())


def test_an_emptied_redis_is_filled_again(redis_server: Any) -> None:
    async def run() -> None:
        mirror = Mirror(redis_server.url, "paper")
        mirror.on_reconnect(lambda: mirror.put("paper:risk", b"again", 1))
        await mirror.start()
        mirror.put("paper:risk", b"again", 1)
        await mirror.flush()
        with redis_server.client() as client:
            client.flushdb()

        await until(lambda: held(redis_server, "paper:risk") == ["again"])
        await mirror.stop()

    asyncio.run(run())


def test_a_failing_callback_does_not_end_the_mirror(redis_server: Any) -> None:
    async def run() -> None:
        mirror = Mirror(redis_server.url, "paper")
        mirror.on_reconnect(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
        await mirror.start()
        redis_server.stop()
        assert not await mirror.flush()
        redis_server.start()
        await until(lambda: mirror.healthy)
        mirror.put("paper:risk", b"1", 1)
        await until(lambda: held(redis_server, "paper:risk") == ["1"])
        await mirror.stop()

    asyncio.run(run())


def test_no_redis_at_the_start_is_an_error_that_names_the_setting_and_no_password() -> None:
    with pytest.raises(ServerUnreachable, match="REDIS_URL") as raised:
        asyncio.run(Mirror(NOWHERE, "paper").start(timeout_s=0.3))

    assert "127.0.0.1:1" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_an_address_that_is_none_is_an_error_that_does_not_print_it() -> None:
    with pytest.raises(SettingsError, match="REDIS_URL") as raised:
        Mirror("someone:secret@host", "paper")

    assert "secret" not in str(raised.value)


def test_a_place_has_no_password() -> None:
    assert place("rediss://someone:secret@cache.example:6390/2") == "cache.example:6390/2"
