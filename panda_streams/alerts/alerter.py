"""Sends alerts without ever making its caller wait: each target has a bounded queue and a thread of its own."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from panda_streams.alerts.config import AlertConfig, load_alerts
from panda_streams.alerts.kinds import Alert, AlertKind, Loudness, Origin
from panda_streams.alerts.rate import Limiter
from panda_streams.alerts.targets import DELIVERY_THREAD, Message, open_targets
from panda_streams.settings import Settings

__all__ = ["Alerter", "Counts", "Deliverer", "open_alerter"]

_log = logging.getLogger(__name__)

_QUEUE = 100
"""Alerts that wait for one target; they are rate limited behind the queue, so more wait only while it is dead."""
_TITLE, _BODY = 200, 3000
"""Characters at the most: Telegram takes 4096 together."""


class Deliverer(Protocol):
    """Hands a message over, however long that takes."""

    @property
    def name(self) -> str: ...

    def deliver(self, message: Message) -> str:
        """Returns why it failed, empty if it did not."""
        ...


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of messages, over all targets."""

    delivered: int = 0
    failed: int = 0
    dropped: int = 0
    """Pushed out of a full queue by newer ones."""


class Alerter:
    """Delivers alerts to all targets in the background; without targets it does nothing."""

    def __init__(self, targets: Sequence[Deliverer], config: AlertConfig, origin: Origin) -> None:
        self._kinds: Mapping[AlertKind, Loudness] = config.kinds
        self._lines = [_Line(target, config, origin, number) for number, target in enumerate(targets, 1)]
        for line in self._lines:
            line.start()

    @property
    def idle(self) -> bool:
        """True if it has no target."""
        return not self._lines

    @property
    def counts(self) -> Counts:
        told = [(line.delivered, line.failed, line.dropped) for line in self._lines]
        return Counts(*map(sum, zip(*told, strict=True)))

    def send(self, alert: Alert) -> None:
        """Hand an alert over for delivery. Never blocks and never raises; it may be called from any thread."""
        if self._kinds[alert.kind] is not Loudness.OFF:
            for line in self._lines:
                line.put(alert)

    def close(self, timeout_s: float = 5.0) -> None:
        """Deliver what waits, also what was held back, and end; what is not delivered within the time is lost."""
        deadline = time.monotonic() + timeout_s
        for line in self._lines:
            line.end()
        for line in self._lines:
            line.join(max(0.0, deadline - time.monotonic()))


def open_alerter(settings: Settings, origin: Origin) -> Alerter:
    """The alerter that the settings ask for; raises PandaError for a file or an address that cannot be used."""
    config = load_alerts(settings)
    return Alerter(open_targets(config.targets), config, origin)


class _Line(threading.Thread):
    """The way to one target. A daemon: a service that never answers must not keep the process from ending."""

    def __init__(self, target: Deliverer, config: AlertConfig, origin: Origin, number: int) -> None:
        super().__init__(name=f"{DELIVERY_THREAD}{number}", daemon=True)
        self._target = target
        self._kinds = config.kinds
        self._origin = origin
        self._limiter = Limiter(config.rate)
        self._waiting: deque[Alert] = deque()
        self._changed = threading.Condition()
        self._ending = False
        self.delivered = self.failed = self.dropped = 0

    def put(self, alert: Alert) -> None:
        with self._changed:
            if len(self._waiting) == _QUEUE:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(alert)
            self._changed.notify()

    def end(self) -> None:
        with self._changed:
            self._ending = True
            self._changed.notify()

    def run(self) -> None:
        while (alerts := self._next()) is not None:
            for alert in alerts:
                self._deliver(alert)

    def _next(self) -> list[Alert] | None:
        """Wait for what may go now; None once all is gone and the alerter ends."""
        with self._changed:
            while True:
                now = time.monotonic()
                if due := self._limiter.due(math.inf if self._ending and not self._waiting else now):
                    return due
                while self._waiting:
                    alert = self._waiting.popleft()
                    if self._limiter.admit(alert, now):
                        return [alert]
                if self._ending and self._limiter.next_due is None:
                    return None
                if not self._ending:
                    due_at = self._limiter.next_due
                    self._changed.wait(None if due_at is None else max(0.0, due_at - now))

    def _deliver(self, alert: Alert) -> None:
        origin, silent = self._origin, self._kinds[alert.kind] is Loudness.SILENT
        alert = replace(alert, title=_cut(alert.title, _TITLE), body=_cut(alert.body, _BODY))
        message = Message(alert.kind, origin.title(alert), origin.body(alert), silent)
        try:
            why = self._target.deliver(message)
        except Exception as error:  # noqa: BLE001  the line must live on; its words may hold an address
            why = f"it raised {type(error).__name__}"
        if why:
            self.failed += 1
            _log.warning(
                "an alert (%s) did not reach %s: %s; so far %d failed and %d were dropped",
                alert.kind,
                self._target.name,
                why,
                self.failed,
                self.dropped,
            )
        else:
            self.delivered += 1


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 4]} ..."
