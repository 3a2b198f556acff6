"""A target that keeps what it is given, and the makings of an alerter."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from panda_streams.alerts.alerter import Alerter
from panda_streams.alerts.config import DEFAULTS, AlertConfig
from panda_streams.alerts.kinds import Alert, AlertKind, Loudness, Origin
from panda_streams.alerts.rate import Rate
from panda_streams.alerts.targets import Message
from panda_streams.identity import World

DIED = Alert(AlertKind.WORKER_DIED, "feed died", "feed ended with exit code 1.")


class FakeTarget:
    """Takes every message, unless it is dead: then it takes none until it is revived."""

    name = "target 1 (fake)"

    def __init__(self, *, dead: bool = False, fails: str = "", raises: Exception | None = None) -> None:
        self.messages: list[Message] = []
        self.fails = fails
        self.raises = raises
        self.reached = threading.Event()
        self._alive = threading.Event()
        if not dead:
            self.revive()

    def revive(self) -> None:
        self._alive.set()

    def deliver(self, message: Message) -> str:
        self.reached.set()
        assert self._alive.wait(30)
        if self.raises is not None:
            raise self.raises
        self.messages.append(message)
        return self.fails


def an_alerter(
    *targets: FakeTarget,
    kinds: Mapping[AlertKind, Loudness] = {},
    rate: Rate = Rate(count=1000),  # noqa: B008  frozen
    world: str = "sim",
) -> Alerter:
    config = AlertConfig((), {**DEFAULTS, **kinds}, rate)
    return Alerter(targets, config, Origin(World(world), "namespace paper, instance 0"))
