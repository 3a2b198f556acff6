"""The loop that all agents share: what Faust calls, what people ask, and a runner for each agent and partition."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
from faust.types import TP

from panda_streams.streams.agent import Agent, Output, Stray
from panda_streams.streams.lease import Lease
from panda_streams.streams.lists import Delivery, ListConsumer
from panda_streams.streams.readback import ReadBack
from panda_streams.streams.rows import LogTable
from panda_streams.streams.runner import Runner
from panda_streams.streams.sender import Sender
from panda_streams.streams.task import CURSOR, Batch

__all__ = ["AgentLoop", "payload_text"]

_log = logging.getLogger(__name__)

_RELEASE_S = 7.0
"""Time for what is in hand when partitions are taken away: half of the group's rebalance timeout, and less."""
_PAYLOAD_BYTES = 256 * 1024


class AgentLoop:
    """Runs the agents of a worker, one task for each agent and partition, all of them side by side.

    `encode_dead_letter` makes the dead letter of a record that cannot be processed.
    """

    def __init__(
        self,
        app: Any,
        sender: Sender,
        readback: ReadBack,
        lease: Lease,
        dlq: str,
        encode_dead_letter: Callable[[Stray], bytes],
    ) -> None:
        self.app = app
        self.sender = sender
        self.readback = readback
        self.lease = lease
        self._dlq = dlq
        self._encode_dead_letter = encode_dead_letter
        self._declared: dict[str, tuple[Agent, LogTable]] = {}
        self._runners: dict[tuple[str, int], Runner] = {}
        self._leaving: list[Runner] = []
        """Those that finish what is in hand, for their partitions are taken away."""
        self._early: dict[tuple[str, int], list[Delivery]] = {}
        self._generation: int | None = None
        """The assignment that is in force; None between two."""
        self.probe: Callable[[str, str], None] = lambda agent, point: None
        """Called with the agent's name at each step of a micro-batch: see `Runner._carry_out`."""
        self.events = 0
        """Records handled since the worker started."""
        self.dead_letters = 0
        self.last_event_time: int | None = None

    async def start(self) -> None:
        """Connect what the loop itself sends with, before anything is delivered."""
        self.lease.follow()
        await self.sender.start()
        for topic in (*self.topics, self._dlq):
            await self.sender.learn(topic)

    async def stop(self) -> None:
        await self.sender.stop()
        await self.readback.stop()

    def add(self, agent: Agent, table: LogTable) -> None:
        """Declare an agent with its table, before the app starts."""
        self._declared[agent.name] = (agent, table)

    @property
    def topics(self) -> frozenset[str]:
        """Every input topic."""
        return frozenset(i.topic for agent, _ in self._declared.values() for i in agent.inputs)

    # What Faust calls

    def take(self, name: str, delivery: Delivery) -> None:
        """Take a fetched list; never blocks."""
        if delivery.generation != self.app.consumer_generation_id:
            return
        runner = self._runners.get((name, delivery.partition))
        if runner is not None:
            runner.take(delivery)
        else:
            # Fetched before the recovery has ended for good: `begin` comes within this very moment.
            self._early.setdefault((name, delivery.partition), []).append(delivery)

    def starts(self) -> dict[TP, int]:
        """Where each assigned partition is wanted from, as the rows say; called once they are recovered."""
        starts = {}
        for place in self._assigned():
            for agent, table in self._declared.values():
                for item in agent.inputs:
                    if item.topic == place.topic:
                        offset = _stored_start(table, place.partition, item.name)
                        if offset is not None:
                            starts[place] = offset
        return starts

    def begin(self) -> None:
        """Start a task for each agent and assigned partition, once the tables are recovered."""
        if self._runners or self._generation is None or self.app.recovered != self._generation:
            # Faust may end a recovery after the partitions were taken away again.
            return
        partitions: dict[str, set[int]] = {}
        for place in self._assigned():
            partitions.setdefault(place.topic, set()).add(place.partition)
        for name, (agent, table) in self._declared.items():
            for number in sorted(partitions.get(agent.inputs[0].topic, ())):
                runner = Runner(self, agent, table, number)
                self._runners[name, number] = runner
                for delivery in self._early.pop((name, number), []):
                    runner.take(delivery)
                runner.start()
        self._early.clear()

    def assigned(self, generation: int) -> None:
        """The group has handed out partitions: their recovery begins."""
        self._generation = generation
        self._early.clear()
        self.lease.assigned()

    async def release(self) -> None:
        """Finish what is in hand and give all partitions up: they are taken away, or the worker stops."""
        self._generation = None
        self.lease.revoked()
        runners, self._runners = list(self._runners.values()), {}
        self._leaving = runners
        self._early.clear()
        for runner in runners:
            runner.stop()
        if runners:
            await asyncio.wait([runner.done for runner in runners], timeout=_RELEASE_S)
        for runner in runners:
            runner.done.cancel()
        self._leaving = []

    def _assigned(self) -> list[TP]:
        topics = self.topics
        return [place for place in self.app.consumer.assignment() if place.topic in topics]

    # What people ask

    def runs(self, name: str, partition: int) -> bool:
        """True if this worker runs the agent on that partition now."""
        return (name, partition) in self._runners

    @property
    def positions(self) -> dict[tuple[str, int], int]:
        """Next offset that was not handled, by (topic, partition)."""
        return {
            (topic, runner.partition): offset
            for runner in self._runners.values()
            for topic, offset in runner.task.inputs.handled().items()
        }

    @property
    def reached(self) -> dict[str, int]:
        """By agent: the event time that its partitions here have reached, the lowest of those that say beats."""
        reached: dict[str, int] = {}
        for (name, _), runner in self._runners.items():
            if runner.task.said is not None:
                reached[name] = min(runner.task.said, reached.get(name, runner.task.said))
        return reached

    @property
    def waiting(self) -> dict[str, str]:
        """By agent: what holds back the next record, where something does."""
        return {
            f"{name}/{number}": ", ".join(streams)
            for (name, number), runner in self._runners.items()
            if (streams := runner.task.inputs.waits_for())
        }

    @property
    def blocked(self) -> set[TP]:
        """The partitions whose next record waits for another one."""
        return {
            TP(source.topic, runner.partition)
            for runner in self._runners.values()
            if runner.task.inputs.waits_for()
            for source in runner.agent.inputs
        }

    # What the runners share

    def owns(self, runner: Runner) -> bool:
        return self._runners.get((runner.name, runner.partition)) is runner

    async def carried_out(self, within_s: float) -> bool:
        """Wait until every micro-batch that is in hand now has been carried out; False if one takes longer.

        What these partitions say after that was decided after this call.
        """
        runners = (*self._runners.values(), *self._leaving)
        waits = [asyncio.ensure_future(runner.free.wait()) for runner in runners]
        if not waits:
            return True
        _, pending = await asyncio.wait(waits, timeout=within_s)
        for wait in pending:
            wait.cancel()
        return not pending

    async def send(self, outputs: list[Output]) -> None:
        """Send records that belong to no micro-batch, and return once they are acknowledged."""
        await asyncio.gather(*await self.sender.send(outputs))

    def dead_letter(self, stray: Stray) -> Output:
        self.dead_letters += 1
        where = f"{stray.topic}-{stray.partition}@{stray.record.offset}"
        _log.error("%s goes to %s: %s", where, self._dlq, stray.reason)
        return Output(self._dlq, stray.record.key or b"", self._encode_dead_letter(stray))

    def hold(self, topic: str, partition: int, on: bool) -> None:
        consumer: ListConsumer = self.app.consumer
        consumer.hold(TP(topic, partition), on)

    def end(self, topic: str, partition: int) -> int:
        try:
            return self.app.consumer.highwater(TP(topic, partition)) or 0
        except AssertionError:
            return 0  # aiokafka's way to say that the partition has just been taken away

    def count(self, batch: Batch) -> None:
        self.events += batch.items
        if batch.time is not None:
            self.last_event_time = max(batch.time, self.last_event_time or batch.time)

    def handled(self, partition: int, offsets: Mapping[str, int]) -> None:
        consumer: ListConsumer = self.app.consumer
        for topic, offset in offsets.items():
            consumer.handled(TP(topic, partition), offset)


def _stored_start(table: LogTable, partition: int, name: str) -> int | None:
    data = table.read(partition, CURSOR)
    if data is None:
        return None
    cursors: Iterable[Any] = orjson.loads(data)["inputs"].get(name, {}).values()
    return min((cursor[0] for cursor in cursors), default=None)


def payload_text(value: bytes | None) -> str:
    """The bytes of a record as text, for a dead letter: the first 256 KiB, so that the letter fits into its topic."""
    return base64.b64encode((value or b"")[:_PAYLOAD_BYTES]).decode()
