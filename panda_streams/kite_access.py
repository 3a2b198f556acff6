"""The way into a Kite: where it is, and the access token that lets one in."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from aiohttp import ClientResponseError, ClientSession, ClientTimeout

from panda_streams.brokers.zerodha.profile import check_profile, endpoints
from panda_streams.brokers.zerodha.session import read_session
from panda_streams.errors import PandaError, SettingsError
from panda_streams.identity import World
from panda_streams.kite import KiteProfile
from panda_streams.settings import Settings

__all__ = ["KiteAccess", "Token", "kite_access"]

_TIMEOUT = ClientTimeout(total=10)

Token = Callable[[str | None], Awaitable[str | None]]
"""Gives the newest access token, given the one that Kite has refused, if any; None if nobody is logged in.

Raises OSError or aiohttp's ClientError if it has to ask somebody who does not answer; PandaError if what it finds
cannot be used.
"""


@dataclass(frozen=True, slots=True)
class KiteAccess:
    """One Kite, and how one is let in."""

    profile: KiteProfile
    api_root: str
    route_prefix: str
    """Before every route but that of the instruments."""
    ws_root: str
    ws_query: Mapping[str, str]
    """What the websocket asks for beside key and token."""
    api_key: str
    token: Token = field(repr=False)

    @property
    def real(self) -> bool:
        """True if it tells of the real market."""
        return self.profile is KiteProfile.PRODUCTION

    @property
    def source(self) -> str:
        """What its ticks say that they come from; all but the real ones say that they are not."""
        return "kite" if self.real else f"kite:{self.profile.value}"

    def socket_url(self, token: str) -> str:
        """The address of the ticker. It holds the token: it must never be logged."""
        return f"{self.ws_root}?{urlencode({'api_key': self.api_key, 'access_token': token, **self.ws_query})}"

    def headers(self, token: str | None) -> dict[str, str]:
        version = {"X-Kite-Version": "3"}
        return version if token is None else {**version, "Authorization": f"token {self.api_key}:{token}"}


def kite_access(settings: Settings, world: World, root: str | None = None) -> KiteAccess:
    """The Kite of the settings, as a world reaches it; `root` is the simulator of another deployment, host:port.

    Raises SettingsError if the world must not use it.
    """
    profile, where = settings.kite_profile, endpoints(settings)
    check_profile(profile, world)
    if profile is KiteProfile.SIMULATOR:
        api_root, ws_root = _simulator(root) if root is not None else (where.api_root, where.ws_root)
        # A key of the feed's own: a login with the arm's key would end the arm's session.
        key = f"{settings.kite_api_key}-feed-{world.slug}"
        login = _SimulatorLogin(api_root, key, settings.kite_api_secret.get_secret_value())
        return KiteAccess(profile, api_root, "", ws_root, {}, key, login)
    if root is not None:
        raise SettingsError(
            f"--root is for the profile simulator, and PANDA_KITE_PROFILE is {profile.value}",
            fix="set PANDA_KITE_PROFILE=simulator, or leave --root out: a token is shown to nobody but Kite",
        )

    async def stored(refused: str | None) -> str | None:
        session = await asyncio.to_thread(read_session, settings, world)
        return None if session is None or session.expired() else session.access_token.get_secret_value()

    query, key = where.ws_query, settings.kite_api_key
    return KiteAccess(profile, where.api_root, where.route_prefix, where.ws_root, query, key, stored)


def _simulator(root: str) -> tuple[str, str]:
    """The roots of REST and websocket at host:port, which may be written as an address."""
    parts = urlsplit(root if "://" in root else f"http://{root}")
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in ("http", "ws") or not parts.hostname or port is None or parts.path.strip("/"):
        raise SettingsError(f"--root {root}: this is no address", fix="write host:port, as 127.0.0.1:27604")
    return f"http://{parts.hostname}:{port}", f"ws://{parts.hostname}:{port}"


class _SimulatorLogin:
    """Logs in at a kitesim by itself, and again once its token is refused."""

    def __init__(self, root: str, api_key: str, secret: str) -> None:
        self._root = root
        self._key = api_key
        self._secret = secret
        self._token: str | None = None
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, refused: str | None) -> str | None:
        async with self._one_at_a_time:
            if self._token is None or self._token == refused:
                self._token = await self._log_in()
            return self._token

    async def _log_in(self) -> str:
        try:
            async with ClientSession(timeout=_TIMEOUT) as http:
                async with http.post(f"{self._root}/sim/login", json={"api_key": self._key}) as answer:
                    answer.raise_for_status()
                    request_token = str((await answer.json())["request_token"])
                checksum = hashlib.sha256(f"{self._key}{request_token}{self._secret}".encode()).hexdigest()
                form = {"api_key": self._key, "request_token": request_token, "checksum": checksum}
                async with http.post(f"{self._root}/session/token", data=form) as answer:
                    answer.raise_for_status()
                    return str((await answer.json())["data"]["access_token"])
        except (ClientResponseError, ValueError, KeyError, TypeError) as error:
            raise PandaError(
                f"what answers at {self._root} lets nobody in as a kitesim does ({type(error).__name__})",
                fix="start `panda kitesim` there, or correct --root",
            ) from None
