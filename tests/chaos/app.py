"""The worker of the harness: faust_app, which kills itself at the crash point that its environment names."""

from __future__ import annotations

import os
import signal

from faust_app import app
from tests.chaos.kills import CRASH_POINT

__all__ = ["app"]


def _install(crash_point: str) -> None:
    agent, point, nth = crash_point.split(":")
    left = int(nth)

    def probe(passing: str, at: str) -> None:
        nonlocal left
        if (passing, at) == (agent, point):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    app.agent_loop.probe = probe


if crash_point := os.environ.get(CRASH_POINT):
    _install(crash_point)
