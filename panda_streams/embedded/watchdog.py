"""Watches the workers that a supervisor runs by their readiness pages, and says which of them must be killed.

The other half of the watch is streams/health.py: a worker that knows that it cannot get well ends itself.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from panda_streams.identity import Home, Identity, Ports, Role, World

__all__ = ["Limits", "Observation", "Watchdog", "workers_of"]

_NAME = re.compile(r"(brain)-(\d)|(arm)-([a-z0-9_]+)-(\d)")
_CERTAIN = 2
"""Looks in a row that must find a stall: one can fall into the end of it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a worker's page may be silent, in seconds."""

    silent_s: float = 30.0
    """Since it last answered. Its look at Kafka takes two seconds at the most, whatever Kafka does."""
    start_s: float = 120.0
    """Since its start, if it has not answered yet: Python, the tables' files and the first look at Kafka take time."""
    every_s: float = 2.0
    """From one look to the next."""
    answer_s: float = 5.0
    """For one answer."""


def workers_of(home: Home, world: World, ports: Ports) -> dict[int, str]:
    """The readiness page of each worker of a world, by the pid that holds its identity's lock."""
    pages = {}
    for path in sorted((home.world(world) / "run").glob("*.lock")):
        match = _NAME.fullmatch(path.stem)
        holder = _holder(path)
        if match is None or holder is None:
            continue
        brain, arm = match[1], match[3]
        namespace, instance = (match[4], int(match[5])) if arm else (None, int(match[2]))
        identity = Identity(Role(brain or arm), namespace, instance, world, home, ports, "")
        pages[holder] = f"{identity.canonical_url}/ready/"
    return pages


def _holder(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None  # it is being taken at this moment


class Observation:
    """What one life of a worker has shown so far. Times are of a monotonic clock, in seconds."""

    def __init__(self, limits: Limits, started: float) -> None:
        self._limits = limits
        self._heard = started
        self._answered = False
        self._failed = 0
        self._stalled = 0

    def answered(self, checks: dict[str, Any], now: float) -> str:
        """Take an answer of its page; returns why it must be killed, empty if it need not."""
        self._heard, self._answered, self._failed = now, True, 0
        stall = checks.get("stalled", "")
        self._stalled = self._stalled + 1 if stall else 0
        return str(stall) if self._stalled >= _CERTAIN else ""

    def silent(self, now: float) -> str:
        """Take note of a page that did not answer; as `answered`."""
        self._failed += 1
        limits = self._limits
        limit = limits.silent_s if self._answered else limits.start_s
        # More than one failed look: if it was the supervisor that was suspended, the next one finds the worker well.
        if self._failed > _CERTAIN and now - self._heard >= limit:
            what = "has not answered" if self._answered else "has never answered"
            return f"its page {what} for {now - self._heard:.0f} s"
        return ""


class Watchdog:
    """Looks at all workers of one world that belong to given process groups."""

    def __init__(self, home: Home, world: World, ports: Ports, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._place = (home, world, ports)
        self._observations: dict[int, Observation] = {}

    async def look(self, leaders: set[int]) -> dict[int, str]:
        """Ask each worker once; returns why a process must be killed, by its pid.

        `leaders` are the pids of the supervised processes, each of which leads a process group of its own. A worker of
        any other group was started by hand and is left alone.
        """
        workers = {}
        for pid, page in workers_of(*self._place).items():
            leader = _group(pid)
            if leader in leaders:
                workers[leader] = page
        self._observations = {
            leader: self._observations.get(leader) or Observation(self.limits, time.monotonic()) for leader in workers
        }
        timeout = aiohttp.ClientTimeout(total=self.limits.answer_s)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            reasons = await asyncio.gather(*(self._ask(http, leader, page) for leader, page in workers.items()))
        return {leader: reason for leader, reason in zip(workers, reasons, strict=True) if reason}

    async def _ask(self, http: aiohttp.ClientSession, leader: int, page: str) -> str:
        observation = self._observations[leader]
        try:
            async with http.get(page) as answer:
                found = orjson.loads(await answer.read())
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return observation.silent(time.monotonic())
        checks = found.get("checks") if isinstance(found, dict) else None
        return observation.answered(checks or {}, time.monotonic())


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None
