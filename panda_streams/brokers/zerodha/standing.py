"""How it stands with the login at Kite: who, since when, until when, and whether Kite takes it. Changes nothing."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum

from panda_streams.brokers.zerodha.client import KiteClient
from panda_streams.brokers.zerodha.session import Session, read_session
from panda_streams.domain.brokerage import LoggedOut, Unreachable
from panda_streams.errors import BadInput
from panda_streams.identity import World
from panda_streams.settings import Settings

__all__ = ["LoginState", "Standing", "standing"]


class LoginState(StrEnum):
    LIVE = "live"
    """Kite takes the token."""
    NONE = "none"
    """Nobody has logged in with this profile and api key."""
    EXPIRED = "expired"
    REFUSED = "refused"
    """Kite does not take the token: another login or a logout has ended it."""
    UNREADABLE = "unreadable"
    """A session is stored, but not readable with this api secret."""
    UNREACHABLE = "unreachable"
    """A token is there, and Kite does not answer."""


@dataclass(frozen=True, slots=True)
class Standing:
    """State of a login; `session` is None where none could be read."""

    state: LoginState
    session: Session | None
    detail: str = ""
    """What went wrong, without any secret."""


def standing(settings: Settings, world: World) -> Standing:
    """Read the stored session and ask Kite whose it is."""
    try:
        session = read_session(settings, world)
    except BadInput as error:
        return Standing(LoginState.UNREADABLE, None, str(error.args[0]))
    if session is None:
        return Standing(LoginState.NONE, None)
    if session.expired():
        return Standing(LoginState.EXPIRED, session)
    with closing(KiteClient(settings, _Given(session))) as client:
        try:
            user = client.user()
        except LoggedOut as error:
            return Standing(LoginState.REFUSED, session, str(error))
        except Unreachable as error:
            return Standing(LoginState.UNREACHABLE, session, str(error))
    if user != session.user_id:
        return Standing(LoginState.REFUSED, session, f"Kite takes it for a session of {user}")
    return Standing(LoginState.LIVE, session)


@dataclass(frozen=True, slots=True)
class _Given:
    """The session as it was read, whatever becomes of it."""

    session: Session

    def current(self) -> Session:
        return self.session

    def died(self, session: Session) -> None:
        """Nothing: it is only looked at."""
