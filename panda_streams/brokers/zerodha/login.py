"""Logs in to Kite and out: a person's login, and the one that the simulator gives to whoever asks."""

from __future__ import annotations

import os
import time
from contextlib import closing
from datetime import datetime
from typing import Any

import requests
from kiteconnect.exceptions import KiteException
from pydantic import SecretStr

from panda_streams.brokers.zerodha.connection import open_kite
from panda_streams.brokers.zerodha.profile import check_profile, endpoints
from panda_streams.brokers.zerodha.scrubbing import scrubbed
from panda_streams.brokers.zerodha.session import (
    INDIA,
    Session,
    forget_session,
    next_expiry,
    read_session,
    session_file,
    session_lock,
    write_session,
)
from panda_streams.domain.brokerage import LoggedOut, Unreachable
from panda_streams.errors import BadInput, PandaError, ServerUnreachable
from panda_streams.identity import World
from panda_streams.kite import KiteProfile
from panda_streams.settings import Settings

__all__ = ["Sessions", "ensure_session", "exchange", "log_out"]

_TRIED_AGAIN_AFTER_S = 10.0
"""How long a token that Kite refused is not used: it is tried again, since a gateway has been known to err."""
_LOG_IN = "log in with `panda kite login`"


def exchange(settings: Settings, world: World, request_token: str) -> Session:
    """Exchange the request token of a login for a session, and store it; every token before it is dead then.

    Raises SettingsError if the world may not use the profile, ServerUnreachable if Kite does not answer, and PandaError
    if it refuses.
    """
    check_profile(settings.kite_profile, world)
    with session_lock(settings, world):
        return _exchange(settings, world, request_token)


def ensure_session(settings: Settings, world: World, dead: Session | None = None) -> Session:
    """A living session at the simulator: the stored one, unless it is `dead` or has expired; else a new login.

    Of all who find the same token dead, the first one logs in, and the others take over its session. Raises
    ServerUnreachable if no simulator answers.
    """
    if settings.kite_profile is not KiteProfile.SIMULATOR:
        raise ValueError(f"only the simulator logs in by itself, not {settings.kite_profile}")
    with session_lock(settings, world):
        try:
            stored = read_session(settings, world)
        except BadInput:
            # Nothing is lost with it: the simulator gives another.
            stored = None
        alive = stored is not None and not stored.expired()
        if alive and stored and (dead is None or stored.access_token != dead.access_token):
            return stored
        return _exchange(settings, world, _ask_simulator(settings))


def log_out(settings: Settings, world: World) -> str:
    """End the session at Kite and remove the stored one; returns why Kite could not be told, else an empty text."""
    with session_lock(settings, world):
        try:
            session = read_session(settings, world)
        except BadInput as error:
            forget_session(settings, world)
            return str(error.args[0])
        forget_session(settings, world)
        if session is None or session.expired():
            return ""
        kite = open_kite(endpoints(settings), settings.kite_api_key, settings.kite_timeout_s)
        token = session.access_token.get_secret_value()
        kite.set_access_token(token)
        with closing(kite.reqsession):
            try:
                kite.invalidate_access_token()
            except Exception as error:  # noqa: BLE001  whatever it is, the stored session is gone
                return _told(settings, error, token)
    return ""


class Sessions:
    """The session that a process uses: the stored one, read again when the file changes.

    So a new login is taken up without a restart. At the simulator it logs in by itself.
    """

    def __init__(self, settings: Settings, world: World) -> None:
        self._settings = settings
        self._world = world
        self._path = session_file(settings, world)
        self._mark: tuple[int, int, int] | None = None
        self._stored: Session | None = None
        self._dead: SecretStr | None = None
        self._dead_at = 0.0

    def current(self) -> Session:
        """The session to use now. Raises LoggedOut if there is none that works, Unreachable if the simulator is to
        give one and does not answer."""
        simulator = self._settings.kite_profile is KiteProfile.SIMULATOR
        try:
            stored = self._read()
            if stored is None:
                if not simulator:
                    raise LoggedOut(f"nobody is logged in at Kite; {_LOG_IN}")
            elif stored.expired():
                if not simulator:
                    raise LoggedOut(f"the session at Kite ended at {stored.expires_at:%Y-%m-%d %H:%M}; {_LOG_IN}")
            elif stored.access_token != self._dead:
                return stored
            elif not simulator:
                if time.monotonic() < self._dead_at + _TRIED_AGAIN_AFTER_S:
                    raise LoggedOut(f"Kite no longer takes the access token; {_LOG_IN}")
                return stored
            self._stored = ensure_session(self._settings, self._world, stored)
            return self._stored
        except ServerUnreachable as error:
            raise Unreachable(str(error)) from None
        except PandaError as error:
            raise LoggedOut(str(error)) from None
        except OSError as error:
            raise LoggedOut(f"the session in {self._path} cannot be used: {error.strerror}") from None

    def died(self, session: Session) -> None:
        """Be told that Kite refused the session's token."""
        self._dead, self._dead_at = session.access_token, time.monotonic()

    def _read(self) -> Session | None:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            self._mark = self._stored = None
            return None
        mark = (found.st_ino, found.st_mtime_ns, found.st_size)
        if mark != self._mark:
            self._stored = read_session(self._settings, self._world)
            self._mark = mark
        return self._stored


def _exchange(settings: Settings, world: World, request_token: str) -> Session:
    at = endpoints(settings)
    kite = open_kite(at, settings.kite_api_key, settings.kite_timeout_s)
    # Before the call: a token that was got over the hour of expiry is rather held for dead than for alive.
    now = datetime.now(INDIA)
    with closing(kite.reqsession):
        try:
            answer: dict[str, Any] = kite.generate_session(request_token, settings.kite_api_secret.get_secret_value())
        except requests.RequestException as error:
            raise ServerUnreachable(
                f"no answer from Kite at {at.api_root}: {_told(settings, error, request_token)}",
                fix=_unreachable(at.profile),
            ) from None
        except KiteException as error:
            raise PandaError(
                f"Kite refuses the login: {_told(settings, error, request_token)}",
                fix="log in again: a request token works once, for some minutes; and see that KITE_API_KEY and "
                "KITE_API_SECRET are those of one app",
            ) from None
        except Exception as error:  # noqa: BLE001  the client raises anything for an answer in another form
            raise _unreadable(at.api_root, f"{type(error).__name__}") from None
    token, user = answer.get("access_token"), answer.get("user_id")
    if not (isinstance(token, str) and token and isinstance(user, str)):
        raise _unreadable(at.api_root, "it has no access token or no user")
    if settings.kite_user_id and user != settings.kite_user_id:
        raise PandaError(
            f"{user} has logged in, but KITE_USER_ID is {settings.kite_user_id}",
            fix="log in as that user, or set KITE_USER_ID to the account that is to be traded",
        )
    session = Session(
        profile=at.profile,
        user_id=user,
        api_key=settings.kite_api_key,
        access_token=SecretStr(token),
        login_time=now,
        expires_at=next_expiry(now),
    )
    write_session(settings, world, session)
    return session


def _ask_simulator(settings: Settings) -> str:
    """A request token of the simulator's: what a person's login gives elsewhere."""
    root = endpoints(settings).api_root
    fix = _unreachable(KiteProfile.SIMULATOR)
    with requests.Session() as http:
        http.trust_env = False
        try:
            answer = http.post(
                f"{root}/sim/login", json={"api_key": settings.kite_api_key}, timeout=settings.kite_timeout_s
            )
            answer.raise_for_status()
            token = answer.json()["request_token"]
        except requests.RequestException as error:
            raise ServerUnreachable(f"no Kite simulator at {root}: {_told(settings, error)}", fix=fix) from None
        except (ValueError, KeyError, TypeError):
            raise ServerUnreachable(f"what answers at {root} is no Kite simulator", fix=fix) from None
    return str(token)


def _told(settings: Settings, error: Exception, *secrets: str) -> str:
    return scrubbed(str(error), [settings.kite_api_key, settings.kite_api_secret.get_secret_value(), *secrets])


def _unreachable(profile: KiteProfile) -> str:
    if profile is KiteProfile.SIMULATOR:
        return "start it with `panda kitesim`, with the same PANDA_PORT_BASE"
    return "see that the network is up and Kite is not in maintenance, and try again"


def _unreadable(root: str, why: str) -> PandaError:
    return PandaError(f"what {root} answers to a login cannot be read: {why}", fix="try again; see status.zerodha.com")
