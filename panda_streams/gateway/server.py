"""The gateway's HTTP server: the API, live updates and the page, on 127.0.0.1, for reading only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.resources import files
from typing import Any

import orjson
from aiohttp import hdrs, web

from panda_streams.errors import ServerUnreachable, StampMismatch
from panda_streams.gateway import answers
from panda_streams.gateway.answers import NotKnown
from panda_streams.gateway.reader import Reader
from panda_streams.gateway.state import stamp_problem
from panda_streams.gateway.views import State
from panda_streams.identity import World

__all__ = ["Gateway", "STAMP_FIX"]

STAMP_FIX = "use this world's Redis database; `panda topics create` stamps an empty one"

_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_STATIC = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/amounts.js": ("amounts.js", "text/javascript"),
}
_KEEP_ALIVE_S = 10.0

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Gateway:
    """Serves one world's state; nothing it does can change that state.

    All open pages share one reading a second, which is made only while somebody looks.
    """

    def __init__(self, reader: Reader, world: World, *, interval_s: float = 1.0) -> None:
        self._reader = reader
        self._world = world
        self._interval_s = interval_s
        self._latest: tuple[bytes, bytes] | None = None
        self._number = 0
        self._changed = asyncio.Condition()
        self._watchers = 0
        self._watching: asyncio.Task[None] | None = None
        self._closing = False
        self.requests = 0
        """Answered since the start."""

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        routes: dict[str, Callable[[State, web.Request], dict[str, Any]]] = {
            "/api/v1/namespaces": lambda state, _: answers.namespaces(state),
            "/api/v1/portfolios/{ns}": lambda state, request: answers.portfolios(state, request.match_info["ns"]),
            "/api/v1/portfolios/{ns}/summary": lambda state, request: answers.summary(state, request.match_info["ns"]),
            "/api/v1/portfolios/{ns}/{strategy}": lambda state, request: answers.portfolio(
                state, request.match_info["ns"], request.match_info["strategy"]
            ),
            "/api/v1/orders/{ns}": lambda state, request: answers.orders(state, request.match_info["ns"]),
            "/api/v1/risk/{ns}": lambda state, request: answers.risk(state, request.match_info["ns"]),
            "/api/v1/strategies": lambda state, _: answers.strategies(state),
            "/api/v1/processes": lambda state, _: answers.processes(state),
            "/api/v1/page": lambda state, _: answers.page(state),
        }
        for path, answer in routes.items():
            app.router.add_get(path, self._answering(answer))
        app.router.add_get("/api/v1/events", self._events)
        app.router.add_get("/ready", self._ready)
        for path, (name, kind) in _STATIC.items():
            app.router.add_get(path, _file(name, kind))
        app.on_shutdown.append(self._shut_down)
        return app

    def _answering(self, answer: Callable[[State, web.Request], dict[str, Any]]) -> _Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            return _json(answer(await self._state(), request))

        return handle

    async def _state(self) -> State:
        """The state now; raises ServerUnreachable, or StampMismatch if Redis has become another world's."""
        state = await self._reader.state()
        if state.foreign_stamp:
            raise StampMismatch(state.foreign_stamp, fix=STAMP_FIX)
        return state

    async def _ready(self, request: web.Request) -> web.StreamResponse:
        problem = stamp_problem(await self._reader.stamp(), self._world.name)
        if problem:
            raise StampMismatch(problem, fix=STAMP_FIX)
        return _json({"ready": True, "world": self._world.name, "simulated": self._world.simulated})

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Answer this machine's own browser and nothing else, and every error as JSON that says what to do."""
        # A page of another origin that has its own name point to 127.0.0.1 still sends that name as the host.
        if _host(request) not in _HOSTS:
            return _error(
                403, "HOST_FORBIDDEN", "this gateway answers on 127.0.0.1 alone", "open http://127.0.0.1 and its port"
            )
        self.requests += 1
        try:
            return await handler(request)
        except NotKnown as error:
            return _error(404, error.code, error.message, error.fix)
        except ServerUnreachable as error:
            return _error(503, "REDIS_UNAVAILABLE", error.args[0], error.fix)
        except StampMismatch as error:
            return _error(503, "WORLD_MISMATCH", error.args[0], error.fix)
        except web.HTTPMethodNotAllowed:
            answer = _error(405, "METHOD_NOT_ALLOWED", "this gateway only reads", "use GET")
            answer.headers[hdrs.ALLOW] = "GET, HEAD"
            return answer
        except web.HTTPNotFound:
            return _error(404, "PATH_UNKNOWN", f"nothing is at {request.path}", "see / or /api/v1/namespaces")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Send the page's whole state at once and after each change, as server-sent events."""
        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": "text/event-stream"})
        await response.prepare(request)
        self._watchers += 1
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), name="watch")
        sent = 0
        try:
            with suppress(ConnectionResetError):  # the page was closed
                while not self._closing:
                    sent, event = await self._next(sent)
                    await response.write(event)
        finally:
            self._watchers -= 1
        return response

    async def _next(self, sent: int) -> tuple[int, bytes]:
        async with self._changed:
            try:
                await asyncio.wait_for(
                    self._changed.wait_for(lambda: self._closing or (self._latest and self._number != sent)),
                    timeout=_KEEP_ALIVE_S,
                )
            except TimeoutError:
                return sent, b": nothing has changed\n\n"
            if self._closing or self._latest is None:
                return sent, b": closing\n\n"
            name, data = self._latest
            return self._number, b"event: " + name + b"\ndata: " + data + b"\n\n"

    async def _watch(self) -> None:
        """Read once for all open pages, and wake them if anything but the time has changed."""
        before: object = None
        try:
            while self._watchers and not self._closing:
                seen, event = await self._look()
                if seen != before:
                    before = seen
                    async with self._changed:
                        self._latest = event
                        self._number += 1
                        self._changed.notify_all()
                await asyncio.sleep(self._interval_s)
        finally:
            self._latest = None
            self._watching = None

    async def _look(self) -> tuple[object, tuple[bytes, bytes]]:
        """What there is to see now, without the time of looking, and the event that tells it."""
        try:
            page = answers.page(await self._state())
        except (ServerUnreachable, StampMismatch) as error:
            event = (b"outage", orjson.dumps({"message": error.args[0], "fix": error.fix}))
            return event, event
        return {name: value for name, value in page.items() if name != "now"}, (b"state", orjson.dumps(page))

    async def _shut_down(self, app: web.Application) -> None:
        self._closing = True
        async with self._changed:
            self._changed.notify_all()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)


def _host(request: web.Request) -> str:
    host = request.headers.get(hdrs.HOST, "").lower()
    return host if host.endswith("]") else host.rsplit(":", 1)[0]


def _json(answer: dict[str, Any], *, status: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(answer), status=status, content_type="application/json", charset="utf-8", headers=_HEADERS
    )


def _error(status: int, code: str, message: str, fix: str) -> web.Response:
    return _json({"error": {"code": code, "message": message, "fix": fix}}, status=status)


def _file(name: str, kind: str) -> _Handler:
    text = (files("panda_streams.gateway") / "static" / name).read_text()

    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text, content_type=kind, charset="utf-8", headers=_HEADERS)

    return handle
