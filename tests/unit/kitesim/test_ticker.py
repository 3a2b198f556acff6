"""The websocket: through the unmodified KiteTicker, and bare where it would hide what was sent."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests
from kiteconnect import KiteConnect, KiteTicker

from panda_streams.embedded.supervisor import die_with_parent
from tests.polling import eventually
from tests.unit.builders import INDEX
from tests.unit.kitesim.bench import DEPTH, Bench, placed

Socket = aiohttp.ClientWebSocketResponse
ROOT = Path(__file__).parents[3]


def token_of(bench: Bench, name: str = "NSE:INFY") -> int:
    exchange, symbol = name.split(":")
    rows = requests.get(f"{bench.url}/instruments/{exchange}", timeout=5).text.splitlines()[1:]
    return next(int(row.split(",")[0]) for row in rows if row.split(",")[2] == symbol)


def arm(bench: Bench, kind: str, **fields: Any) -> None:
    requests.post(f"{bench.url}/sim/faults", json={"kind": kind, **fields}, timeout=5).raise_for_status()


def connected(bench: Bench, kite: KiteConnect, act: Callable[[Socket], Awaitable[None]]) -> None:
    """Do something with a bare connection of the client's session."""

    async def run() -> None:
        query = f"?api_key={kite.api_key}&access_token={kite.access_token}"
        async with aiohttp.ClientSession() as http, http.ws_connect(f"{bench.url}/{query}") as socket:
            await act(socket)

    asyncio.run(run())


async def ticks_of(socket: Socket) -> list[dict[str, Any]]:
    """The next frame that is no heartbeat."""
    while True:
        message = await socket.receive(5)
        assert message.type is aiohttp.WSMsgType.BINARY, message
        if len(message.data) > 4:
            ticks: list[dict[str, Any]] = KiteTicker("key", "token")._parse_binary(message.data)
            return ticks


async def text_of(socket: Socket) -> dict[str, Any]:
    """The next text."""
    while True:
        message = await socket.receive(5)
        if message.type is aiohttp.WSMsgType.TEXT:
            text: dict[str, Any] = json.loads(message.data)
            return text
        assert message.type is aiohttp.WSMsgType.BINARY, message


async def quiet(socket: Socket, *, seconds: float = 0.3) -> bool:
    """Whether nothing at all comes."""
    try:
        await socket.receive(seconds)
    except TimeoutError:
        return True
    return False


class Spoken:
    """A process that runs the unmodified ticker, and what it has said."""

    def __init__(self, arguments: list[str], output: Path) -> None:
        self._output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.unit.kitesim.kite_ticker", *arguments],
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent(signal.SIGKILL),
            )

    def told(self, kind: str) -> list[Any]:
        lines = [line for line in self._output.read_text().splitlines() if line.startswith("[")]
        return [data for name, data in map(json.loads, lines) if name == kind]


@pytest.fixture
def speak(bench: Bench, tmp_path: Path) -> Iterator[Callable[..., Spoken]]:
    started: list[Spoken] = []

    def start(kite: KiteConnect, *tokens: int, access_token: str | None = None) -> Spoken:
        root = bench.url.replace("http", "ws")
        arguments = [root, kite.api_key, access_token or kite.access_token, *map(str, tokens)]
        started.append(Spoken(arguments, tmp_path / f"ticker-{len(started)}"))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def test_the_official_ticker_hears_ticks_and_orders(
    bench: Bench, kite: KiteConnect, speak: Callable[..., Spoken]
) -> None:
    token = token_of(bench)
    spoken = speak(kite, token)
    cached = eventually(lambda: [one for ticks in spoken.told("ticks") for one in ticks], what="the last tick is told")
    assert (cached[0]["instrument_token"], cached[0]["last_price"]) == (token, 1500)

    order_id = placed(kite, quantity=20, tag="heard")
    bench.tick(150_050, at=3000, volume=3000, depth=DEPTH)

    def heard() -> bool:
        told = [one for ticks in spoken.told("ticks") for one in ticks]
        return any(one["last_price"] == 1500.5 and one["mode"] == "full" for one in told)

    eventually(heard, what="the tick is told in full")
    updates = eventually(lambda: spoken.told("order")[-1:], what="the order is told")
    assert (updates[0]["order_id"], updates[0]["status"], updates[0]["tag"]) == (order_id, "COMPLETE", "heard")
    assert (updates[0]["filled_quantity"], updates[0]["unfilled_quantity"]) == (20, 0)


def test_a_bad_token_is_refused_at_the_upgrade(bench: Bench, kite: KiteConnect, speak: Callable[..., Spoken]) -> None:
    spoken = speak(kite, 1, access_token="wrong")

    (reason, *_) = eventually(lambda: spoken.told("error"), what="the ticker hears of it")
    assert "403" in reason


def test_modes_and_what_is_subscribed_decide_what_comes(bench: Bench, kite: KiteConnect) -> None:
    infy, index = token_of(bench), token_of(bench, INDEX.id)
    bench.tick(1_570_000, at=2500, instrument=INDEX.id)

    async def act(socket: Socket) -> None:
        await socket.send_json({"a": "subscribe", "v": [infy, index, 1]})
        assert [tick["mode"] for tick in await ticks_of(socket)] == ["quote", "quote"]
        await socket.send_json({"a": "mode", "v": ["ltp", [infy]]})
        assert [(tick["mode"], tick["instrument_token"]) for tick in await ticks_of(socket)] == [("ltp", infy)]
        await socket.send_json({"a": "unsubscribe", "v": [index]})
        await socket.send_json({"a": "mode", "v": ["full", [index]]})
        await socket.send_json({"a": "nothing", "v": []})
        assert (await text_of(socket)) == {"type": "error", "data": "Unknown action: nothing"}
        bench.tick(1_580_000, at=3000, instrument=INDEX.id)
        bench.tick(150_100, at=3500)
        assert await ticks_of(socket) == [
            {"tradable": True, "mode": "ltp", "instrument_token": infy, "last_price": 1501}
        ]

    connected(bench, kite, act)


def test_the_ticks_of_one_step_come_in_one_frame_as_a_snapshot(bench: Bench, kite: KiteConnect) -> None:
    infy, tcs = token_of(bench), token_of(bench, "NSE:TCS")
    bench.tick(300_000, at=2500, instrument="NSE:TCS")

    async def act(socket: Socket) -> None:
        await socket.send_json({"a": "subscribe", "v": [infy, tcs]})
        await ticks_of(socket)
        for price in (150_100, 150_200):
            bench.inside(lambda price=price: bench.add(price, at=3000))
        bench.tick(300_100, at=3000, instrument="NSE:TCS")
        assert [tick["last_price"] for tick in await ticks_of(socket)] == [1502, 3001]

    connected(bench, kite, act)


def test_after_the_close_the_cached_tick_has_an_empty_book(bench: Bench, kite: KiteConnect) -> None:
    bench.tick(150_000, at=3000, depth=DEPTH)

    async def first(socket: Socket) -> None:
        await socket.send_json({"a": "subscribe", "v": [token_of(bench)]})
        assert (await ticks_of(socket))[0]["total_buy_quantity"] == 150

    async def later(socket: Socket) -> None:
        await socket.send_json({"a": "subscribe", "v": [token_of(bench)]})
        assert (await ticks_of(socket))[0]["total_buy_quantity"] == 0

    connected(bench, kite, first)
    bench.advance(7 * 3_600_000)
    connected(bench, kite, later)


def test_more_than_3000_instruments_are_told_as_an_error_and_the_connection_stays(
    bench: Bench, kite: KiteConnect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("panda_streams.kitesim.ticker.TOKENS", 1)
    bench.tick(300_000, at=2500, instrument="NSE:TCS")

    async def act(socket: Socket) -> None:
        await socket.send_json({"a": "subscribe", "v": [token_of(bench), token_of(bench, "NSE:TCS")]})
        assert "limit of 1 instruments" in (await text_of(socket))["data"]
        assert len(await ticks_of(socket)) == 1

    connected(bench, kite, act)


def test_an_idle_connection_has_a_heartbeat_of_one_byte(bench: Bench, kite: KiteConnect) -> None:
    async def act(socket: Socket) -> None:
        message = await socket.receive(5)
        assert (message.type, len(message.data)) == (aiohttp.WSMsgType.BINARY, 1)

    connected(bench, kite, act)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (None, ["UPDATE", "UPDATE", "COMPLETE"]),
        ("duplicate_update", ["UPDATE", "UPDATE", "UPDATE", "COMPLETE"]),
        ("missing_update", ["UPDATE", "COMPLETE"]),
        ("reordered_update", ["UPDATE", "UPDATE", "COMPLETE"]),
    ],
)
def test_updates_can_come_twice_late_or_never(
    bench: Bench, kite: KiteConnect, kind: str | None, expected: list[str]
) -> None:
    if kind is not None:
        arm(bench, kind, count=1)
    filled = []

    async def act(socket: Socket) -> None:
        placed(kite, quantity=80)
        bench.advance(2500)
        bench.tick(150_000, at=3000, volume=2100)
        bench.tick(150_000, at=4000, volume=9000)
        for status in expected:
            order = (await text_of(socket))["data"]
            assert order["status"] == status
            filled.append(order["filled_quantity"])

    connected(bench, kite, act)
    if kind == "reordered_update":
        assert filled == [50, 0, 80]
    else:
        assert filled == sorted(filled)


def test_a_silent_websocket_stays_open_and_says_nothing(bench: Bench, kite: KiteConnect) -> None:
    async def act(socket: Socket) -> None:
        await socket.send_json({"a": "subscribe", "v": [token_of(bench)]})
        await ticks_of(socket)
        arm(bench, "silent_ws", count=1, seconds=600)
        bench.tick(150_100, at=3000)
        assert await quiet(socket, seconds=1.5)
        assert not socket.closed

    connected(bench, kite, act)
    assert requests.get(f"{bench.url}/sim/faults", timeout=5).json()["fired"] == {"silent_ws": 1}
