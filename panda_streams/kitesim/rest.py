"""The REST API: Kite's routes, answers and errors."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from panda_streams.domain.instruments import Instruments
from panda_streams.domain.orders import Product
from panda_streams.kitesim.engine import Engine
from panda_streams.kitesim.errors import ErrorType, Refused
from panda_streams.kitesim.orders import BookOrder, BookTrade
from panda_streams.kitesim.rules import OrderRate, read_change, read_form, too_many
from panda_streams.kitesim.sessions import Session
from panda_streams.kitesim.shapes import Shapes, clock_text
from panda_streams.kitesim.tokens import Tokens, dump

__all__ = ["Rest", "Throttle"]

_log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
CAUSED = "X-Panda-Time"
"""Header: event time of a call's cause, milliseconds."""
_QUOTES, _PRICES = 500, 1000
"""Instruments of one call."""
NOT_SERVED = (
    "/session/refresh_token",
    "/user/profile/full",
    "/portfolio/holdings/auctions",
    "/portfolio/holdings/authorise",
    "/portfolio/holdings/compact",
    "/portfolio/holdings/summary",
    "/alerts",
    "/mf/orders",
    "/mf/sips",
    "/mf/holdings",
    "/mf/instruments",
)


class Throttle:
    """Requests a wall second of each key, by what they ask for; off for tests."""

    _LIMITS: Mapping[str, int] = {"quote": 1, "historical": 3, "else": 10}

    def __init__(self, *, on: bool) -> None:
        self._on = on
        self._recent: dict[tuple[str, str], deque[float]] = defaultdict(deque)

    def take(self, api_key: str, kind: str) -> None:
        """Count a request; raises Refused with status 429 for one too many within a second."""
        if not self._on:
            return
        now, recent = time.monotonic(), self._recent[api_key, kind]
        while recent and recent[0] <= now - 1.0:
            recent.popleft()
        if len(recent) >= self._LIMITS[kind]:
            raise too_many()
        recent.append(now)


class Rest:
    """Serves the API of one engine."""

    def __init__(
        self,
        engine: Engine,
        instruments: Instruments,
        tokens: Tokens,
        shapes: Shapes,
        throttle: Throttle,
        *,
        wall: bool,
        login_page: str,
    ) -> None:
        self._engine = engine
        self._broker = engine.broker
        self._instruments = instruments
        self._tokens = tokens
        self._shapes = shapes
        self._throttle = throttle
        self._wall = wall
        self._login_page = login_page
        counters = self._broker.counters
        self._rate = OrderRate(counters.rate_day, counters.rate_count)
        self.requests: Counter[str] = Counter()

    def routes(self) -> list[web.RouteDef]:
        """Every route, also under the prefix that the official sandbox has."""
        served: list[tuple[str, str, Handler]] = [
            ("GET", "/connect/login", self._login),
            ("POST", "/session/token", self._open_session),
            ("DELETE", "/session/token", self._close_session),
            ("GET", "/user/profile", self._profile),
            ("GET", "/user/margins", self._margins),
            ("GET", "/user/margins/{segment}", self._margins),
            ("GET", "/instruments", self._dump),
            ("GET", "/quote", self._quote),
            ("GET", "/quote/ohlc", self._ohlc),
            ("GET", "/quote/ltp", self._ltp),
            ("GET", "/orders", self._orders),
            ("GET", "/orders/{order_id}", self._history),
            ("GET", "/orders/{order_id}/trades", self._order_trades),
            ("GET", "/trades", self._trades),
            ("POST", "/orders/{variety}", self._place),
            ("PUT", "/orders/{variety}/{order_id}", self._modify),
            ("DELETE", "/orders/{variety}/{order_id}", self._cancel),
            ("GET", "/portfolio/positions", self._positions),
            ("GET", "/portfolio/holdings", self._holdings),
            ("GET", "/instruments/{exchange}", self._dump),
        ]
        defs = [
            web.route(method, prefix + path, handler) for method, path, handler in served for prefix in ("", "/oms")
        ]
        return [*defs, *(web.route("*", path + "{rest:(/.*)?}", self._not_served) for path in NOT_SERVED)]

    # Login

    async def _login(self, request: web.Request) -> web.StreamResponse:
        api_key = request.query.get("api_key")
        if not api_key:
            raise Refused(ErrorType.INPUT, "Missing or empty field `api_key`")
        token = self._engine.sessions.log_in(api_key)
        where = request.query.get("redirect") or self._login_page
        mark = "&" if "?" in where else "?"
        raise web.HTTPFound(f"{where}{mark}action=login&type=login&status=success&request_token={token}")

    async def _open_session(self, request: web.Request) -> web.StreamResponse:
        fields = await _fields(request)
        session = self._engine.sessions.exchange(
            fields.get("api_key", ""), fields.get("request_token", ""), fields.get("checksum", ""), self._broker.time
        )
        self._engine.commit()
        at = session.login_at if session.login_at is not None else _wall_ms()
        return answer(self._shapes.session(session.api_key, session.token, at))

    async def _close_session(self, request: web.Request) -> web.StreamResponse:
        self._engine.sessions.end(request.query.get("api_key", ""), request.query.get("access_token", ""))
        self._engine.commit()
        return answer(True)

    def authenticate(self, request: web.Request) -> Session:
        """The session of a request; raises Refused."""
        kind, _, credentials = request.headers.get("Authorization", "").partition(" ")
        api_key, mark, token = credentials.partition(":")
        if kind != "token" or not mark:
            raise Refused(ErrorType.INPUT, "Invalid `api_key` or `access_token`.")
        return self._engine.sessions.check(api_key, token, self._broker.time)

    def _enter(self, request: web.Request, kind: str = "else") -> None:
        session = self.authenticate(request)
        self._throttle.take(session.api_key, kind)

    # User

    async def _profile(self, request: web.Request) -> web.StreamResponse:
        self._enter(request)
        return answer(self._shapes.profile())

    async def _margins(self, request: web.Request) -> web.StreamResponse:
        self._enter(request)
        segments = {"equity": self._shapes.funds(self._broker.funds()), "commodity": self._shapes.no_funds()}
        segment = request.match_info.get("segment")
        if segment is None:
            return answer(segments)
        if segment not in segments:
            raise Refused(ErrorType.INPUT, "Invalid `segment`.")
        return answer(segments[segment])

    # Market

    async def _dump(self, request: web.Request) -> web.StreamResponse:
        exchange = request.match_info.get("exchange")
        listed = [one for one in self._instruments if exchange is None or one.exchange == exchange]
        return web.Response(text=dump(listed, self._tokens), content_type="text/csv")

    async def _quote(self, request: web.Request) -> web.StreamResponse:
        now = self._broker.time or 0
        return self._quotes(request, _QUOTES, lambda one, state: self._shapes.quote(one, state, now))

    async def _ohlc(self, request: web.Request) -> web.StreamResponse:
        return self._quotes(request, _PRICES, self._shapes.ohlc)

    async def _ltp(self, request: web.Request) -> web.StreamResponse:
        return self._quotes(request, _PRICES, self._shapes.ltp)

    def _quotes(self, request: web.Request, most: int, shape: Callable[[Any, Any], Any]) -> web.StreamResponse:
        self._enter(request, "quote")
        asked = request.query.getall("i", [])
        if not asked:
            raise Refused(ErrorType.INPUT, "Missing or empty field `i`")
        if len(asked) > most:
            raise Refused(ErrorType.INPUT, f"Maximum {most} instruments are allowed.")
        found = {}
        for text in asked:
            name = self._tokens.find(int(text)) if text.isdigit() else text
            state = self._engine.state(name) if name is not None else None
            if name is not None and state is not None:
                found[text] = shape(self._instruments[name], state)
        return answer(found)

    # Orders

    async def _place(self, request: web.Request) -> web.StreamResponse:
        fields = await _fields(request)

        def act(at: int | None) -> Any:
            counted = at if at is not None and not self._wall else self._broker.time if not self._wall else None
            self._rate.take(counted if counted is not None else _wall_ms())
            form = read_form(request.match_info["variety"], fields, self._instruments)
            if form.autoslice:
                return _autosliced(self._broker.place_slices(form, at))
            return {"order_id": self._broker.place(form, at)}

        return await self._change(request, act)

    async def _modify(self, request: web.Request) -> web.StreamResponse:
        fields = await _fields(request)
        order_id = request.match_info["order_id"]

        def act(at: int | None) -> Any:
            return {"order_id": self._broker.modify(order_id, read_change(fields, at or 0), at)}

        return await self._change(request, act)

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        order_id = request.match_info["order_id"]
        return await self._change(request, lambda at: {"order_id": self._broker.cancel(order_id, at)})

    async def _change(self, request: web.Request, act: Callable[[int | None], Any]) -> web.StreamResponse:
        """Carry a call out that changes orders: it is durable before it is answered."""
        self.authenticate(request)
        at = _caused(request)
        try:
            result = act(at)
        except Refused:
            self._broker.counters.refused += 1
            raise
        finally:
            counters = self._broker.counters
            counters.rate_day, counters.rate_count = self._rate.day, self._rate.count
            self._engine.commit()
        return answer(result)

    def _shown(self) -> list[BookOrder]:
        now = time.time()
        return [
            order for order in self._broker.orders.values() if order.hidden_until is None or order.hidden_until <= now
        ]

    def _shown_trades(self) -> list[BookTrade]:
        hidden = self._broker.orders.keys() - {order.order_id for order in self._shown()}
        return [trade for trade in self._broker.trades if trade.order_id not in hidden]

    async def _orders(self, request: web.Request) -> web.StreamResponse:
        self._enter(request)
        return answer([self._shapes.order(order) for order in self._shown()])

    async def _history(self, request: web.Request) -> web.StreamResponse:
        self._enter(request)
        order = self._find(request)
        return answer([self._shapes.order(row) for row in self._engine.history(order)])

    async def _order_trades(self, request: web.Request) -> web.StreamResponse:
        self._enter(request)
        order = self._find(request)
        return answer([self._shapes.trade(one) for one in self._broker.trades if one.order_id == order.order_id])

    def _find(self, request: web.Request) -> BookOrder:
        order = self._broker.find(request.match_info["order_id"])
        if order not in self._shown():
            raise Refused(ErrorType.GENERAL, "Couldn't find that `order_id`.", 404)
        return order

    async def _trades(self, request: web.Request) -> web.StreamResponse:
        self._enter(request)
        return answer([self._shapes.trade(trade) for trade in self._shown_trades()])

    # Portfolio

    async def _positions(self, request: web.Request) -> web.StreamResponse:
        self._enter(request)
        return answer(self._shapes.positions(self._broker.account.positions.values()))

    async def _holdings(self, request: web.Request) -> web.StreamResponse:
        self._enter(request)
        account = self._broker.account
        on = (clock_text(self._broker.time) or "1970-01-01")[:10] + " 00:00:00"
        shown = [
            self._shapes.holding(one, max(-account.held(one.instrument, Product.CNC), 0), on)
            for one in account.holdings.values()
        ]
        return answer(shown)

    async def _not_served(self, request: web.Request) -> web.StreamResponse:
        raise Refused(ErrorType.GENERAL, f"{request.method} {request.path} is not served by kitesim.", 501)


def _autosliced(children: list[Any]) -> dict[str, Any]:
    """The answer of an order that was sliced: the first slice's id stands for all."""
    shapes = [
        {"order_id": child.order_id}
        if child.refusal is None
        else {
            "error": {
                "code": child.refusal.status,
                "error_type": child.refusal.kind.value,
                "message": child.refusal.message,
                "data": None,
            }
        }
        for child in children
    ]
    placed = [child.order_id for child in children if child.order_id is not None]
    if not placed:
        raise children[0].refusal
    return {"order_id": placed[0], "children": shapes}


def answer(data: Any) -> web.Response:
    """A success as Kite tells it."""
    return web.json_response({"status": "success", "data": data})


def refusal(refused: Refused) -> web.Response:
    """An error as Kite tells it."""
    shape = {"status": "error", "message": refused.message, "data": None, "error_type": refused.kind.value}
    return web.json_response(shape, status=refused.status)


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error in Kite's shape, also that of a route that does not exist, and kitesim's own."""
    try:
        return await handler(request)
    except Refused as refused:
        return refusal(refused)
    except web.HTTPFound:
        raise
    except web.HTTPException as error:
        found = "Route not found" if error.status == 404 else error.reason
        return refusal(Refused(ErrorType.GENERAL, found, error.status))
    except Exception as error:  # noqa: BLE001  whoever called has to hear of it in Kite's shape
        _log.exception("%s %s failed", request.method, request.path)
        return refusal(Refused(ErrorType.GENERAL, f"kitesim failed: {type(error).__name__}", 500))


def _caused(request: web.Request) -> int | None:
    text = request.headers.get(CAUSED)
    if text is None:
        return None
    if not text.isdigit():
        raise Refused(ErrorType.INPUT, f"Invalid header {CAUSED}: expected milliseconds.")
    return int(text)


async def _fields(request: web.Request) -> dict[str, str]:
    return {name: str(value) for name, value in (await request.post()).items()}


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
