"""The routes of the market: the dump of instruments, quotes, and historical candles."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from aiohttp import web

from panda_streams.kitesim.engine import Engine
from panda_streams.kitesim.errors import ErrorType, Refused
from panda_streams.kitesim.front import Front, Handler, answer
from panda_streams.kitesim.history import INTERVALS, History
from panda_streams.kitesim.shapes import Shapes
from panda_streams.kitesim.tokens import Tokens, dump

__all__ = ["MarketCalls"]

_QUOTES, _PRICES = 500, 1000
"""Instruments of one call."""
_INDIA_MS = 19_800_000


class MarketCalls:
    """The market as one engine sees it."""

    def __init__(self, front: Front, engine: Engine, tokens: Tokens, shapes: Shapes, history: History) -> None:
        self._front = front
        self._engine = engine
        self._instruments = engine.broker.instruments
        self._tokens = tokens
        self._shapes = shapes
        self._history = history

    def routes(self) -> list[tuple[str, str, Handler]]:
        return [
            ("GET", "/quote", self._quote),
            ("GET", "/quote/ohlc", self._ohlc),
            ("GET", "/quote/ltp", self._ltp),
            ("GET", "/instruments", self._dump),
            ("GET", "/instruments/historical/{token}/{interval}", self._candles),
            ("GET", "/instruments/{exchange}", self._dump),
        ]

    async def _dump(self, request: web.Request) -> web.StreamResponse:
        exchange = request.match_info.get("exchange")
        listed = [one for one in self._instruments if exchange is None or one.exchange == exchange]
        return web.Response(text=dump(listed, self._tokens), content_type="text/csv")

    async def _quote(self, request: web.Request) -> web.StreamResponse:
        now = self._engine.broker.time or 0
        return self._quotes(request, _QUOTES, lambda one, state: self._shapes.quote(one, state, now))

    async def _ohlc(self, request: web.Request) -> web.StreamResponse:
        return self._quotes(request, _PRICES, self._shapes.ohlc)

    async def _ltp(self, request: web.Request) -> web.StreamResponse:
        return self._quotes(request, _PRICES, self._shapes.ltp)

    def _quotes(self, request: web.Request, most: int, shape: Callable[[Any, Any], Any]) -> web.StreamResponse:
        """What was never traded is left out, as at Kite."""
        self._front.enter(request, "quote")
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

    async def _candles(self, request: web.Request) -> web.StreamResponse:
        self._front.enter(request, "historical")
        name = self._tokens.find(_whole(request.match_info["token"]))
        if name is None:
            raise Refused(ErrorType.INPUT, "Invalid `instrument_token`.")
        interval = request.match_info["interval"]
        if interval not in INTERVALS:
            raise Refused(ErrorType.INPUT, "Invalid `interval`.")
        start, until = _moment(request, "from"), _moment(request, "to")
        days = INTERVALS[interval].days
        if until - start > days * 86_400_000:
            raise Refused(ErrorType.INPUT, f"interval exceeds max limit: {days} days")
        oi, daily = request.query.get("oi") == "1", interval == "day"
        decimals = self._instruments[name].decimals
        candles = self._history.candles(name, interval, start, until)
        return answer({"candles": [self._shapes.candle(one, decimals, daily=daily, oi=oi) for one in candles]})


def _whole(text: str) -> int:
    return int(text) if text.isdigit() else -1


def _moment(request: web.Request, name: str) -> int:
    """A time of day in India, as `2021-06-08 09:15:00` or `2021-06-08`, as event time."""
    text = request.query.get(name, "").replace("+", " ")
    try:
        wall = datetime.fromisoformat(text)
        return (wall.replace(tzinfo=None) - datetime(1970, 1, 1)) // _MILLISECOND - _INDIA_MS  # noqa: DTZ001
    except ValueError:
        raise Refused(ErrorType.INPUT, f"Invalid `{name}`: expected a time as 2021-06-08 09:15:00.") from None


_MILLISECOND = (datetime(1970, 1, 2) - datetime(1970, 1, 1)) / 86_400_000  # noqa: DTZ001
