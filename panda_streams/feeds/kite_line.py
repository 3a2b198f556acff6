"""A line to Kite's ticker: one websocket connection that is kept up, and what has been missed while it was not."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from aiohttp import ClientError, ClientSession, ClientWebSocketResponse, WSMsgType, WSServerHandshakeError

from panda_streams.errors import PandaError
from panda_streams.kite_access import KiteAccess
from panda_streams.kite_frames import Mode

__all__ = ["Gap", "Line", "LineState", "Patience", "Watch"]

_log = logging.getLogger(__name__)

_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0
_JITTER = 0.12
_STEADY_S = 30.0
"""A connection that has lasted as long begins to wait from the shortest wait again."""
_HANDSHAKE_S = 15.0
_FAREWELL_S = 1.0
_LOOK_S = 0.5
"""How often the watch is asked, and a new token is looked for."""
_LONGEST_PATIENCE = 10
"""Times the patience with a line without ticks, at the most."""


class LineState(StrEnum):
    CONNECTING = "connecting"
    OPEN = "open"
    LOGGED_OUT = "logged out"
    """Nobody is logged in, or Kite has refused the token."""
    AWAY = "away"
    """Kite does not answer, or the connection has been lost."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a line may say nothing before it is taken for dead, and be dead before people hear of it."""

    silent_s: float = 15.0
    """Without anything, not even the heartbeat that Kite sends every second or two."""
    tickless_s: float = 60.0
    """Without a tick, while a market of its instruments trades."""
    lost_s: float = 10.0
    """Down while a market of its instruments trades, until an alert is sent."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which ticks were missed. Times are the wall's, milliseconds since the epoch."""

    line: int
    begins: int
    """When the line was last heard."""
    ends: int
    """When it had subscribed again."""
    reason: str
    open: bool
    """True if a market of its instruments traded at its end."""

    @property
    def seconds(self) -> float:
        return (self.ends - self.begins) / 1000


class Watch:
    """Judges whether a connection is alive. Times are seconds of a clock that only goes forward.

    A line whose instruments hardly trade is given more patience each time a new connection brought nothing beyond
    Kite's first ticks, which come with every subscription.
    """

    def __init__(self, patience: Patience, is_open: Callable[[], bool]) -> None:
        self._patience = patience
        self._is_open = is_open
        self._factor = 1
        self._heard = self._ticked = self._connected = 0.0
        self._was_open = False

    def connected(self, now: float) -> None:
        self._connected = self._heard = self._ticked = now

    def heard(self, now: float, *, tick: bool) -> None:
        """Take note of a frame."""
        self._heard = now
        if tick:
            self._ticked = now
            if now - self._connected > self._patience.silent_s:
                self._factor = 1

    def complaint(self, now: float) -> str | None:
        """Why the connection is dead; None if it is not."""
        is_open = self._is_open()
        if is_open and not self._was_open:
            self._ticked = max(self._ticked, now)
        self._was_open = is_open
        if now - self._heard > self._patience.silent_s:
            return f"nothing was heard for {self._patience.silent_s:g} s"
        if is_open and now - self._ticked > self._patience.tickless_s * self._factor:
            self._factor = min(2 * self._factor, _LONGEST_PATIENCE)
            return f"no tick came for {now - self._ticked:.0f} s while the market trades"
        return None


class _Dropped(Exception):
    """The connection has ended, for this reason."""


class Line:
    """Keeps one connection up, with the same subscription, until it is cancelled.

    `hear` is given every binary frame with ticks. `tell` is given each gap once it has ended.
    """

    def __init__(
        self,
        number: int,
        access: KiteAccess,
        tokens: Sequence[int],
        mode: Mode,
        watch: Watch,
        is_open: Callable[[], bool],
        hear: Callable[[bytes], None],
        tell: Callable[[Gap], None],
    ) -> None:
        self._number = number
        self._access = access
        self._tokens = list(tokens)
        self._mode = mode
        self._watch = watch
        self._is_open = is_open
        self._hear = hear
        self._tell = tell
        self._refused: str | None = None
        self._heard_ms: int | None = None
        """When it was last heard, by the wall; None before its first connection."""
        self.state = LineState.CONNECTING
        self.since = time.monotonic()
        """When it was last open, or began to try, by the monotonic clock."""
        self.reason = ""
        """Why it is not open."""
        self.connections = 0
        self.complaint = ""
        """The last error that Kite has told in words."""

    @property
    def name(self) -> str:
        return f"line {self._number}"

    @property
    def down_s(self) -> float:
        """Seconds since it was last open; 0 if it is."""
        return 0.0 if self.state is LineState.OPEN else time.monotonic() - self.since

    @property
    def market_trades(self) -> bool:
        """Whether a market of its instruments trades."""
        return self._is_open()

    async def run(self, http: ClientSession) -> None:
        """Connect, subscribe and listen, and do so again whenever the connection ends."""
        tries = 0
        while True:
            begun = time.monotonic()
            opened = self.connections
            try:
                await self._connect(http)
            except _Dropped as dropped:
                self._stands(LineState.AWAY, str(dropped))
            except WSServerHandshakeError as error:
                # The error's own text has the address, and with it the token.
                if error.status == 403:
                    self._stands(LineState.LOGGED_OUT, "Kite has refused the access token")
                else:
                    self._stands(LineState.AWAY, f"Kite answered with HTTP {error.status}")
            except PandaError as error:
                self._stands(LineState.LOGGED_OUT, str(error).replace("\n  fix:", ";"))
            except TimeoutError:
                self._stands(LineState.AWAY, "Kite did not answer in time")
            except (ClientError, OSError) as error:
                self._stands(LineState.AWAY, f"Kite cannot be reached ({type(error).__name__})")
            if self.connections > opened and time.monotonic() - begun > _STEADY_S:
                tries = 0
            wait = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * math.e**tries)
            wait *= 1 + random.uniform(-_JITTER, _JITTER)
            tries = min(tries + 1, 10)
            if self.state is LineState.LOGGED_OUT:
                await self._until_logged_in(wait)
            else:
                await asyncio.sleep(wait)

    async def _connect(self, http: ClientSession) -> None:
        if self.state is LineState.OPEN:
            self.state = LineState.CONNECTING
        token = await self._access.token(self._refused)
        if token is None:
            raise PandaError("nobody is logged in to Kite", fix="log in with `panda kite login`")
        try:
            async with asyncio.timeout(_HANDSHAKE_S):
                socket = await http.ws_connect(
                    self._access.socket_url(token), headers={"X-Kite-Version": "3"}, max_msg_size=0, compress=0
                )
        except WSServerHandshakeError as error:
            if error.status == 403:
                self._refused = token
            raise
        try:
            await self._subscribe(socket)
            await self._listen(socket)
        finally:
            self.since = time.monotonic()
            with suppress(TimeoutError):  # a dead connection does not answer a farewell
                async with asyncio.timeout(_FAREWELL_S):
                    await socket.close()

    async def _subscribe(self, socket: ClientWebSocketResponse) -> None:
        await socket.send_str(json.dumps({"a": "subscribe", "v": self._tokens}))
        await socket.send_str(json.dumps({"a": "mode", "v": [self._mode.value, self._tokens]}))
        self.connections += 1
        self._watch.connected(time.monotonic())
        reason, self.reason, self.state = self.reason, "", LineState.OPEN
        now = _wall_ms()
        if self._heard_ms is None:
            _log.info("%s is open: %d instruments in mode %s", self.name, len(self._tokens), self._mode.value)
        else:
            self._tell(Gap(self._number, self._heard_ms, now, reason, self._is_open()))
        self._heard_ms = now

    async def _listen(self, socket: ClientWebSocketResponse) -> None:
        while True:
            try:
                message = await socket.receive(timeout=_LOOK_S)
            except TimeoutError:
                message = None
            now = time.monotonic()
            if message is not None:
                match message.type:
                    case WSMsgType.BINARY:
                        ticks = len(message.data) > 2
                        self._heard_ms = _wall_ms()
                        self._watch.heard(now, tick=ticks)
                        if ticks:
                            self._hear(message.data)
                    case WSMsgType.TEXT:
                        self._watch.heard(now, tick=False)
                        self._read(message.data)
                    case WSMsgType.PING | WSMsgType.PONG:
                        self._watch.heard(now, tick=False)
                    case _:
                        raise _Dropped(f"Kite closed the connection (code {socket.close_code})")
            if complaint := self._watch.complaint(now):
                raise _Dropped(complaint)

    def _read(self, text: str) -> None:
        """Take note of an error that Kite tells; order updates and messages are for others."""
        try:
            told = json.loads(text)
        except ValueError:
            return
        if isinstance(told, dict) and told.get("type") == "error":
            self.complaint = str(told.get("data"))[:200]
            _log.warning("%s: Kite says: %s", self.name, self.complaint)

    async def _until_logged_in(self, seconds: float) -> None:
        """Wait, but no longer than until there is a token that Kite has not refused."""
        deadline = time.monotonic() + max(seconds, _FIRST_WAIT_S)
        while time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_S)
            try:
                token = await self._access.token(self._refused)
            except (PandaError, ClientError, OSError):
                continue
            if token is not None and token != self._refused:
                return

    def _stands(self, state: LineState, reason: str) -> None:
        if (state, reason) != (self.state, self.reason):
            _log.warning("%s is %s: %s", self.name, state.value, reason)
        self.state, self.reason = state, reason


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
