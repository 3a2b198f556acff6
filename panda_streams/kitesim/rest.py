"""The REST API: login, user and portfolio, and all other routes joined to one list."""

from __future__ import annotations

import time

from aiohttp import web

from panda_streams.domain.orders import Product
from panda_streams.kitesim.engine import Engine
from panda_streams.kitesim.errors import ErrorType, Refused
from panda_streams.kitesim.faults import Faults
from panda_streams.kitesim.front import Front, Handler, Throttle, answer, fields_of
from panda_streams.kitesim.gtt_calls import GttCalls
from panda_streams.kitesim.history import History
from panda_streams.kitesim.margin_calls import MarginCalls
from panda_streams.kitesim.market_calls import MarketCalls
from panda_streams.kitesim.order_calls import OrderCalls
from panda_streams.kitesim.shapes import Shapes, clock_text
from panda_streams.kitesim.tokens import Tokens

__all__ = ["NOT_SERVED", "Rest"]

NOT_SERVED = (
    ("*", "/session/refresh_token"),
    ("*", "/user/profile/full"),
    ("PUT", "/portfolio/positions"),
    ("*", "/portfolio/holdings/{rest:auctions|authorise|compact|summary}"),
    ("*", "/instruments/trigger_range/{rest:.*}"),
    ("*", "/alerts{rest:.*}"),
    ("*", "/mf/{rest:.*}"),
)
"""Kite's routes that are left out; docs/kitesim.md says what they are."""


class Rest:
    """Serves the API of one engine."""

    def __init__(
        self,
        engine: Engine,
        tokens: Tokens,
        shapes: Shapes,
        throttle: Throttle,
        faults: Faults,
        history: History,
        *,
        wall: bool,
        login_page: str,
    ) -> None:
        self._engine = engine
        self._broker = engine.broker
        self._shapes = shapes
        self._login_page = login_page
        self._front = front = Front(engine, throttle, faults)
        orders = OrderCalls(front, engine, shapes, faults, wall=wall)
        self._parts = (
            orders,
            MarketCalls(front, engine, tokens, shapes, history),
            GttCalls(front, engine, shapes, orders),
            MarginCalls(front, engine),
        )

    def routes(self) -> list[web.RouteDef]:
        """Every route, also under the prefix that the official sandbox has."""
        served: list[tuple[str, str, Handler]] = [
            ("GET", "/connect/login", self._login),
            ("POST", "/session/token", self._open_session),
            ("DELETE", "/session/token", self._close_session),
            ("GET", "/user/profile", self._profile),
            ("GET", "/user/margins", self._margins),
            ("GET", "/user/margins/{segment}", self._margins),
            ("GET", "/portfolio/positions", self._positions),
            ("GET", "/portfolio/holdings", self._holdings),
        ]
        # A route that is not served may look like one that is: it goes first.
        served = [*((method, path, self._not_served) for method, path in NOT_SERVED), *served]
        for part in self._parts:
            served += part.routes()
        return [web.route(method, at + path, handler) for method, path, handler in served for at in ("", "/oms")]

    # Login

    async def _login(self, request: web.Request) -> web.StreamResponse:
        """What a human does at the broker's page, done without one."""
        api_key = request.query.get("api_key")
        if not api_key:
            raise Refused(ErrorType.INPUT, "Missing or empty field `api_key`")
        token = self._engine.sessions.log_in(api_key)
        where = request.query.get("redirect") or self._login_page
        mark = "&" if "?" in where else "?"
        raise web.HTTPFound(f"{where}{mark}action=login&type=login&status=success&request_token={token}")

    async def _open_session(self, request: web.Request) -> web.StreamResponse:
        fields = await fields_of(request)
        session = self._engine.sessions.exchange(
            fields.get("api_key", ""), fields.get("request_token", ""), fields.get("checksum", ""), self._broker.time
        )
        self._engine.commit()
        at = session.login_at if session.login_at is not None else time.time_ns() // 1_000_000
        return answer(self._shapes.session(session.api_key, session.token, at))

    async def _close_session(self, request: web.Request) -> web.StreamResponse:
        self._engine.sessions.end(request.query.get("api_key", ""), request.query.get("access_token", ""))
        self._engine.commit()
        return answer(True)

    # User

    async def _profile(self, request: web.Request) -> web.StreamResponse:
        self._front.enter(request)
        return answer(self._shapes.profile())

    async def _margins(self, request: web.Request) -> web.StreamResponse:
        self._front.enter(request)
        segments = {"equity": self._shapes.funds(self._broker.funds()), "commodity": self._shapes.no_funds()}
        segment = request.match_info.get("segment")
        if segment is None:
            return answer(segments)
        if segment not in segments:
            raise Refused(ErrorType.INPUT, "Invalid `segment`.")
        return answer(segments[segment])

    # Portfolio

    async def _positions(self, request: web.Request) -> web.StreamResponse:
        self._front.enter(request)
        return answer(self._shapes.positions(self._broker.account.positions.values()))

    async def _holdings(self, request: web.Request) -> web.StreamResponse:
        self._front.enter(request)
        account = self._broker.account
        on = (clock_text(self._broker.time) or "1970-01-01")[:10] + " 00:00:00"
        shown = [
            self._shapes.holding(one, max(-account.held(one.instrument, Product.CNC), 0), on)
            for one in account.holdings.values()
        ]
        return answer(shown)

    async def _not_served(self, request: web.Request) -> web.StreamResponse:
        raise Refused(ErrorType.GENERAL, f"{request.method} {request.path} is not served by kitesim.", 501)
