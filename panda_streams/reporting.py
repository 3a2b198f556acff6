"""What a worker says of itself every second, and when the mirror is written whole again."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import faust
from mode import Service

from panda_streams.codec import encode
from panda_streams.events import Health, Mode
from panda_streams.identity import Identity
from panda_streams.keys import Keys
from panda_streams.levels import Levels
from panda_streams.mirror import Mirror
from panda_streams.streams.health import Health as Look
from panda_streams.streams.health import Patience, WorkerHealth, give_up
from panda_streams.streams.loop import AgentLoop

__all__ = ["Reporter"]

_INTERVAL_S = 1.0
_SAID_S = 0.5
"""Time for what is in hand when a mode changes: a micro-batch takes a tenth of that. What takes longer is asked for
again a second later."""
_ROWS_AT_ONCE = 100
_SAYS, _BOOKS = "execution", "portfolio"
"""The last stage of an arm passes no beat on: it has come as far as the one before it once nothing waits for it."""


class Reporter(Service):
    """Owns the worker's mirror, reports its health there, and ends a worker that cannot get well.

    `rewrite` writes all of this worker's rows to the mirror again, one at each step of its iterator: called once its
    tables are recovered, after every change of its partitions or of a level, and after an outage of Redis.
    """

    def __init__(
        self,
        app: faust.App,
        identity: Identity,
        mirror: Mirror,
        health: WorkerHealth,
        loop: AgentLoop,
        levels: Levels,
        rewrite: Callable[[], Iterable[None]],
    ) -> None:
        super().__init__()
        self._app = app
        self._identity = identity
        self._mirror = mirror
        self._health = health
        self._agents = loop
        self._levels = levels
        self._rewrite = rewrite
        self._due = True
        self._seen: Any = None
        self._patience = Patience()
        self._reached: dict[str, int] = {}
        self._started_at = _now_ms()
        self._mode: Mode | None = None
        """The mode of an arm, once nothing is in hand any more that was decided under another; the brain has none."""
        self._modes_set: dict[str, int] = {}

    async def on_start(self) -> None:
        await self._mirror.start()
        self._mirror.on_reconnect(self._rewrite_soon)

    def _rewrite_soon(self) -> None:
        self._due = True

    async def _obey(self) -> None:
        """Confirm what operators have set, once all that was decided before this worker heard of it has been said."""
        namespace = self._identity.namespace
        if namespace is None:
            return
        mode, modes_set = self._levels.mode(namespace)[0], self._levels.modes_set(namespace)
        known = (mode, modes_set) == (self._mode, self._modes_set)
        if not known and await self._agents.carried_out(_SAID_S):
            self._mode, self._modes_set = mode, modes_set

    @Service.task
    async def _report(self) -> None:
        while not self.should_stop:
            await self.report()
            await asyncio.sleep(_INTERVAL_S)

    async def report(self) -> None:
        """Say once how the worker is, and write its rows again if that is due."""
        said = self._agents.reached.get(_SAYS)
        look = await self._health.look()
        if not self._app.should_stop and (reason := self._patience.judge(look, time.monotonic())):
            give_up(reason)
        self._reached = self._reach(said, look)
        seen = (self._app.consumer_generation_id, self._levels.revision)
        recovered = not look.checks["recovered"] and not look.checks["flowing"]
        if recovered and (self._due or seen != self._seen):
            self._due, self._seen = False, seen
            await self._rewrite_all()
        state = "running" if look.ready else "recovering" if not recovered else "waiting"
        letters = self._agents.dead_letters
        await self._obey()
        dead = f"{letters} records went to the dead-letter topic since the start" if letters else ""
        self._put(state, look.ready, "; ".join(filter(None, (look.detail, dead))), look.lag)

    def _reach(self, said: int | None, look: Look) -> dict[str, int]:
        """How far each agent has come; `said` is what execution had said before the look."""
        reached = dict(self._agents.reached)
        if said is not None:
            if not look.behind.intersection(self._app.agents[_BOOKS].channel.topics):
                reached[_BOOKS] = said
            elif _BOOKS in self._reached:
                reached[_BOOKS] = self._reached[_BOOKS]
        return reached

    async def _rewrite_all(self) -> None:
        generation = self._app.consumer_generation_id
        for number, _ in enumerate(self._rewrite()):
            if number % _ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)  # there may be a hundred thousand rows, and agents wait
                if self._app.consumer_generation_id != generation or self._app.rebalancing:
                    self._due = True  # the rows are changing hands
                    return

    def _put(self, state: str, ready: bool, detail: str, lag: int | None) -> None:
        identity = self._identity
        report = Health(
            world=identity.world.name,
            role=identity.role,
            namespace=identity.namespace,
            instance=identity.instance,
            pid=os.getpid(),
            state=state,
            ready=ready,
            mode=self._mode,
            modes_set=self._modes_set,
            detail=detail,
            lag=lag,
            events=self._agents.events,
            last_event_time=self._agents.last_event_time,
            reached=self._reached,
            waiting=self._agents.waiting,
            started_at=self._started_at,
            at=_now_ms(),
            url=identity.canonical_url,
        )
        keys = Keys(identity.scope)
        self._mirror.put(keys.health(identity.instance), encode(report), version=report.at)
        self._mirror.add(keys.instances, str(identity.instance))

    async def on_stop(self) -> None:
        self._put("stopped", False, "", None)
        await self._mirror.stop()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
