"""Tells people what they must know at once, through the services that Apprise knows; never holds up who tells."""

from __future__ import annotations

from panda_streams.alerts.alerter import Alerter, open_alerter
from panda_streams.alerts.kinds import Alert, AlertKind, Loudness, Origin

__all__ = ["Alert", "AlertKind", "Alerter", "Loudness", "Origin", "open_alerter"]
