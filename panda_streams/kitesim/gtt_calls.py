"""The routes of good-till-triggered orders."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web
from msgspec.structs import replace

from panda_streams.kitesim.engine import Engine
from panda_streams.kitesim.errors import ErrorType, Refused
from panda_streams.kitesim.front import Front, Handler, answer, fields_of
from panda_streams.kitesim.gtt import Gtt, GttState, read_gtt
from panda_streams.kitesim.shapes import Shapes

__all__ = ["GttCalls"]


class GttCalls:
    """Triggers of one engine."""

    def __init__(self, front: Front, engine: Engine, shapes: Shapes) -> None:
        self._front = front
        self._engine = engine
        self._broker = engine.broker
        self._shapes = shapes

    def routes(self) -> list[tuple[str, str, Handler]]:
        return [
            ("GET", "/gtt/triggers", self._list),
            ("GET", "/gtt/triggers/{number}", self._get),
            ("POST", "/gtt/triggers", self._place),
            ("PUT", "/gtt/triggers/{number}", self._modify),
            ("DELETE", "/gtt/triggers/{number}", self._delete),
        ]

    async def _list(self, request: web.Request) -> web.StreamResponse:
        self._front.enter(request)
        shown = (gtt for gtt in self._broker.gtts.all.values() if gtt.state is not GttState.DELETED)
        return answer([self._shapes.gtt(gtt) for gtt in shown])

    async def _get(self, request: web.Request) -> web.StreamResponse:
        self._front.enter(request)
        return answer(self._shapes.gtt(self._find(request)))

    async def _place(self, request: web.Request) -> web.StreamResponse:
        self._front.enter(request)
        gtt = await self._read(request)
        return self._keep(replace(gtt, number=self._broker.next_gtt()))

    async def _modify(self, request: web.Request) -> web.StreamResponse:
        self._front.enter(request)
        before = self._active(request)
        gtt = await self._read(request)
        if gtt.instrument != before.instrument:
            raise Refused(ErrorType.INPUT, "The instrument of a trigger cannot be changed.")
        return self._keep(replace(gtt, number=before.number, created_at=before.created_at))

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        self._front.enter(request)
        gtt = self._active(request)
        return self._keep(replace(gtt, state=GttState.DELETED, updated_at=self._now()))

    async def _read(self, request: web.Request) -> Gtt:
        fields = await fields_of(request)
        condition, orders = _object(fields.get("condition"), dict), _object(fields.get("orders"), list)
        return read_gtt(fields.get("type", ""), condition, orders, self._broker.instruments, 0, self._now())

    def _now(self) -> int:
        if self._broker.time is None:
            raise Refused(ErrorType.GENERAL, "No price is known yet.")
        return self._broker.time

    def _find(self, request: web.Request) -> Gtt:
        number = request.match_info["number"]
        return self._broker.gtts.find(int(number) if number.isdigit() else -1)

    def _active(self, request: web.Request) -> Gtt:
        gtt = self._find(request)
        if gtt.state is not GttState.ACTIVE:
            raise Refused(ErrorType.INPUT, f"The trigger is {gtt.state}.")
        return gtt

    def _keep(self, gtt: Gtt) -> web.StreamResponse:
        self._broker.put_gtt(gtt)
        self._engine.commit()
        return answer({"trigger_id": gtt.number})


def _object(text: str | None, kind: type[Any]) -> Any:
    try:
        value = msgspec.json.decode(text or "")
    except msgspec.DecodeError:
        value = None
    if not isinstance(value, kind):
        raise Refused(ErrorType.INPUT, "`condition` and `orders` should be JSON.")
    return value
