"""Kite's websocket as the trader needs it: it tells that an order has changed, and the book is looked at then."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable
from contextlib import suppress

import aiohttp

from panda_streams.brokers.zerodha.profile import endpoints
from panda_streams.brokers.zerodha.session import read_session
from panda_streams.errors import PandaError
from panda_streams.identity import World
from panda_streams.settings import Settings

__all__ = ["watch_updates"]

_log = logging.getLogger(__name__)

_SILENT_S = 30.0
"""Kite sends a heartbeat every couple of seconds; a connection that brings none is dead, whatever TCP says."""
_FIRST_S, _LONGEST_S = 1.0, 60.0


async def watch_updates(settings: Settings, world: World, hint: Callable[[], None]) -> None:
    """Call `hint` for each update of an order, and after each connection, until cancelled.

    Nothing depends on it but how soon a change is seen: what it misses, the next look into the book brings.
    """
    wait = _FIRST_S
    async with aiohttp.ClientSession() as http:
        while True:
            with suppress(aiohttp.ClientError, OSError, PandaError, TimeoutError):
                if await _listen(http, settings, world, hint):
                    wait = _FIRST_S
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))
            wait = min(wait * 2, _LONGEST_S)


async def _listen(http: aiohttp.ClientSession, settings: Settings, world: World, hint: Callable[[], None]) -> bool:
    """Listen on one connection until it ends; False if there was none."""
    session = await asyncio.to_thread(read_session, settings, world)
    if session is None or session.expired():
        return False
    at = endpoints(settings)
    query = {
        "api_key": session.api_key,
        "access_token": session.access_token.get_secret_value(),
        **at.ws_query,
    }
    async with http.ws_connect(at.ws_root, params=query, headers={"X-Kite-Version": "3"}) as line:
        hint()
        while True:
            message = await line.receive(timeout=_SILENT_S)
            if message.type is aiohttp.WSMsgType.TEXT:
                if _is_order(message.data):
                    hint()
            elif message.type is not aiohttp.WSMsgType.BINARY:
                return True


def _is_order(text: str) -> bool:
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("type") == "order"
