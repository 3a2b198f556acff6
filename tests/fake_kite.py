"""A Kite of a test: logs anybody in, serves instruments, candles and a ticker, and fails as it is told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiohttp import WSMsgType, web

from panda_streams.kite_frames import Packet, encode

__all__ = ["FakeKite", "fake_kite"]

_COLUMNS = "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size"
DUMP = f"""{_COLUMNS},instrument_type,segment,exchange
408065,1594,INFY,INFOSYS,0,,0,0.05,1,EQ,NSE,NSE
738561,2885,RELIANCE,RELIANCE INDUSTRIES,0,,0,0.05,1,EQ,NSE,NSE
256265,1001,NIFTY 50,NIFTY 50,0,,0,0,0,EQ,INDICES,NSE
"""


@dataclass(slots=True)
class FakeKite:
    """What it was asked, and what it is to answer."""

    port: int = 0
    tokens: set[str] = field(default_factory=set)
    """Access tokens that are good."""
    logins: int = 0
    subscriptions: list[list[int]] = field(default_factory=list)
    modes: list[tuple[str, list[int]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    """Of each connection to the ticker."""
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    """Open connections to the ticker."""
    ticker_status: int | None = None
    """The ticker answers with this HTTP status alone."""
    first: list[Packet] = field(default_factory=list)
    """Sent at each subscription."""
    heartbeat: bool = True
    beats: int = 0
    """Heartbeats that were sent."""
    candles: list[list[Any]] = field(default_factory=list)
    failures: list[tuple[int, str]] = field(default_factory=list)
    """Status and body of the next answers to requests for candles."""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Path and query of each request for candles."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def send(self, packets: Iterable[Packet]) -> None:
        """Send a frame on every connection."""
        await self.send_bytes(encode(packets))

    async def send_bytes(self, data: bytes) -> None:
        for socket in list(self.sockets):
            await socket.send_bytes(data)

    async def send_text(self, told: dict[str, Any]) -> None:
        for socket in list(self.sockets):
            await socket.send_str(json.dumps(told))

    async def hang_up(self) -> None:
        """Close every connection."""
        for socket in list(self.sockets):
            await socket.close(code=1001)


@asynccontextmanager
async def fake_kite() -> AsyncIterator[FakeKite]:
    """Serve a Kite on a free port."""
    kite = FakeKite()
    app = web.Application()
    app.add_routes(
        [
            web.post("/sim/login", partial(_login, kite)),
            web.post("/session/token", partial(_session, kite)),
            web.get("/instruments", _instruments),
            web.get("/instruments/historical/{token}/{interval}", partial(_candles, kite)),
            web.get("/", partial(_ticker, kite)),
        ]
    )
    runner = web.AppRunner(app, shutdown_timeout=1, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    kite.port = runner.addresses[0][1]
    beating = asyncio.create_task(_beat(kite))
    try:
        yield kite
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await kite.hang_up()
        await runner.cleanup()


async def _login(kite: FakeKite, request: web.Request) -> web.Response:
    assert (await request.json())["api_key"]
    return web.json_response({"request_token": "request"})


async def _session(kite: FakeKite, request: web.Request) -> web.Response:
    form = await request.post()
    assert form["request_token"] == "request"
    assert form["checksum"]
    kite.logins += 1
    token = f"secret{kite.logins}"
    kite.tokens = {token}
    return web.json_response({"status": "success", "data": {"access_token": token}})


async def _instruments(request: web.Request) -> web.Response:
    return web.Response(text=DUMP, content_type="text/csv")


async def _candles(kite: FakeKite, request: web.Request) -> web.Response:
    kite.asked.append((request.path, dict(request.query)))
    if kite.failures:
        status, body = kite.failures.pop(0)
        return web.Response(status=status, text=body)
    if request.headers.get("Authorization", "").rpartition(":")[2] not in kite.tokens:
        told = {"status": "error", "error_type": "TokenException", "message": "Incorrect `api_key` or `access_token`."}
        return web.json_response(told, status=403)
    begins, ends = request.query["from"], request.query["to"]
    chosen = [row for row in kite.candles if begins <= row[0][:19].replace("T", " ") <= ends]
    return web.json_response({"status": "success", "data": {"candles": chosen}})


async def _ticker(kite: FakeKite, request: web.Request) -> web.StreamResponse:
    if kite.ticker_status is not None:
        return web.Response(status=kite.ticker_status)
    if request.query.get("access_token") not in kite.tokens:
        return web.Response(status=403, text="Forbidden")
    kite.headers.append(dict(request.headers))
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    kite.sockets.append(socket)
    try:
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            told = json.loads(message.data)
            if told["a"] == "subscribe":
                kite.subscriptions.append(told["v"])
                if kite.first:
                    await socket.send_bytes(encode(kite.first))
            elif told["a"] == "mode":
                kite.modes.append((told["v"][0], told["v"][1]))
    finally:
        kite.sockets.remove(socket)
    return socket


async def _beat(kite: FakeKite) -> None:
    while True:
        await asyncio.sleep(0.1)
        if kite.heartbeat:
            kite.beats += 1
            for socket in list(kite.sockets):
                if not socket.closed:
                    await socket.send_bytes(b"\x00")
