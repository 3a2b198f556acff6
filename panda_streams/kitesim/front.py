"""What every route of the REST API shares: who calls, how often, and how answers and errors are written."""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from panda_streams.kitesim.engine import Engine
from panda_streams.kitesim.errors import ErrorType, Refused
from panda_streams.kitesim.faults import Fault, Faults
from panda_streams.kitesim.rules import too_many
from panda_streams.kitesim.sessions import Session

__all__ = ["Front", "Handler", "Throttle", "answer", "errors", "fields_of", "json_of", "refusal"]

_log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Throttle:
    """Requests a wall second of each key, by what they ask for. Off for tests, and where nobody waits for the wall."""

    _LIMITS: Mapping[str, int] = {"quote": 1, "historical": 3, "else": 10}

    def __init__(self, *, on: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._on = on
        self._clock = clock
        self._recent: dict[tuple[str, str], deque[float]] = defaultdict(deque)

    def take(self, api_key: str, kind: str) -> None:
        """Count a request; raises Refused with status 429 for one too many within a second."""
        if not self._on:
            return
        now, recent = self._clock(), self._recent[api_key, kind]
        while recent and recent[0] <= now - 1.0:
            recent.popleft()
        if len(recent) >= self._LIMITS[kind]:
            raise too_many()
        recent.append(now)


class Front:
    """Knows who calls."""

    def __init__(self, engine: Engine, throttle: Throttle, faults: Faults) -> None:
        self._engine = engine
        self._throttle = throttle
        self._faults = faults

    def authenticate(self, request: web.Request) -> Session:
        """The session of a request; raises Refused."""
        kind, _, credentials = request.headers.get("Authorization", "").partition(" ")
        api_key, mark, token = credentials.partition(":")
        if kind != "token" or not mark:
            raise Refused(ErrorType.INPUT, "Invalid `api_key` or `access_token`.")
        if self._faults.fire(Fault.TOKEN_EXPIRY) is not None:
            self._engine.sessions.end_all()
            self._engine.commit()
        return self._engine.sessions.check(api_key, token, self._engine.broker.time)

    def enter(self, request: web.Request, kind: str = "else") -> None:
        """Let a request in that changes no order; raises Refused for one without a session, or one too many."""
        self._throttle.take(self.authenticate(request).api_key, kind)


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


async def fields_of(request: web.Request) -> dict[str, str]:
    """The fields of a form."""
    return {name: str(value) for name, value in (await request.post()).items()}


async def json_of(request: web.Request) -> Any:
    """The JSON that was sent, an empty object for nothing; raises Refused."""
    if not (text := await request.text()):
        return {}
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise Refused(ErrorType.INPUT, "Expected JSON.") from None
