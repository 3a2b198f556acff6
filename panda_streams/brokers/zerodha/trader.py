"""The trader of a Zerodha account: how the arm waits for Kite, and how its orders are known there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from panda_streams.brokers.indian import IndianAccount
from panda_streams.brokers.port import Pace
from panda_streams.brokers.zerodha.client import KiteClient
from panda_streams.brokers.zerodha.preflight import check_production
from panda_streams.brokers.zerodha.profile import check_app, check_profile
from panda_streams.brokers.zerodha.updates import watch_updates
from panda_streams.domain.calendar import Calendar
from panda_streams.identity import World
from panda_streams.kite import KiteProfile
from panda_streams.settings import Settings

__all__ = ["ZerodhaTrader"]

_PREFIX = "PS"
_TAG_LENGTH = 20
"""Kite takes no longer label, and promises to keep letters and digits alone."""
_LOCAL_POLL_S = 0.5
_POLL_S = 2.0
"""Of the ten calls a second that Kite allows beside orders; the websocket tells of changes earlier."""
_LOOK_S = 0.4
"""A look takes two of those calls, three where stops may rest overnight, and a comparison eight at the most."""
_IDLE_S = 15.0
_RECONCILE_S = 300.0
_MARGIN_S = 1.0


@dataclass(frozen=True, slots=True)
class ZerodhaTrader(IndianAccount):
    """Trades through Kite Connect, at the profile that is set."""

    settings: Settings

    @classmethod
    def from_settings(cls, settings: Settings, calendar: Calendar) -> ZerodhaTrader:
        return cls(calendar, settings)

    @property
    def pace(self) -> Pace:
        local = self.settings.kite_profile is KiteProfile.SIMULATOR
        return Pace(
            poll_s=_LOCAL_POLL_S if local else _POLL_S,
            look_s=0.0 if local else _LOOK_S,
            idle_s=_IDLE_S,
            absent_after_s=self.settings.kite_absent_after_s,
            settle_in_s=self.settings.kite_timeout_s + _MARGIN_S,
            reconcile_s=_RECONCILE_S,
        )

    @property
    def endpoint(self) -> str:
        return self.settings.kite_profile.value

    def check(self, world: World) -> None:
        check_profile(self.settings.kite_profile, world)
        check_app(self.settings)
        if self.settings.kite_profile is KiteProfile.PRODUCTION:
            check_production(self.settings, world)

    def latency(self, order_id: str) -> int:
        """None is added: the real one passes by itself."""
        return 0

    def connect(self, world: World) -> KiteClient:
        return KiteClient.from_settings(self.settings, world)

    async def watch(self, world: World, hint: Callable[[], None]) -> None:
        await watch_updates(self.settings, world, hint)

    def tag(self, order_id: str) -> str:
        return _PREFIX + order_id[: _TAG_LENGTH - len(_PREFIX)]

    def own(self, tag: str | None) -> bool:
        return tag is not None and len(tag) == _TAG_LENGTH and tag.startswith(_PREFIX) and tag.isalnum()
