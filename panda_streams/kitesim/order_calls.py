"""The routes that place, change and show orders and trades; here the faults of order calls happen."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from panda_streams.kitesim.broker import Child
from panda_streams.kitesim.engine import Engine
from panda_streams.kitesim.errors import ErrorType, Refused
from panda_streams.kitesim.faults import Armed, Call, Fault, Faults
from panda_streams.kitesim.front import Front, Handler, answer, fields_of, refusal
from panda_streams.kitesim.orders import BookOrder, Variety
from panda_streams.kitesim.rules import OrderRate, read_change, read_form, too_many
from panda_streams.kitesim.shapes import Shapes

__all__ = ["CAUSED", "OrderCalls"]

CAUSED = "X-Panda-Time"
"""Header: event time of a call's cause, milliseconds."""
_AMBIGUOUS = "Order request timed out. Please check the order book and confirm before placing again."
_GATEWAY = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"

Act = Callable[[int | None], dict[str, Any]]
"""Carries a call out, at the event time of its cause; raises Refused."""


class OrderCalls:
    """Orders of one engine. On the wall's clock the rate of orders is counted by it, else by event time."""

    def __init__(self, front: Front, engine: Engine, shapes: Shapes, faults: Faults, *, wall: bool) -> None:
        self._front = front
        self._engine = engine
        self._broker = engine.broker
        self._shapes = shapes
        self._faults = faults
        self._wall = wall
        counters = self._broker.counters
        self._rate = OrderRate(counters.rate_day, counters.rate_count)

    def routes(self) -> list[tuple[str, str, Handler]]:
        return [
            ("GET", "/orders", self._orders),
            ("GET", "/orders/{order_id}", self._history),
            ("GET", "/orders/{order_id}/trades", self._order_trades),
            ("GET", "/trades", self._trades),
            ("POST", "/orders/{variety}", self._place),
            ("PUT", "/orders/{variety}/{order_id}", self._modify),
            ("DELETE", "/orders/{variety}/{order_id}", self._cancel),
        ]

    # Changing

    async def _place(self, request: web.Request) -> web.StreamResponse:
        fields = await fields_of(request)

        def act(at: int | None) -> dict[str, Any]:
            self._count(at)
            form = read_form(request.match_info["variety"], fields, self._broker.instruments)
            if form.autoslice:
                parent, children = self._broker.place_slices(form, at)
                self._count_more(len(children) - 1)
                return _sliced(parent, children)
            order_id = self._broker.place(form, at)
            if form.variety is Variety.ICEBERG and form.legs is not None:
                self._count_more(form.legs - 1)
            return {"order_id": order_id}

        return await self.change(request, Call.PLACE, act)

    def _count(self, at: int | None) -> None:
        moment = None if self._wall else self._broker.moment(at)
        self._rate.take(moment if moment is not None else time.time_ns() // 1_000_000)
        self._count_more(0)

    def _count_more(self, orders: int) -> None:
        """Legs and slices are orders to the day's cap."""
        self._rate.count += orders
        counters = self._broker.counters
        counters.rate_day, counters.rate_count = self._rate.day, self._rate.count

    async def _modify(self, request: web.Request) -> web.StreamResponse:
        fields = await fields_of(request)

        def act(at: int | None) -> dict[str, Any]:
            return {"order_id": self._broker.modify(request.match_info["order_id"], read_change(fields, at or 0), at)}

        return await self.change(request, Call.MODIFY, act)

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        def act(at: int | None) -> dict[str, Any]:
            return {"order_id": self._broker.cancel(request.match_info["order_id"], at)}

        return await self.change(request, Call.CANCEL, act)

    async def change(self, request: web.Request, call: Call, act: Act) -> web.StreamResponse:
        """Carry a call out that changes orders, unless a fault prevents it: it is durable before it is answered."""
        self._front.authenticate(request)
        at = _caused(request)
        fault = self._faults.of_call(call)
        if fault is not None and (prevented := await self._before(request, fault)) is not None:
            return prevented
        try:
            result = act(at)
            if fault is not None and fault.kind is Fault.LATE_BOOK:
                self._hide(result, fault)
            response = answer(result)
        except Refused as refused:
            self._broker.counters.refused += 1
            response = refusal(refused)
        except Exception as error:
            self._engine.failure = error
            raise
        self._engine.commit()
        return await self._after(request, fault, response) if fault is not None else response

    async def _before(self, request: web.Request, fault: Armed) -> web.StreamResponse | None:
        """What is answered in place of the call, if it is not to be carried out."""
        match fault.kind:
            case Fault.BURST_429:
                return refusal(too_many())
            case Fault.TIMEOUT_BEFORE:
                await asyncio.sleep(fault.seconds)
                return refusal(Refused(ErrorType.NETWORK, "Gateway timed out.", 504))
            case Fault.HTML_502_BEFORE:
                return _gateway()
            case Fault.AMBIGUOUS_400_BEFORE:
                return refusal(Refused(ErrorType.ORDER, _AMBIGUOUS))
            case Fault.RESET_BEFORE:
                return _reset(request)
            case _:
                return None

    async def _after(self, request: web.Request, fault: Armed, response: web.Response) -> web.StreamResponse:
        """What is answered after the call was carried out."""
        match fault.kind:
            case Fault.TIMEOUT_AFTER:
                await asyncio.sleep(fault.seconds)
                return response
            case Fault.ERROR_5XX_AFTER:
                return refusal(Refused(ErrorType.GENERAL, "Something went wrong.", 500))
            case Fault.HTML_502_AFTER:
                return _gateway()
            case Fault.AMBIGUOUS_400_AFTER:
                return refusal(Refused(ErrorType.ORDER, _AMBIGUOUS))
            case Fault.RESET_AFTER:
                return _reset(request)
            case _:
                return response

    def _hide(self, result: dict[str, Any], fault: Armed) -> None:
        for child in (result, *result.get("children", [])):
            if (order_id := child.get("order_id")) is not None:
                self._broker.hide(order_id, time.time() + fault.seconds)

    # Showing

    def _shown(self) -> list[BookOrder]:
        now = time.time()
        hidden = self._broker.hidden
        return [order for order in self._broker.orders.values() if hidden.get(order.order_id, 0.0) <= now]

    async def _orders(self, request: web.Request) -> web.StreamResponse:
        self._front.enter(request)
        return answer([self._shapes.order(order) for order in self._shown()])

    async def _history(self, request: web.Request) -> web.StreamResponse:
        self._front.enter(request)
        order = self._find(request)
        return answer([self._shapes.order(row) for row in self._engine.history(order)])

    async def _order_trades(self, request: web.Request) -> web.StreamResponse:
        self._front.enter(request)
        order = self._find(request)
        return answer([self._shapes.trade(one) for one in self._broker.trades if one.order_id == order.order_id])

    def _find(self, request: web.Request) -> BookOrder:
        order = self._broker.find(request.match_info["order_id"])
        if self._broker.hidden.get(order.order_id, 0.0) > time.time():
            raise Refused(ErrorType.GENERAL, "Couldn't find that `order_id`.", 404)
        return order

    async def _trades(self, request: web.Request) -> web.StreamResponse:
        self._front.enter(request)
        shown = {order.order_id for order in self._shown()}
        return answer([self._shapes.trade(trade) for trade in self._broker.trades if trade.order_id in shown])


def _sliced(parent: str, children: list[Child]) -> dict[str, Any]:
    """The answer to an order that was sliced. Raises Refused if no slice was taken."""
    shapes: list[dict[str, Any]] = []
    for child in children:
        if child.refusal is None:
            shapes.append({"order_id": child.order_id})
        else:
            error = {"code": child.refusal.status, "error_type": child.refusal.kind.value}
            shapes.append({"error": {**error, "message": child.refusal.message, "data": None}})
    first = children[0].refusal
    if first is not None and all(child.refusal is not None for child in children):
        raise first
    return {"order_id": parent, "children": shapes}


def _gateway() -> web.Response:
    return web.Response(text=_GATEWAY, content_type="text/html", status=502)


def _reset(request: web.Request) -> web.Response:
    """Reset the connection: the client hears nothing any more, whatever is returned."""
    transport = request.transport
    if transport is not None:
        # Without waiting for what is in flight, the kernel sends a reset in place of an end.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response(status=500)


def _caused(request: web.Request) -> int | None:
    text = request.headers.get(CAUSED)
    if text is None:
        return None
    if not text.isdigit() or len(text) > 15:
        raise Refused(ErrorType.INPUT, f"Invalid header {CAUSED}: expected milliseconds.")
    return int(text)
