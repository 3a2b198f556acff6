"""What says that a Faust worker is well: `/` answers long before it is ready and goes on through an outage."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import faust
from faust.exceptions import ConsumerNotStarted

from panda_streams.streams.loop import AgentLoop

__all__ = ["Health", "WorkerHealth"]

_STALLED_S = 15.0
"""A commit that does not move for this long while records wait is stalled; a commit is due every half second."""
_BROKER_S = 1.0


@dataclass(frozen=True, slots=True)
class Health:
    """One look at a worker. Each check is empty if all is well, else it says what is not."""

    checks: dict[str, str] = field(default_factory=dict)
    lag: int | None = None
    """Records that wait on the worker's input partitions; None while it has none, or does not know their ends."""

    @property
    def ready(self) -> bool:
        return not any(self.checks.values())

    @property
    def detail(self) -> str:
        return "; ".join(text for text in self.checks.values() if text)


class WorkerHealth:
    """Looks at the worker of `app`, whose agents `loop` runs."""

    def __init__(self, app: faust.App, loop: AgentLoop) -> None:
        self._app = app
        self._loop = loop
        self._inputs = loop.topics
        self._commits: dict[Any, tuple[int | None, float]] = {}

    async def look(self) -> Health:
        """Check recovery, flow, broker, coordinator, commits and sends; takes a second at the most."""
        app = self._app
        consumer = app.consumer
        # First, for it takes time: nothing is awaited below, so that the rest is seen at one moment, and partitions
        # that leave in a rebalance are not asked for.
        broker = await self._broker()
        try:
            places = [place for place in consumer.assignment() if place.topic in self._inputs]
        except ConsumerNotStarted:
            return Health({"recovered": "starting", "flowing": "not a member of its group yet"})
        checks = {
            "recovered": "" if app.tables.actives_ready else "recovering its tables",
            "flowing": "" if not app.rebalancing else "the group is rebalancing",
            "broker": broker,
            "sends": "" if not app.monitor.send_errors else f"{app.monitor.send_errors} sends failed",
            "coordinator": self._coordinator(consumer),
        }
        positions = self._loop.positions
        waiting = [self._waiting(consumer, place, positions) for place in places]
        lag = sum(count for count in waiting if count is not None) if waiting and None not in waiting else None
        checks["commits"] = self._stalled(consumer, places) if not checks["broker"] else ""
        return Health(checks, lag)

    async def _broker(self) -> str:
        try:
            await asyncio.wait_for(self._app.producer._producer.client.fetch_all_metadata(), _BROKER_S)
        except Exception as error:  # noqa: BLE001  any failure to answer is an answer
            return f"Kafka does not answer ({type(error).__name__})"
        return ""

    @staticmethod
    def _coordinator(consumer: Any) -> str:
        coordinator = consumer._thread._consumer._coordinator
        task = getattr(coordinator, "_coordination_task", None)
        return "the group coordination has died: restart this worker" if task is None or task.done() else ""

    def _waiting(self, consumer: Any, place: Any, positions: dict[tuple[str, int], int]) -> int | None:
        try:
            end = consumer.highwater(place)
        except AssertionError:
            # aiokafka's way to say that the partition has left in this very moment: its consumer has its own thread.
            return None
        if end is None:
            return None
        handled = positions.get((place.topic, place.partition))
        if handled is None:
            handled = consumer._committed_offset.get(place) or 0
        return max(0, int(end) - handled)

    def _stalled(self, consumer: Any, places: list[Any]) -> str:
        now = time.monotonic()
        stalled = []
        for place in places:
            committed = consumer._committed_offset.get(place)
            before, since = self._commits.get(place, (None, now))
            # Nothing is due for a partition whose last record is committed.
            if committed != before or committed is None or committed >= (consumer.highwater(place) or 0):
                self._commits[place] = (committed, now)
            elif now - since > _STALLED_S:
                stalled.append(f"{place.topic}-{place.partition}")
        return f"commits stand still on {', '.join(stalled)}: restart this worker" if stalled else ""
