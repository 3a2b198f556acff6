"""Which Kite is talked to: the names of its endpoint profiles. What each means is in brokers/zerodha/profile.py."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["KiteProfile"]


class KiteProfile(StrEnum):
    SIMULATOR = "simulator"
    """The local `panda kitesim`: no real money, and the default."""
    SANDBOX = "sandbox"
    """Zerodha's official sandbox: no real money, LIMIT orders alone."""
    PRODUCTION = "production"
    """Real money."""
