"""Logins: request tokens, access tokens, and when they end."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator

import msgspec

from panda_streams.kitesim.errors import ErrorType, Refused

__all__ = ["Session", "Sessions", "ends_at"]

_DAY_MS = 86_400_000
_INDIA_MS = 19_800_000
_SIX_MS = 6 * 3_600_000


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A login that has become an access token."""

    token: str
    api_key: str
    login_at: int | None
    """Event time; None until kitesim has seen any."""


def ends_at(login_at: int) -> int:
    """When the token of a login dies: at the next six o'clock in India, by event time."""
    since = (login_at + _INDIA_MS - _SIX_MS) % _DAY_MS
    return login_at - since + _DAY_MS


class Sessions:
    """One access token a key: a new login kills the one before. `changed` says that they are to be stored."""

    def __init__(self, secret: str, sessions: Iterable[Session] = ()) -> None:
        self._secret = secret
        self._by_key = {session.api_key: session for session in sessions}
        self._requests: dict[str, str] = {}
        """Request tokens that wait for their exchange, and the key of each."""
        self.changed = False

    def __iter__(self) -> Iterator[Session]:
        return iter(self._by_key.values())

    def log_in(self, api_key: str) -> str:
        """What a human does in the browser; the request token, which is good for one exchange."""
        token = secrets.token_urlsafe(24)
        self._requests[token] = api_key
        return token

    def exchange(self, api_key: str, request_token: str, checksum: str, at: int | None) -> Session:
        """Turn a request token into a session; raises Refused. `at` is event time."""
        expected = hashlib.sha256(f"{api_key}{request_token}{self._secret}".encode()).hexdigest()
        if self._requests.get(request_token) != api_key:
            raise Refused(ErrorType.TOKEN, "Token is invalid or has expired.", 403)
        if not secrets.compare_digest(expected.encode(), checksum.encode()):
            raise Refused(ErrorType.TOKEN, "Invalid `checksum`.", 403)
        del self._requests[request_token]
        session = Session(token=secrets.token_urlsafe(24), api_key=api_key, login_at=at)
        self._by_key[api_key] = session
        self.changed = True
        return session

    def check(self, api_key: str, token: str, at: int | None) -> Session:
        """The session of an access token that is alive; raises Refused."""
        session = self._by_key.get(api_key)
        if session is None or not secrets.compare_digest(session.token.encode(), token.encode()):
            raise _invalid()
        if at is not None:
            if session.login_at is None:
                session = self._by_key[api_key] = msgspec.structs.replace(session, login_at=at)
                self.changed = True
            assert session.login_at is not None
            if at >= ends_at(session.login_at):
                raise _invalid()
        return session

    def end(self, api_key: str, token: str) -> None:
        """Log out; an unknown token is none of an error."""
        session = self._by_key.get(api_key)
        if session is not None and session.token == token:
            del self._by_key[api_key]
            self.changed = True

    def end_all(self) -> None:
        self._by_key.clear()
        self.changed = True


def _invalid() -> Refused:
    return Refused(ErrorType.TOKEN, "Incorrect `api_key` or `access_token`.", 403)
