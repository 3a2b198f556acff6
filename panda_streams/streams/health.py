"""What says that a Faust worker is well, and when it gives itself up: `/` answers long before it is ready.

The other half of the watch is embedded/watchdog.py: it kills a worker that can no longer end itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import faust
from aiokafka.errors import KafkaError
from faust.exceptions import ConsumerNotStarted
from faust.types import TP

from panda_streams.streams.loop import AgentLoop

__all__ = ["EXIT_UNWELL", "Health", "Patience", "Standing", "Stalls", "WorkerHealth", "give_up"]

_log = logging.getLogger(__name__)

EXIT_UNWELL = 75
"""Exit code of a worker that cannot get or stay well and that a restart may mend: EX_TEMPFAIL."""

_STALLED_S = 15.0
"""A partition where nothing moves for this long while work is due is stalled; a commit is due every half second."""
_READY_S = 120.0
"""Recovery and a place in the group take 2 to 20 s; without any progress for this long they never end."""
_CERTAIN = 2
"""Looks in a row that must agree before a worker ends itself: one can fall into the middle of a change."""
_BROKER_S = 1.0
_ENDS_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Health:
    """One look at a worker. Each check is empty if all is well, else it says what is not."""

    checks: dict[str, str] = field(default_factory=dict)
    lag: int | None = None
    """Records that wait on the worker's input partitions; None while it has none, or does not know their ends."""
    behind: frozenset[str] = frozenset()
    """Input topics on which records wait."""

    @property
    def ready(self) -> bool:
        return not any(self.checks.values())

    @property
    def detail(self) -> str:
        return "; ".join(text for text in self.checks.values() if text)


class Patience:
    """Decides when a worker gives itself up, from one look after another."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._seen: tuple[str, ...] = ()
        self._dead = 0

    def judge(self, health: Health, now: float) -> str:
        """Why the worker should end at once, empty if it should go on. `now` is a monotonic clock, in seconds."""
        checks = health.checks
        dead = checks.get("coordinator", "")
        self._dead = self._dead + 1 if dead else 0
        if self._dead >= _CERTAIN:
            return dead
        seen = (checks.get("recovered", ""), checks.get("flowing", ""))
        if checks.get("broker") or not any(seen):
            # Without Kafka nobody gets ready, and a restart would only add to its load when it is back.
            self._since = None
        elif self._since is None or seen != self._seen:
            self._since, self._seen = now, seen
        elif now - self._since > _READY_S:
            return f"not ready for {_READY_S:g} s without any progress: {'; '.join(filter(None, seen))}"
        return ""


class Standing(NamedTuple):
    """Where one input partition stands: offsets of the next record to be fetched, handled, and so on."""

    end: int
    """Of the log, as far as known."""
    fetched: int
    handled: int
    acknowledged: int
    committed: int
    waits: bool
    """True if the next record is in hand and waits for what another one brings, as the replay clock has it."""
    held: bool
    """True if no more is fetched on purpose, for enough is in hand."""

    @property
    def work(self) -> str:
        """What should be going on here; empty if nothing is due."""
        if self.acknowledged > self.committed:
            return "commits stand still"
        if self.handled < self.fetched and not self.waits:
            return "records are not handled"
        if self.fetched < self.end and not self.held:
            return "records are not fetched"
        return ""


class Stalls:
    """Finds partitions on which work is due and nothing moves."""

    def __init__(self) -> None:
        self._seen: dict[TP, tuple[tuple[int, ...], float]] = {}

    def find(self, standings: Mapping[TP, Standing], now: float) -> str:
        """What has stood still for too long and where, empty if nothing has; `now` in seconds, monotonic."""
        found: dict[str, list[str]] = {}
        seen: dict[TP, tuple[tuple[int, ...], float]] = {}
        for place, standing in standings.items():
            moving = (standing.fetched, standing.handled, standing.acknowledged, standing.committed)
            before, since = self._seen.get(place, ((), now))
            if moving != before or not standing.work:
                since = now
            seen[place] = (moving, since)
            if now - since > _STALLED_S:
                found.setdefault(standing.work, []).append(f"{place.topic}-{place.partition}")
        self._seen = seen
        return "; ".join(f"{what} on {', '.join(sorted(places))}" for what, places in sorted(found.items()))


class WorkerHealth:
    """Looks at the worker of `app`, whose agents `loop` runs."""

    def __init__(self, app: faust.App, loop: AgentLoop) -> None:
        self._app = app
        self._loop = loop
        self._inputs = loop.topics
        self._stalls = Stalls()
        self._ends: dict[TP, int] = {}
        self._asked = float("-inf")

    async def look(self) -> Health:
        """Check recovery, flow, broker, coordinator and stalls; takes two seconds at the most."""
        app = self._app
        consumer = app.consumer
        # First, for it takes time: nothing is awaited below, so that the rest is seen at one moment, and partitions
        # that leave in a rebalance are not asked for.
        broker = await self._broker()
        try:
            if not broker:
                await self._learn_ends(consumer)
            places = [place for place in consumer.assignment() if place.topic in self._inputs]
        except ConsumerNotStarted:
            return Health({"recovered": "starting", "flowing": "not a member of its group yet", "broker": broker})
        checks = {
            "recovered": self._recovered(),
            "flowing": "" if not app.rebalancing else "the group is rebalancing",
            "broker": broker,
            "coordinator": self._coordinator(consumer),
        }
        standings = self._standings(consumer, places)
        waiting = {place: max(0, s.end - s.handled) if s is not None else None for place, s in standings.items()}
        lag = sum(count or 0 for count in waiting.values()) if waiting and None not in waiting.values() else None
        # While a partition changes hands or Kafka is away nothing can move.
        steady = not (checks["recovered"] or checks["flowing"] or broker)
        known = {place: s for place, s in standings.items() if s is not None} if steady else {}
        checks["stalled"] = self._stalls.find(known, time.monotonic())
        return Health(checks, lag, frozenset(place.topic for place, count in waiting.items() if count != 0))

    async def _broker(self) -> str:
        try:
            # Of the topics that this client knows, which are few: a cluster may have thousands.
            answered = await asyncio.wait_for(self._app.producer._producer.client.force_metadata_update(), _BROKER_S)
        except Exception as error:  # noqa: BLE001  any failure to answer is an answer
            return f"Kafka does not answer ({type(error).__name__})"
        return "" if answered else "Kafka does not answer"

    async def _learn_ends(self, consumer: Any) -> None:
        """Ask Kafka for the ends of the logs: what the consumer knows stands still with a fetch that does."""
        if time.monotonic() - self._asked < _ENDS_EVERY_S:
            return
        self._asked = time.monotonic()
        places = [place for place in consumer.assignment() if place.topic in self._inputs]
        if not places:
            return
        try:
            ends = await asyncio.wait_for(consumer.highwaters(*places), _BROKER_S)
        except (KafkaError, TimeoutError):
            return  # asked again with the next look but one; the broker's own check says whether it is away
        self._ends = {TP(place.topic, place.partition): end for place, end in ends.items()}

    def _recovered(self) -> str:
        tables = self._app.tables
        if tables.actives_ready:
            return ""
        remaining = tables.recovery.active_remaining_total()
        return f"recovering its tables: {remaining:,} records to go" if remaining > 0 else "recovering its tables"

    @staticmethod
    def _coordinator(consumer: Any) -> str:
        coordinator = consumer._thread._consumer._coordinator
        task = getattr(coordinator, "_coordination_task", None)
        return "the group coordination has died" if task is not None and task.done() else ""

    def _standings(self, consumer: Any, places: Iterable[TP]) -> dict[TP, Standing | None]:
        """Where each partition stands, None if its end is not known."""
        positions, waiting = self._loop.positions, self._loop.blocked
        standings: dict[TP, Standing | None] = {}
        for place in places:
            end = self._end(consumer, place)
            if end is None:
                standings[place] = None
                continue
            committed = consumer._committed_offset.get(place) or 0
            handled = positions.get((place.topic, place.partition), committed)
            standings[place] = Standing(
                end=end,
                fetched=max(handled, consumer.fetched(place)),
                handled=handled,
                acknowledged=consumer.acknowledged(place),
                committed=committed,
                waits=place in waiting,
                held=consumer.is_held(place),
            )
        return standings

    def _end(self, consumer: Any, place: TP) -> int | None:
        try:
            known = consumer.highwater(place)
        except AssertionError:
            # aiokafka's way to say that the partition has left in this very moment: its consumer has its own thread.
            return None
        asked = self._ends.get(place)
        return max((int(end) for end in (known, asked) if end is not None), default=None)


def give_up(reason: str) -> NoReturn:
    """End the process at once, with nothing acknowledged that was not done; the supervisor starts it again."""
    _log.critical("stopping, to be started again: %s", reason)
    logging.shutdown()
    os._exit(EXIT_UNWELL)
