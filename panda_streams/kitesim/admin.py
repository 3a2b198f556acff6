"""The routes under /sim/: what no broker has, for the arm's trader in a simulated world, for tests, and for people."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web
from pydantic import ValidationError

from panda_streams.identity import Clock as WorldClock
from panda_streams.kitesim.clocks import Clock
from panda_streams.kitesim.engine import Engine
from panda_streams.kitesim.errors import ErrorType, Refused
from panda_streams.kitesim.faults import Armed, Faults
from panda_streams.kitesim.front import json_of
from panda_streams.kitesim.shapes import Shapes

__all__ = ["Admin"]


class Admin:
    """Serves the clock, the login without a browser, and the broker's own truth."""

    def __init__(self, engine: Engine, clock: Clock, kind: WorldClock, shapes: Shapes, faults: Faults) -> None:
        self._engine = engine
        self._clock = clock
        self._kind = kind
        self._shapes = shapes
        self._faults = faults

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/sim/clock", self._read_clock),
            web.post("/sim/clock", self._advance),
            web.post("/sim/login", self._login),
            web.get("/sim/ledger", self._ledger),
            web.get("/sim/faults", self._read_faults),
            web.post("/sim/faults", self._arm),
            web.delete("/sim/faults", self._disarm),
        ]

    def _progress(self) -> dict[str, Any]:
        counters = self._engine.broker.counters
        return {"time": counters.time, "version": counters.version}

    async def _read_clock(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"clock": self._kind.value, **self._progress(), "ticks": self._clock.newest})

    async def _advance(self, request: web.Request) -> web.StreamResponse:
        until = (await _object(request)).get("until")
        if not isinstance(until, int):
            raise Refused(ErrorType.INPUT, 'Expected {"until": milliseconds}.')
        await self._clock.advance(until)
        progress = self._progress()
        return web.json_response({**progress, "time": progress["time"] or 0})

    async def _login(self, request: web.Request) -> web.StreamResponse:
        api_key = (await _object(request)).get("api_key")
        if not isinstance(api_key, str) or not api_key:
            raise Refused(ErrorType.INPUT, 'Expected {"api_key": "…"}.')
        return web.json_response({"request_token": self._engine.sessions.log_in(api_key)})

    async def _ledger(self, request: web.Request) -> web.StreamResponse:
        store, broker, shapes = self._engine.store, self._engine.broker, self._shapes
        return web.json_response(
            {
                "orders": [shapes.order(order) for order in store.orders()],
                "trades": [shapes.trade(trade) for trade in store.trades()],
                "positions": shapes.positions(broker.account.positions.values()),
                "counters": msgspec.to_builtins(broker.counters),
            }
        )

    async def _read_faults(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._faults.report())

    async def _arm(self, request: web.Request) -> web.StreamResponse:
        try:
            armed = Armed.model_validate(await _object(request))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise Refused(ErrorType.INPUT, f"Invalid fault: {place}: {first['msg']}") from None
        self._faults.arm(armed)
        return web.json_response(self._faults.report())

    async def _disarm(self, request: web.Request) -> web.StreamResponse:
        self._faults.disarm()
        return web.json_response(self._faults.report())


async def _object(request: web.Request) -> dict[str, Any]:
    value = await json_of(request)
    if not isinstance(value, dict):
        raise Refused(ErrorType.INPUT, "Expected a JSON object.")
    return value
