"""The worker of the harness: faust_app, which kills itself at the crash point that its environment names.

At `courier:place` it suspends itself: an order was allowed to leave, and not a byte of it has left.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from faust_app import app
from panda_streams.brokers.zerodha.client import KiteClient
from panda_streams.domain.brokerage import Answer
from tests.chaos.kills import COURIER, CRASH_POINT

__all__ = ["app"]


def _install(crash_point: str) -> None:
    agent, point, nth = crash_point.split(":")
    left = int(nth)
    if (agent, point) == COURIER:
        _install_in_courier(left)
        return

    def probe(passing: str, at: str) -> None:
        nonlocal left
        if (passing, at) == (agent, point):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    app.agent_loop.probe = probe


def _install_in_courier(nth: int) -> None:
    place, left = KiteClient._call, nth

    def stopping(client: KiteClient, *args: Any, **kwargs: Any) -> Answer:
        nonlocal left
        left -= kwargs["placing"]
        if left == 0 and kwargs["placing"]:
            os.kill(os.getpid(), signal.SIGSTOP)
        return place(client, *args, **kwargs)

    KiteClient._call = stopping  # type: ignore[method-assign]


if crash_point := os.environ.get(CRASH_POINT):
    _install(crash_point)
