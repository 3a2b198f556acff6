"""The websocket: ticks of what each connection has subscribed to, and the changes of the account's orders."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from panda_streams.domain.ticks import Depth
from panda_streams.kite_frames import Mode, frame
from panda_streams.kitesim.broker import Outbox
from panda_streams.kitesim.engine import Engine
from panda_streams.kitesim.faults import Fault, Faults
from panda_streams.kitesim.frames import HEARTBEAT, packet
from panda_streams.kitesim.orders import BookOrder, Stage
from panda_streams.kitesim.shapes import Shapes
from panda_streams.kitesim.tokens import Tokens

__all__ = ["TOKENS", "Ticker"]

TOKENS = 3000
"""Instruments of one connection."""
HEARTBEAT_S = 1.0
_FRAMES = 256
"""Frames that wait for a slow client; then the oldest are dropped, as in a feed of snapshots they may be."""
_HELD_S = 1.0
"""How long an update that is to be reordered waits for one to go before it."""


class _Connection:
    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self.modes: dict[str, Mode] = {}
        self.frames: deque[bytes] = deque(maxlen=_FRAMES)
        self.texts: deque[str] = deque()
        self.woken = asyncio.Event()
        self.silent_until = 0.0

    def send(self, data: bytes) -> None:
        self.frames.append(data)
        self.woken.set()

    def say(self, kind: str, data: Any) -> None:
        self.texts.append(msgspec.json.encode({"type": kind, "data": data}).decode())
        self.woken.set()


class Ticker:
    """Serves the websocket of one engine."""

    def __init__(self, engine: Engine, tokens: Tokens, shapes: Shapes, faults: Faults) -> None:
        self._engine = engine
        self._tokens = tokens
        self._shapes = shapes
        self._faults = faults
        self._connections: set[_Connection] = set()
        self._held: list[dict[str, Any]] = []
        engine.listeners.append(self._hear)

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/", self._serve), web.get("/ws", self._serve)]

    @property
    def connections(self) -> int:
        return len(self._connections)

    def shape(self, order: BookOrder) -> dict[str, Any]:
        """What is told of an order."""
        return self._shapes.update(order)

    async def close(self) -> None:
        """Close every connection."""
        for connection in tuple(self._connections):
            await connection.socket.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        """Raises Refused, status 403, before the upgrade if the token is not good."""
        broker = self._engine.broker
        self._engine.sessions.check(
            request.query.get("api_key", ""), request.query.get("access_token", ""), broker.time
        )
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        connection = _Connection(socket)
        self._connections.add(connection)
        sending = asyncio.create_task(self._send(connection))
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._obey(connection, message.data)
        finally:
            self._connections.discard(connection)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        return socket

    async def _send(self, connection: _Connection) -> None:
        """Send what waits; a heartbeat when nothing does."""
        socket = connection.socket
        while not socket.closed:
            try:
                await asyncio.wait_for(connection.woken.wait(), HEARTBEAT_S)
            except TimeoutError:
                connection.frames.append(HEARTBEAT)
            connection.woken.clear()
            if (fired := self._faults.fire(Fault.SILENT_WS)) is not None:
                connection.silent_until = time.monotonic() + fired.seconds
            if time.monotonic() < connection.silent_until:
                connection.frames.clear()
                connection.texts.clear()
                continue
            try:
                while connection.texts:
                    await socket.send_str(connection.texts.popleft())
                while connection.frames:
                    await socket.send_bytes(connection.frames.popleft())
            except ConnectionError:
                return

    def _obey(self, connection: _Connection, text: str) -> None:
        """Do what a client asks for; what cannot be understood is told, and the connection stays."""
        try:
            message = msgspec.json.decode(text)
            action, value = message["a"], message["v"]
            match action:
                case "subscribe":
                    self._subscribe(connection, value)
                case "unsubscribe":
                    for name in self._names(value):
                        connection.modes.pop(name, None)
                case "mode":
                    mode = Mode(value[0])
                    known = [name for name in self._names(value[1]) if name in connection.modes]
                    connection.modes |= dict.fromkeys(known, mode)
                    self._show(connection, known)
                case _:
                    connection.say("error", f"Unknown action: {action}")
        except (msgspec.DecodeError, KeyError, IndexError, TypeError, ValueError):
            connection.say("error", "Invalid message.")

    def _subscribe(self, connection: _Connection, tokens: list[Any]) -> None:
        names = self._names(tokens)
        room = TOKENS - len(connection.modes.keys() - set(names))
        if len(names) > room:
            connection.say("error", f"Subscription limit of {TOKENS} instruments a connection is exceeded.")
        taken = names[:room]
        for name in taken:
            connection.modes.setdefault(name, Mode.QUOTE)
        self._show(connection, taken)

    def _names(self, tokens: Iterable[Any]) -> list[str]:
        found = (self._tokens.find(int(token)) for token in tokens)
        return list(dict.fromkeys(name for name in found if name is not None))

    def _show(self, connection: _Connection, names: Iterable[str]) -> None:
        packets = []
        for name in names:
            data = self._packet(name, connection.modes[name])
            if data is not None:
                packets.append(data)
        if packets:
            connection.send(frame(packets))

    def _packet(self, name: str, mode: Mode) -> bytes | None:
        state = self._engine.state(name)
        if state is None:
            return None
        instrument = self._engine.broker.instruments[name]
        depth = Depth((), ())
        if mode is not Mode.LTP and instrument.tradable:
            depth = self._shapes.depth(instrument, state, self._engine.broker.time or 0)
        return packet(mode, self._tokens[name], instrument, state, depth)

    def _hear(self, outbox: Outbox, changed: tuple[str, ...]) -> None:
        """Tell of what has become durable."""
        if not self._connections:
            return
        made: dict[tuple[str, Mode], bytes] = {}
        for connection in self._connections:
            packets = []
            for name in changed:
                mode = connection.modes.get(name)
                if mode is None:
                    continue
                data = made.get((name, mode))
                if data is None:
                    data = made[name, mode] = self._packet(name, mode) or b""
                packets.append(data)
            if packets:
                connection.send(frame(packets))
        for change in outbox.changes:
            if change.row and _told(change.order):
                self._tell(self.shape(change.order))

    def _tell(self, update: dict[str, Any]) -> None:
        """Tell every connection of an order, with the faults that are armed."""
        if self._faults.fire(Fault.MISSING_UPDATE) is not None:
            return
        if self._faults.fire(Fault.REORDERED_UPDATE) is not None:
            self._held.append(update)
            asyncio.get_running_loop().call_later(_HELD_S, self._release)
            return
        twice = self._faults.fire(Fault.DUPLICATE_UPDATE) is not None
        for connection in self._connections:
            for _ in range(2 if twice else 1):
                connection.say("order", update)
        self._release()

    def _release(self) -> None:
        held, self._held = self._held, []
        for update in held:
            for connection in self._connections:
                connection.say("order", update)


def _told(order: BookOrder) -> bool:
    """Whether a row of an order's history is told: not those before the exchange has it or refuses it."""
    return order.exchange_at is not None or order.stage is Stage.DONE
