"""A session as a login gives it."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import SecretStr

from panda_streams.brokers.zerodha.session import INDIA, Session
from panda_streams.kite import KiteProfile


def a_session(profile: KiteProfile = KiteProfile.SIMULATOR, token: str = "plantedtoken") -> Session:
    now = datetime.now(INDIA)
    return Session(
        profile=profile,
        user_id="AB1234",
        api_key="plantedkey",
        access_token=SecretStr(token),
        login_time=now,
        expires_at=now + timedelta(hours=1),
    )
