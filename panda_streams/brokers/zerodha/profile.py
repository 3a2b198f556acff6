"""Where each Kite is: the addresses of the local simulator, of Zerodha's sandbox and of production."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from panda_streams.errors import SettingsError
from panda_streams.identity import World
from panda_streams.kite import KiteProfile
from panda_streams.settings import Settings

__all__ = ["Endpoints", "check_app", "check_profile", "endpoints"]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The addresses of one Kite. The roots have no path that counts: the client puts each route behind the host."""

    profile: KiteProfile
    api_root: str
    route_prefix: str
    """Stands before every route but those of the two instrument dumps."""
    ws_root: str
    ws_query: Mapping[str, str] = field(hash=False)
    """What the websocket's address needs beside api_key and access_token."""
    login_root: str

    def login_url(self, api_key: str, state: str) -> str:
        """Where a person logs in: Kite then sends the browser to the app's registered address, with a request token.

        `state` comes back with it.
        """
        query = {"api_key": api_key, "v": 3, "redirect_params": urlencode({"state": state})}
        return f"{self.login_root}?{urlencode(query)}"


def endpoints(settings: Settings) -> Endpoints:
    """The addresses of the profile that is set; whether a world may use it is for `check_profile` to say."""
    match settings.kite_profile:
        case KiteProfile.SIMULATOR:
            host = f"127.0.0.1:{settings.ports.kitesim}"
            return Endpoints(
                profile=KiteProfile.SIMULATOR,
                api_root=f"http://{host}",
                route_prefix="",
                ws_root=f"ws://{host}",
                ws_query={},
                login_root=f"http://{host}/connect/login",
            )
        case KiteProfile.SANDBOX:
            # kite.trade/docs/connect/v3/sandbox, November 2026.
            return Endpoints(
                profile=KiteProfile.SANDBOX,
                api_root="https://sandbox.kite.trade",
                route_prefix="/oms",
                ws_root="wss://ws-sandbox.kite.trade",
                ws_query={"user_id": settings.kite_user_id} if settings.kite_user_id else {},
                login_root="https://sandbox.kite.trade/connect/login",
            )
        case KiteProfile.PRODUCTION:
            return Endpoints(
                profile=KiteProfile.PRODUCTION,
                api_root="https://api.kite.trade",
                route_prefix="",
                ws_root="wss://ws.kite.trade",
                ws_query={},
                login_root="https://kite.zerodha.com/connect/login",
            )


def check_profile(profile: KiteProfile, world: World) -> None:
    """Raise SettingsError if a world may not use a profile: real money moves in the world `live` alone."""
    if profile is KiteProfile.PRODUCTION and world.simulated:
        raise SettingsError(
            f"PANDA_KITE_PROFILE=production moves real money, but this world is {world.name}",
            fix="set PANDA_KITE_PROFILE=simulator here; real money is traded in PANDA_WORLD=live alone",
        )


def check_app(settings: Settings) -> None:
    """Raise SettingsError if the key or the secret of the app is the simulator's, and another Kite is to be used."""
    fields = Settings.model_fields
    both = {"KITE_API_KEY": "kite_api_key", "KITE_API_SECRET": "kite_api_secret"}
    unset = [alias for alias, name in both.items() if getattr(settings, name) == fields[name].default]
    if not unset or settings.kite_profile is KiteProfile.SIMULATOR:
        return
    sandbox = settings.kite_profile is KiteProfile.SANDBOX
    raise SettingsError(
        f"PANDA_KITE_PROFILE={settings.kite_profile}, but {' and '.join(unset)} is not set",
        fix="set KITE_API_KEY=sandboxdemo and KITE_API_SECRET=sandboxdemo-secret"
        if sandbox
        else "set KITE_API_KEY and KITE_API_SECRET to those of your app at developers.kite.trade",
    )
