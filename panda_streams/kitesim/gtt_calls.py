"""The routes of good-till-triggered orders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from panda_streams.kitesim.engine import Engine
from panda_streams.kitesim.errors import ErrorType, Refused
from panda_streams.kitesim.faults import Call
from panda_streams.kitesim.front import Front, Handler, answer, fields_of
from panda_streams.kitesim.gtt import Gtt, GttState, read_gtt
from panda_streams.kitesim.order_calls import OrderCalls
from panda_streams.kitesim.shapes import Shapes

__all__ = ["GttCalls"]


class GttCalls:
    """Triggers of one engine. Faults of calls that change orders happen to calls that change them, too."""

    def __init__(self, front: Front, engine: Engine, shapes: Shapes, orders: OrderCalls) -> None:
        self._front = front
        self._orders = orders
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
        return answer(self._shapes.gtt(self._broker.gtts.find(_number(request))))

    async def _place(self, request: web.Request) -> web.StreamResponse:
        self._front.enter(request)
        fields = await fields_of(request)

        def act(at: int | None) -> dict[str, Any]:
            return {"trigger_id": self._broker.place_gtt(self._read(fields), at)}

        return await self._orders.change(request, Call.PLACE, act)

    async def _modify(self, request: web.Request) -> web.StreamResponse:
        self._front.enter(request)
        fields = await fields_of(request)

        def act(at: int | None) -> dict[str, Any]:
            return {"trigger_id": self._broker.modify_gtt(_number(request), self._read(fields), at)}

        return await self._orders.change(request, Call.MODIFY, act)

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        self._front.enter(request)

        def act(at: int | None) -> dict[str, Any]:
            return {"trigger_id": self._broker.delete_gtt(_number(request), at)}

        return await self._orders.change(request, Call.CANCEL, act)

    def _read(self, fields: Mapping[str, str]) -> Gtt:
        condition, orders = _object(fields.get("condition"), dict), _object(fields.get("orders"), list)
        return read_gtt(fields.get("type", ""), condition, orders, self._broker.instruments)


def _number(request: web.Request) -> int:
    number = request.match_info["number"]
    return int(number) if number.isdigit() else -1


def _object(text: str | None, kind: type[Any]) -> Any:
    try:
        value = msgspec.json.decode(text or "")
    except msgspec.DecodeError:
        value = None
    if not isinstance(value, kind):
        raise Refused(ErrorType.INPUT, "`condition` and `orders` should be JSON.")
    return value
