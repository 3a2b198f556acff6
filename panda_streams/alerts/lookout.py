"""Looks at a worker's facts every second, and sends the alerts that they call for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from mode import Service

from panda_streams.alerts.alerter import Alerter
from panda_streams.alerts.watch import Facts, compare

__all__ = ["Lookout"]

_log = logging.getLogger(__name__)

_INTERVAL_S = 1.0
_CLOSE_S = 2.0
"""A worker stops all its agents after this, and its supervisor kills it after 15 s."""


class Lookout(Service):
    """Owns the worker's alerter. `facts` must not block; if it raises, that is logged and the worker goes on."""

    mundane_level = "debug"

    def __init__(self, alerter: Alerter, facts: Callable[[], Facts]) -> None:
        super().__init__()
        self._alerter = alerter
        self._facts = facts
        self._before: Facts | None = None

    @Service.task
    async def _watch(self) -> None:
        while not self.should_stop and not self._alerter.idle:
            self.look()
            await asyncio.sleep(_INTERVAL_S)

    def look(self) -> None:
        """Compare the facts with those of the last look, and send what is new."""
        try:
            now = self._facts()
        except Exception:  # noqa: BLE001  trading must not end because there is nothing to tell
            _log.exception("no alerts from this look: what the worker knows cannot be read")
            return
        for alert in compare(self._before, now, time.time_ns() // 1_000_000):
            self._alerter.send(alert)
        self._before = now

    async def on_stop(self) -> None:
        await asyncio.to_thread(self._alerter.close, _CLOSE_S)
