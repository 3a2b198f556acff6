"""The session of a Kite account: who is logged in, with which access token, until when; kept encrypted in one file.

One login serves every process of a world: a new one makes Kite forget the token before it.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from panda_streams.errors import AlreadyRunning, BadInput
from panda_streams.identity import World
from panda_streams.kite import KiteProfile
from panda_streams.settings import Settings

__all__ = [
    "INDIA",
    "Session",
    "forget_session",
    "next_expiry",
    "read_session",
    "session_file",
    "session_lock",
    "write_session",
]

INDIA = timezone(timedelta(hours=5, minutes=30))
_EXPIRY_HOUR = 6
"""Kite's tokens end at 6 in the morning of the day after the login ("regulatory requirement", kite.trade/docs)."""
_LOCKED_WITHIN_S = 60.0
"""A login makes two calls of some seconds each."""
_PAUSE_S = 0.05
_FIX = "log in again with `panda kite login`, or set KITE_API_SECRET to what it was at the login"


@dataclass(frozen=True, slots=True)
class Session:
    """A login of one user with one app at one Kite."""

    profile: KiteProfile
    user_id: str
    api_key: str = field(repr=False)
    access_token: SecretStr
    login_time: datetime
    """When the token was got, by this machine's clock."""
    expires_at: datetime

    def expired(self, now: datetime | None = None) -> bool:
        return (now or datetime.now(INDIA)) >= self.expires_at


def next_expiry(login: datetime) -> datetime:
    """When a token that was got at `login` ends: the next 6 in the morning in India."""
    six = login.astimezone(INDIA).replace(hour=_EXPIRY_HOUR, minute=0, second=0, microsecond=0)
    return six if login < six else six + timedelta(days=1)


def session_file(settings: Settings, world: World) -> Path:
    return settings.home_dir.world(world) / "kite" / "session"


def read_session(settings: Settings, world: World) -> Session | None:
    """The session that was stored for the profile and api key that are set, expired or not; None if there is none.

    Raises BadInput for a file that cannot be read, as one that was written with another api secret.
    """
    path = session_file(settings, world)
    try:
        outer = json.loads(path.read_bytes())
        if outer["profile"] != settings.kite_profile:
            return None
        box, sealed = _box(settings, base64.b64decode(outer["salt"])), outer["session"].encode()
        inner: dict[str, Any] = json.loads(box.decrypt(sealed))
        session = Session(
            profile=KiteProfile(inner["profile"]),
            user_id=inner["user_id"],
            api_key=inner["api_key"],
            access_token=SecretStr(inner["access_token"]),
            login_time=datetime.fromisoformat(inner["login_time"]),
            expires_at=datetime.fromisoformat(inner["expires_at"]),
        )
    except FileNotFoundError:
        return None
    except InvalidToken:
        raise BadInput(f"the session in {path} was written with another KITE_API_SECRET", fix=_FIX) from None
    except OSError as error:
        raise BadInput(f"the session in {path}: {error.strerror}", fix="let this user read and write it") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        # Not told what stands there: it may be a part of the token.
        raise BadInput(f"{path} does not hold a session", fix=_FIX) from None
    ours = session.profile is settings.kite_profile and session.api_key == settings.kite_api_key
    return session if ours else None


def write_session(settings: Settings, world: World, session: Session) -> None:
    """Store a session, in place of any before: encrypted, for this user's eyes alone, wholly or not at all.

    Raises BadInput if its place cannot be written to.
    """
    path = session_file(settings, world)
    inner = {
        "profile": session.profile.value,
        "user_id": session.user_id,
        "api_key": session.api_key,
        "access_token": session.access_token.get_secret_value(),
        "login_time": session.login_time.isoformat(),
        "expires_at": session.expires_at.isoformat(),
    }
    salt = os.urandom(16)
    sealed = _box(settings, salt).encrypt(json.dumps(inner).encode()).decode()
    outer = {"profile": session.profile.value, "salt": base64.b64encode(salt).decode(), "session": sealed}
    part = path.with_name(f"session.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(json.dumps(outer))
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        fix = "let this user write there, with space left on the disk, and log in again"
        raise BadInput(f"the session cannot be stored in {path}: {error.strerror}", fix=fix) from None


def forget_session(settings: Settings, world: World) -> bool:
    """Remove the stored session, whatever it is; False if there was none."""
    path = session_file(settings, world)
    there = path.exists()
    path.unlink(missing_ok=True)
    return there


@contextmanager
def session_lock(settings: Settings, world: World) -> Iterator[None]:
    """Hold the right to log in and out, which all processes of a world share; waits for who has it.

    Raises AlreadyRunning if it is not free within a minute.
    """
    path = session_file(settings, world).with_name("session.lock")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    deadline = time.monotonic() + _LOCKED_WITHIN_S
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise AlreadyRunning(
                        f"another process has been logging in to Kite for {_LOCKED_WITHIN_S:.0f} s ({path} is locked)",
                        fix="see what holds that file, and end it",
                    ) from None
                time.sleep(_PAUSE_S)
        yield


def _box(settings: Settings, salt: bytes) -> Fernet:
    secret = settings.kite_api_secret.get_secret_value().encode()
    key = HKDF(algorithm=SHA256(), length=32, salt=salt, info=b"panda_streams kite session").derive(secret)
    return Fernet(base64.urlsafe_b64encode(key))
