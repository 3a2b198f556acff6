"""The loop that all agents share: takes lists in, carries micro-batches out, and dies rather than lose one.

For an agent with an outbox: the changed rows, the outbox and the cursor go to the changelog as one batch of Kafka,
whole or not at all; then to the local store; then the outbox is sent, verbatim; then the beat; then the input is
acknowledged. After a restart the outbox of the last micro-batch is sent again before anything new. For one without:
outputs, beat, and now and then rows and cursor, from which the same outputs come again. docs/loop.md is its contract.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson
from faust.types import TP

from panda_streams.streams.inputs import HOLD, Received, Wanted
from panda_streams.streams.lease import Lease
from panda_streams.streams.lists import Delivery, ListConsumer
from panda_streams.streams.readback import LogGone, ReadBack
from panda_streams.streams.rows import LogTable
from panda_streams.streams.sender import Sender
from panda_streams.streams.task import CURSOR, Agent, Batch, Output, Stray, Task

__all__ = ["EXIT_BROKEN", "AgentLoop", "Fenced", "payload_text"]

_log = logging.getLogger(__name__)

EXIT_BROKEN = 70
"""Exit code of a worker that stops itself: EX_SOFTWARE."""
_MAX_RECORDS = 2000
_MAX_STEP_S = 0.1
"""A micro-batch is capped by records and by time: a rebalance waits for it, and other partitions do."""
_WRITE_S = 1.0
"""Rows that nothing was said of are written this long after they changed, at the latest."""
_IDLE_S = 1.0
"""A partition that has been silent for this long is compared with the log's end."""
_RELEASE_S = 7.0
"""Time for what is in hand when partitions are taken away: half of the group's rebalance timeout, and less."""
_FENCE_S = 0.05
_PAYLOAD_BYTES = 256 * 1024


class Fenced(Exception):
    """This worker may not write any more: another one has the partition, or will have."""


@dataclass(slots=True)
class _Declared:
    agent: Agent
    table: LogTable


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
        self._sender = sender
        self._readback = readback
        self._lease = lease
        self._dlq = dlq
        self._encode_dead_letter = encode_dead_letter
        self._declared: dict[str, _Declared] = {}
        self._runners: dict[tuple[str, int], _Runner] = {}
        self._early: dict[tuple[str, int], list[Delivery]] = {}
        self._generation: int | None = None
        """The assignment that is in force; None between two."""
        self.probe: Callable[[str, str], None] = lambda agent, point: None
        """Called with the agent's name at each step of a micro-batch: see `_Runner._carry_out`."""
        self.events = 0
        """Records handled since the worker started."""
        self.dead_letters = 0
        self.last_event_time: int | None = None

    async def start(self) -> None:
        """Connect what the loop itself sends with, before anything is delivered."""
        self._lease.follow()
        await self._sender.start()
        for topic in (*self.topics, self._dlq):
            await self._sender.learn(topic)

    async def stop(self) -> None:
        await self._sender.stop()
        await self._readback.stop()

    def add(self, agent: Agent, table: LogTable) -> None:
        """Declare an agent with its table, before the app starts."""
        self._declared[agent.name] = _Declared(agent, table)

    @property
    def topics(self) -> frozenset[str]:
        """Every input topic."""
        return frozenset(i.topic for declared in self._declared.values() for i in declared.agent.inputs)

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
            for declared in self._declared.values():
                for item in declared.agent.inputs:
                    if item.topic == place.topic:
                        offset = _stored_start(declared.table, place.partition, item.name)
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
        for name, declared in self._declared.items():
            for number in sorted(partitions.get(declared.agent.inputs[0].topic, ())):
                runner = _Runner(self, declared, number)
                self._runners[name, number] = runner
                for delivery in self._early.pop((name, number), []):
                    runner.take(delivery)
                runner.start()
        self._early.clear()

    def assigned(self, generation: int) -> None:
        """The group has handed out partitions: their recovery begins."""
        self._generation = generation
        self._early.clear()
        self._lease.assigned()

    async def release(self) -> None:
        """Finish what is in hand and give all partitions up: they are taken away, or the worker stops."""
        self._generation = None
        self._lease.revoked()
        runners, self._runners = list(self._runners.values()), {}
        self._early.clear()
        for runner in runners:
            runner.stop()
        if runners:
            await asyncio.wait([runner.done for runner in runners], timeout=_RELEASE_S)
        for runner in runners:
            runner.done.cancel()

    def _assigned(self) -> list[TP]:
        topics = self.topics
        return [place for place in self.app.consumer.assignment() if place.topic in topics]

    # What people ask

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

    async def licensed(self, runner: _Runner) -> None:
        """Return once this worker may write; raise Fenced if the partition has gone meanwhile."""
        while not self._lease.valid():
            if runner.stopping or self._runners.get((runner.name, runner.partition)) is not runner:
                raise Fenced(f"{runner.name}-{runner.partition}")
            await asyncio.sleep(_FENCE_S)

    async def send(self, outputs: list[Output]) -> None:
        """Send records that belong to no micro-batch, and return once they are acknowledged."""
        await asyncio.gather(*await self._sender.send(outputs))

    def dead_letter(self, stray: Stray) -> Output:
        self.dead_letters += 1
        where = f"{stray.topic}-{stray.partition}@{stray.record.offset}"
        _log.error("%s goes to %s: %s", where, self._dlq, stray.reason)
        return Output(self._dlq, stray.record.key or b"", self._encode_dead_letter(stray))

    def hold(self, topic: str, partition: int, on: bool) -> None:
        consumer: ListConsumer = self.app.consumer
        consumer.hold(TP(topic, partition), on)

    def handled(self, partition: int, offsets: Mapping[str, int]) -> None:
        consumer: ListConsumer = self.app.consumer
        for topic, offset in offsets.items():
            consumer.handled(TP(topic, partition), offset)


class _Runner:
    """Keeps one task going."""

    def __init__(self, loop: AgentLoop, declared: _Declared, partition: int) -> None:
        self._loop = loop
        self._sender, self._readback = loop._sender, loop._readback
        self._table = declared.table
        self.agent = declared.agent
        self.name = declared.agent.name
        self.partition = partition
        self.task = Task(
            declared.agent,
            partition,
            lambda key: declared.table.read(partition, key),
            loop.dead_letter,
        )
        self.stopping = False
        self._inbox: deque[Delivery] = deque()
        self._waiting = 0
        """Records in the inbox."""
        self._wake = asyncio.Event()
        self._heard = dict.fromkeys(self.task.inputs.logs, time.monotonic())
        """When each input came last, or was looked after."""
        self._wrote = time.monotonic()
        self._held: set[str] = set()
        self._written_to: int | None = None
        """Offset of the last changelog record that is this worker's own, or was recovered; None if not known."""

    def start(self) -> None:
        self.done = asyncio.ensure_future(self._run())

    def take(self, delivery: Delivery) -> None:
        self._inbox.append(delivery)
        self._waiting += len(delivery.records)
        if self._waiting > HOLD and delivery.topic not in self._held:
            # Only until this task comes back to its inbox: nothing that it waits for meanwhile is a record.
            self._loop.hold(delivery.topic, self.partition, True)
            self._held.add(delivery.topic)
        self._wake.set()

    def stop(self) -> None:
        self.stopping = True
        self._wake.set()

    async def _run(self) -> None:
        try:
            await self._take_over()
            while not self.stopping:
                await self._receive()
                await self._look_at_tails()
                if not await self._work(write=self._due()):
                    await self._rest()
            await self._work(write=True, limit=0, beats=1)
        except Fenced:
            _log.warning("%s-%d: given up, another worker has the partition", self.name, self.partition)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  whatever it is, the process must not go on
            _die(self, error)

    def _due(self) -> bool:
        return time.monotonic() - self._wrote >= _WRITE_S

    async def _take_over(self) -> None:
        task = self.task
        _, known = task.cursors()
        new = [item.topic for item in self.agent.inputs if item.name not in known]
        starts = {topic: await self._readback.start(topic, self.partition) for topic in new}
        await self._sender.learn(self._table.changelog)
        self._written_to = self._table.stored_offset(self.partition)
        outbox = task.restore(starts)
        await self._loop.licensed(self)
        # What was said before a crash is said again before anything new, and so is how far event time had come: a
        # beat that was lost with the crash would be waited for for ever (12).
        await self._loop.send(outbox)
        await self._loop.send(task.beat(time.monotonic()))
        self._loop.handled(self.partition, task.written)

    # Input

    async def _receive(self) -> None:
        """Hand the fetched lists to the task, gaps closed, and what did not fit before."""
        inputs = self.task.inputs
        while self._inbox:
            delivery = self._inbox.popleft()
            self._heard[delivery.topic] = time.monotonic()
            records = delivery.records
            self._waiting -= len(records)
            expected = inputs.expected(delivery.topic)
            if records[0].offset > expected:
                # Faust can skip records after a recovery; whatever the reason, the log has them.
                inputs.offer(delivery.topic, await self._read(delivery.topic, expected, records[0].offset))
                inputs.skip(delivery.topic, records[0].offset)
            inputs.offer(delivery.topic, records)
        while (wanted := inputs.lacking()) is not None:
            inputs.refill(wanted, await self._read(*wanted))
        for topic in inputs.logs:
            full = inputs.overfull(topic) or self._waiting > HOLD
            if full != (topic in self._held):
                self._loop.hold(topic, self.partition, full)
                self._heard[topic] = time.monotonic()
                (self._held.add if full else self._held.discard)(topic)

    async def _read(self, topic: str, start: int, end: int) -> list[Received]:
        log = self.task.inputs.logs.get(topic)
        if log is not None and log.input.replaceable:
            start = max(start, await self._readback.start(topic, self.partition))
        return [
            Received(record.offset, record.key, record.value)
            async for record in self._readback.read(topic, self.partition, start, end)
        ]

    async def _rest(self) -> None:
        """Wait for a list, or until something is due."""
        self._wake.clear()
        if self._inbox or self.stopping:
            return
        wait = _IDLE_S
        if self.task.unwritten:
            wait = max(0.0, _WRITE_S - (time.monotonic() - self._wrote))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), wait)

    async def _look_at_tails(self) -> None:
        """Read what Faust has skipped at the end of a log, where no later record shows the gap."""
        inputs, now = self.task.inputs, time.monotonic()
        for topic, heard in self._heard.items():
            if now - heard < _IDLE_S or topic in self._held or self._inbox:
                continue
            self._heard[topic] = now
            try:
                end = self._loop.app.consumer.highwater(TP(topic, self.partition)) or 0
            except AssertionError:
                continue  # aiokafka's way to say that the partition has just been taken away
            expected = inputs.expected(topic)
            end = min(end, expected + HOLD)
            if end > expected:
                _log.warning("%s-%d: reading %d records that were not delivered", topic, self.partition, end - expected)
                inputs.offer(topic, await self._read(topic, expected, end))
                inputs.skip(topic, end)

    # Work

    async def _work(self, *, write: bool, limit: int = _MAX_RECORDS, beats: int | None = None) -> bool:
        """Carry one micro-batch out; False if there was nothing to do."""
        until = time.perf_counter() + _MAX_STEP_S
        batch = self.task.poll(limit, lambda: time.perf_counter() > until, write=write, beats=beats)
        if batch is None:
            # Beats that were received may let this agent say how far it has come, without any step.
            await self._beat()
            return False
        if isinstance(batch, Wanted):
            self.task.supply(batch, await self._read(*batch))
            return True
        await self._carry_out(batch)
        loop = self._loop
        loop.events += batch.items
        if batch.time is not None:
            loop.last_event_time = max(batch.time, loop.last_event_time or batch.time)
        return True

    async def _carry_out(self, batch: Batch) -> None:
        probe, name = self._loop.probe, self.name
        probe(name, "stepped")
        if batch.rows is not None or batch.outputs:
            await self._loop.licensed(self)
        if self.agent.outbox and batch.rows is not None:
            await self._write(batch.rows)
            # If the partition has gone meanwhile, its new owner says the outbox.
            await self._loop.licensed(self)
        # The beat follows the outputs in each partition's log, which is all that its readers need.
        beat = self.task.beat(time.monotonic())
        if batch.outputs or beat:
            sent = await self._sender.send([*batch.outputs, *beat])
            probe(name, "sent")
            await asyncio.gather(*sent)
            probe(name, "said")
        if not self.agent.outbox and batch.rows is not None:
            await self._loop.licensed(self)
            await self._write(batch.rows)
        self.task.settle(batch)
        if batch.rows is not None:
            self._loop.handled(self.partition, self.task.written)
            probe(name, "acknowledged")

    async def _beat(self) -> None:
        beat = self.task.beat(time.monotonic())
        if beat:
            await self._loop.licensed(self)
            await self._loop.send(beat)
            self._loop.probe(self.name, "beat")

    async def _write(self, rows: Mapping[bytes, bytes | None]) -> None:
        """Make rows durable: the changelog first, acknowledged, then the store on this machine."""
        placed = await self._sender.append(self._table.changelog, self.partition, rows)
        if placed is None:
            end = await self._readback.end(self._table.changelog, self.partition)
            placed = (end - len(rows), end - 1)
        self._loop.probe(self.name, "written")
        first, last = placed
        expected = None if self._written_to is None else self._written_to + 1
        if expected is not None and first > expected:
            # Two processes write. If it is this one that was suspended, its store stays where it was, so that a
            # recovery reads what its successor wrote; the successor repairs the changelog.
            await self._loop.licensed(self)
        self._table.store(self.partition, rows, last)
        self._written_to = last
        self._wrote = time.monotonic()
        self._loop.probe(self.name, "stored")
        if expected is not None and first > expected:
            await self._repair(expected, first, rows)

    async def _repair(self, start: int, end: int, written: Mapping[bytes, bytes | None]) -> None:
        """Another process has written to this worker's changelog: write the true rows over what it wrote.

        Only a worker that was suspended between its look at the lease and its write can do that.
        """
        foreign = {key for record in await self._changelog(start, end) if (key := record.key) is not None}
        own = {key: self._table.read(self.partition, key) for key in foreign - set(written)}
        _log.error(
            "%s-%d: another process wrote the offsets %d to %d of %s; writing %d rows again",
            self.name,
            self.partition,
            start,
            end - 1,
            self._table.changelog,
            len(own),
        )
        if own:
            await self._loop.licensed(self)
            await self._write(own)

    async def _changelog(self, start: int, end: int) -> list[Received]:
        return await self._read(self._table.changelog, start, end)


def _stored_start(table: LogTable, partition: int, name: str) -> int | None:
    data = table.read(partition, CURSOR)
    if data is None:
        return None
    cursors: Iterable[Any] = orjson.loads(data)["inputs"].get(name, {}).values()
    return min((cursor[0] for cursor in cursors), default=None)


def payload_text(value: bytes | None) -> str:
    """The bytes of a record as text, for a dead letter: the first 256 KiB, so that the letter fits into its topic."""
    return base64.b64encode((value or b"")[:_PAYLOAD_BYTES]).decode()


def _die(runner: _Runner, error: BaseException) -> NoReturn:
    """End the process with nothing acknowledged: an orderly exit would acknowledge what was not done."""
    if isinstance(error, LogGone):
        _log.critical("stopping %s-%d: %s", runner.name, runner.partition, error)
    else:
        stands = ", ".join(f"{topic}@{offset}" for topic, offset in runner.task.inputs.handled().items())
        _log.critical(
            "stopping %s-%d at %s, which stays unacknowledged:\n%s",
            runner.name,
            runner.partition,
            stands,
            traceback.format_exc(),
        )
    logging.shutdown()
    os._exit(EXIT_BROKEN)
