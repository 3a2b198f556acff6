"""What is read from Kite over HTTP for the feed and for history: the instruments' numbers, and candles.

Nothing here trades. Requests are spaced so that Kite's limits are kept, and repeated where that is harmless.
"""

from __future__ import annotations

import asyncio
import csv
import json
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from io import StringIO
from typing import Any, NamedTuple

from aiohttp import ClientError, ClientSession, ClientTimeout

from panda_streams.domain.instruments import Instrument
from panda_streams.errors import BadInput, PandaError, ServerUnreachable
from panda_streams.kite_access import KiteAccess

__all__ = ["Candle", "KiteApi", "LoggedOut", "numbered"]

_log = logging.getLogger(__name__)

_EVERY_S = 0.35
"""Kite takes three requests for history a second (https://kite.trade/docs/connect/v3/exceptions/)."""
_TRIES = 5
_TIMEOUT = ClientTimeout(total=60, connect=10)


class LoggedOut(PandaError):
    """Nobody is logged in, or Kite has refused the token."""

    exit_code = 1


class Candle(NamedTuple):
    """One interval of an instrument; prices as Kite writes them."""

    begins: datetime
    open: str
    high: str
    low: str
    close: str
    volume: int
    open_interest: int | None


class KiteApi:
    """Reads from one Kite."""

    def __init__(self, access: KiteAccess, http: ClientSession, pause_s: float = 1.0) -> None:
        self._access = access
        self._http = http
        self._pause_s = pause_s
        self._next = 0.0

    async def numbers(self, ids: Collection[str]) -> dict[str, int]:
        """The numbers of those of these instruments that Kite lists today."""
        # The dump has no prefix in any profile, and needs no token.
        text = await self._get(f"{self._access.api_root}/instruments", {}, must_sign=False)
        wanted, found = set(ids), dict[str, int]()
        try:
            for row in csv.DictReader(StringIO(text, newline="")):
                name = f"{row['exchange']}:{row['tradingsymbol']}"
                if name in wanted:
                    found[name] = int(row["instrument_token"])
        except (KeyError, ValueError, TypeError, csv.Error):
            raise PandaError(
                f"{self._access.api_root}/instruments is no dump of instruments", fix="see that it is a Kite"
            ) from None
        return found

    async def candles(self, token: int, begins: datetime, ends: datetime, interval: str) -> list[Candle]:
        """The candles of an instrument from `begins` to `ends`, both included, in the exchange's time.

        Raises LoggedOut; BadInput for what Kite does not take; ServerUnreachable if it does not answer.
        """
        route = f"{self._access.api_root}{self._access.route_prefix}/instruments/historical/{token}/{interval}"
        form = "%Y-%m-%d %H:%M:%S"
        asked = {"from": begins.strftime(form), "to": ends.strftime(form), "continuous": "0", "oi": "1"}
        text = await self._get(route, asked, must_sign=True)
        try:
            # Kite writes prices as JSON numbers: they are kept as they are written.
            rows = json.loads(text, parse_float=str)["data"]["candles"]
            return [_candle(*row) for row in rows]
        except (ValueError, KeyError, TypeError):
            raise PandaError(f"Kite's answer for {token} holds no candles", fix="try again later") from None

    async def _get(self, url: str, query: Mapping[str, str], *, must_sign: bool) -> str:
        refused: str | None = None
        told = ""
        for number in range(_TRIES):
            await self._await_turn(number)
            try:
                token = await self._access.token(refused)
                if must_sign and (token is None or token == refused):
                    raise LoggedOut(
                        "Kite has refused the access token" if refused else "nobody is logged in to Kite",
                        fix="log in with `panda kite login`",
                    )
                headers = self._access.headers(token)
                async with self._http.get(url, params=query, headers=headers, timeout=_TIMEOUT) as answer:
                    status, text = answer.status, await answer.text()
            except (ClientError, OSError, TimeoutError) as error:
                told = f"{type(error).__name__}"
                continue
            if status == 200:
                return text
            told = f"HTTP {status}{_words(text)}"
            if status == 403:
                refused = token
            elif status != 429 and status < 500:
                raise BadInput(f"Kite refuses what was asked: {told}", fix="ask for something else; see docs/feed.md")
        if refused is not None:
            raise LoggedOut(f"Kite has refused the access token: {told}", fix="log in with `panda kite login`")
        raise ServerUnreachable(
            f"{self._access.api_root} did not answer {_TRIES} times: {told}", fix="go on later: what is there is kept"
        )

    async def _await_turn(self, number: int) -> None:
        if number:
            pause = self._pause_s * 2 ** (number - 1)
            _log.info("asking Kite again in %.0f s", pause)
            await asyncio.sleep(pause)
        now = time.monotonic()
        turn = max(now, self._next)
        self._next = turn + _EVERY_S
        if turn > now:
            await asyncio.sleep(turn - now)


async def numbered(api: KiteApi, wanted: Iterable[Instrument]) -> dict[int, Instrument]:
    """The instruments by their numbers at Kite: those of the list, and for those without one what Kite says today.

    Raises BadInput that names those which Kite does not list.
    """
    wanted = list(wanted)
    unknown = {one.id for one in wanted if one.token is None}
    told = await api.numbers(unknown) if unknown else {}
    missing = sorted(unknown - told.keys())
    if missing:
        raise BadInput(
            f"Kite does not list {', '.join(missing[:10])}" + (f" and {len(missing) - 10} more" * (len(missing) > 10)),
            fix="correct the name, or leave it out with --instruments or in the strategy that needs it",
        )
    return {told[one.id] if one.token is None else one.token: one for one in wanted}


def _candle(
    begins: str, open: Any, high: Any, low: Any, close: Any, volume: int, interest: int | None = None
) -> Candle:
    return Candle(datetime.fromisoformat(begins), str(open), str(high), str(low), str(close), volume, interest)


def _words(text: str) -> str:
    """What Kite says of an error, if it does."""
    try:
        told = json.loads(text)
        return f", {told['error_type']}: {told['message']}"
    except (ValueError, KeyError, TypeError):
        return ""
