"""The feed of a recording or of the simulator: its records at a given pace, from where each shard stands.

Resumption comes from Kafka alone: the last record of each partition says what it has, and everything else is a
function of the source.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Protocol

from panda_streams.domain.shards import ShardMap
from panda_streams.events import Beat
from panda_streams.feeds.batching import FRAME_MS, Batcher, Frame, Step
from panda_streams.feeds.publisher import FeedState, Publisher
from panda_streams.feeds.standings import Last, check_start, standing_of
from panda_streams.instrument_files import load_instruments
from panda_streams.servers import Servers
from panda_streams.settings import Settings

__all__ = ["Feed", "Pace", "Source"]

_log = logging.getLogger(__name__)

_CHUNK = 1024
"""Records held before they are handed to the producer: some 0.7 MB."""
_BEHIND_S = 1.0
_SHORTEST_SLEEP_S = 0.002
_YIELD_EVERY = 500


class Source(Protocol):
    """Where frames come from: a recording or the simulator."""

    @property
    def source(self) -> str: ...
    @property
    def run(self) -> str: ...

    @property
    def from_first(self) -> bool:
        """True if `frames` always starts with the first frame of the run."""

    def frames(self, after: int | None) -> Iterator[Frame]:
        """Yield the frames of the run in order: with None from its first, else from any frame up to event time
        `after`. Twice the same call, twice the same frames."""

    def describe(self, time: int | None) -> str:
        """Say what the feed is doing when it has published up to event time `time`, for people."""


class Pace:
    """Spaces steps so that event time passes `speed` times as fast as the wall's; None does not space them.

    A gap takes as long as any step. A feed that was held up goes on at its pace instead of catching up.
    """

    def __init__(self, speed: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = FRAME_MS / 1000 / speed if speed else 0.0
        self._clock = clock
        self._due: float | None = None

    def next_wait(self) -> float:
        """Seconds until the next step is due."""
        now = self._clock()
        if not self._interval:
            return 0.0
        self._due = now if self._due is None else self._due + self._interval
        if now - self._due > _BEHIND_S:
            self._due = now
        return max(0.0, self._due - now)


class Feed(Publisher):
    """Publishes one source into the world of its servers.

    `speed` is event seconds per wall second, None for as quick as Kafka takes it.
    """

    def __init__(self, settings: Settings, servers: Servers, source: Source, speed: float | None) -> None:
        super().__init__(settings, servers, source.source, source.run, real=False)
        self._origin = source
        self._speed = speed
        self._steps: Iterator[Step] = iter(())
        self.skipped = 0
        """Steps that Kafka had already."""

    def _doing(self) -> str:
        if not self.ticks and self.skipped:
            return "finding the place to go on from"
        speed = "max" if self._speed is None else f"{self._speed:g}"
        return f"{self._origin.describe(self.time)}, speed {speed}"

    def _begin(self, last: dict[int, Last]) -> bool:
        standing = standing_of(last, self._source, self._run)
        shards = ShardMap(self._settings.partitions, load_instruments(self._settings.instruments))
        after = None
        if len(standing) == shards.partitions:
            if all(isinstance(record.value, Beat) and record.value.end for record in last.values()):
                _log.info("%s %s is already replayed to its end", self._source, self._run)
                return False
            after = min(place.frame for place in standing.values())
        frames = self._origin.frames(after)
        if after is None and (first := next(frames, None)):
            check_start(last, self._source, self._run, first.time - FRAME_MS)
            frames = chain([first], frames)
        world, from_first = self._servers.world.name, self._origin.from_first or after is None
        batcher = Batcher(world, self._source, self._run, shards, standing, from_first=from_first)
        self._steps = batcher.steps(frames)
        return True

    async def _send_all(self) -> FeedState:
        pace, held = Pace(self._speed), 0
        for step in self._steps:
            if self.stop.is_set():
                break
            if not step.records:
                self.skipped += 1
                if self.skipped % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
                continue
            wait = pace.next_wait()
            if wait > _SHORTEST_SLEEP_S or held >= _CHUNK:
                await self._send()
                held = 0
            if wait > _SHORTEST_SLEEP_S and await self._sleep(wait):
                break
            await self._add(step)
            held += len(step.records)
        await self._drain()
        return FeedState.STOPPED if self.stop.is_set() else FeedState.FINISHED
