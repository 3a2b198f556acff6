"""Measures a contender from within: processor time of the whole process, from ready to done.

A contender is a process that a benchmark starts (contest.py). It says that it is ready when it may read its input, and
that it is done when its last output is acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["RESULT", "Meter", "follow"]

RESULT = "BENCH_RESULT"
"""Environment variable with the file that takes the contender's numbers."""
_POLL_S = 0.02


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Meter:
    """Writes `{"ready": true}` to the file of BENCH_RESULT, and then the numbers in its place."""

    def __init__(self) -> None:
        self._file = Path(os.environ[RESULT])

    def ready(self) -> None:
        self._write({"ready": True})
        self._cpu, self._wall = _cpu_s(), time.monotonic()

    def done(self, **counts: int) -> None:
        self._write({"cpu_s": _cpu_s() - self._cpu, "wall_s": time.monotonic() - self._wall, **counts})

    def _write(self, content: dict[str, Any]) -> None:
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text(json.dumps(content))
        temporary.replace(self._file)


def follow(app: Any, finished: Callable[[], bool]) -> None:
    """Measure a worker of the shared loop, until `finished` says so and its rows are written."""
    loop, meter = app.agent_loop, Meter()
    begin = loop.begin
    begun = False

    async def until_finished() -> None:
        while not finished() or any(runner.task.unwritten for runner in loop._runners.values()):  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
        meter.done()

    def metered() -> None:
        nonlocal begun
        if not begun:
            begun = True
            meter.ready()
            app.add_future(until_finished())
        begin()

    loop.begin = metered
