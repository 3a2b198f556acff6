"""Carries the micro-batches of one task out, and dies rather than lose one.

For an agent with an outbox: the changed rows, the outbox and the cursor go to the changelog as one batch of Kafka,
whole or not at all; then to the local store; then the outbox is sent, verbatim; then the beat; then the input is
acknowledged. After a restart the outbox of the last micro-batch is sent again before anything new. For one without:
outputs, beat, and now and then rows and cursor, from which the same outputs come again. docs/loop.md is its contract.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from typing import NoReturn, Protocol

from panda_streams.streams.agent import Agent, Output, Stray
from panda_streams.streams.inputs import HOLD, Received, Wanted
from panda_streams.streams.lease import Lease
from panda_streams.streams.lists import Delivery
from panda_streams.streams.readback import LogGone, ReadBack
from panda_streams.streams.rows import LogTable
from panda_streams.streams.sender import Sender
from panda_streams.streams.task import Batch, Task

__all__ = ["EXIT_BROKEN", "Fenced", "Runner", "Shared"]

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
_FENCE_S = 0.05


class Fenced(Exception):
    """This worker may not write any more: another one has the partition, or will have."""


class Shared(Protocol):
    """What the runners of a worker share."""

    sender: Sender
    readback: ReadBack
    lease: Lease
    probe: Callable[[str, str], None]

    def owns(self, runner: Runner) -> bool:
        """Whether the runner's partition is still its own."""

    async def send(self, outputs: list[Output]) -> None:
        """Send records that belong to no micro-batch, and return once they are acknowledged."""

    def dead_letter(self, stray: Stray) -> Output:
        """Count a record that cannot be processed, and make its letter."""

    def hold(self, topic: str, partition: int, on: bool) -> None:
        """Fetch no more of a partition for now, or again."""

    def handled(self, partition: int, offsets: Mapping[str, int]) -> None:
        """Acknowledge everything before these offsets, by topic."""

    def end(self, topic: str, partition: int) -> int:
        """The end of a log as far as it is known; 0 if it is not."""

    def count(self, batch: Batch) -> None:
        """Take note of a micro-batch that was carried out."""


class Runner:
    """Keeps one task going: one agent on one partition."""

    def __init__(self, shared: Shared, agent: Agent, table: LogTable, partition: int) -> None:
        self._shared = shared
        self._sender, self._readback = shared.sender, shared.readback
        self._table = table
        self.agent = agent
        self.name = agent.name
        self.partition = partition
        self._wake = asyncio.Event()
        self.task = Task(agent, partition, lambda key: table.read(partition, key), shared.dead_letter, self._wake.set)
        self.stopping = False
        self.free = asyncio.Event()
        """Set while nothing is in hand that was decided and may not have been said yet."""
        self._inbox: deque[Delivery] = deque()
        self._waiting = 0
        """Records in the inbox."""
        self._heard = dict.fromkeys(self.task.inputs.logs, time.monotonic())
        """When each input came last, or was looked after."""
        self._delivered = self._wrote = time.monotonic()
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
            self._shared.hold(delivery.topic, self.partition, True)
            self._held.add(delivery.topic)
        self._wake.set()

    def stop(self) -> None:
        self.stopping = True
        self._wake.set()

    async def _run(self) -> None:
        try:
            await self._take_over()
            while not self.stopping:
                self._wake.clear()  # before it is looked at what there is: whatever comes meanwhile sets it again
                await self._receive()
                await self._look_at_tails()
                if not await self._work(write=self._due(), beats=1 if self._quiet() else None):
                    await self._rest()
            await self._work(write=True, limit=0, beats=1)
        except Fenced:
            _log.warning("%s-%d: given up, another worker has the partition", self.name, self.partition)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  whatever it is, the process must not go on
            _die(self, error)
        finally:
            self.task.close()

    def _due(self) -> bool:
        return time.monotonic() - self._wrote >= _WRITE_S

    def _quiet(self) -> bool:
        """Whether nothing comes any more: then the cursor takes in the last beats, too."""
        return time.monotonic() - self._delivered >= _WRITE_S

    async def _take_over(self) -> None:
        task = self.task
        _, known = task.cursors()
        new = [item.topic for item in self.agent.inputs if item.name not in known]
        starts = {topic: await self._readback.start(topic, self.partition) for topic in new}
        await self._sender.learn(self._table.changelog)
        self._written_to = self._table.stored_offset(self.partition)
        outbox = task.restore(starts)
        await self._licensed()
        # What was said before a crash is said again before anything new, and so is how far event time had come: a
        # beat that was lost with the crash would be waited for for ever (12).
        await self._shared.send(outbox)
        await self._shared.send(task.beat(time.monotonic()))
        self._shared.handled(self.partition, task.written)
        self.free.set()

    # Input

    async def _receive(self) -> None:
        """Hand the fetched lists to the task, gaps closed, and what did not fit before."""
        inputs = self.task.inputs
        while self._inbox:
            delivery = self._inbox.popleft()
            self._delivered = self._heard[delivery.topic] = time.monotonic()
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
                self._shared.hold(topic, self.partition, full)
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
        if self.stopping:
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
            expected = inputs.expected(topic)
            end = min(self._shared.end(topic, self.partition), expected + HOLD)
            if end > expected:
                # Mostly a burst after a silence, on its way: Faust's copies are dropped by their offsets.
                _log.info(
                    "%s-%d: reading %d records that were not delivered yet", topic, self.partition, end - expected
                )
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
        self.free.clear()
        await self._carry_out(batch)
        self.free.set()
        self._shared.count(batch)
        return True

    async def _carry_out(self, batch: Batch) -> None:
        probe, name = self._shared.probe, self.name
        probe(name, "stepped")
        if batch.rows is not None or batch.outputs:
            await self._licensed()
        if self.agent.outbox and batch.rows is not None:
            await self._write(batch.rows)
            # If the partition has gone meanwhile, its new owner says the outbox.
            await self._licensed()
        # The beat follows the outputs in each partition's log, which is all that its readers need.
        beat = self.task.beat(time.monotonic())
        if batch.outputs or beat:
            sent = await self._sender.send([*batch.outputs, *beat])
            probe(name, "sent")
            await asyncio.gather(*sent)
            probe(name, "said")
        if not self.agent.outbox and batch.rows is not None:
            await self._licensed()
            await self._write(batch.rows)
        self.task.settle(batch)
        if batch.rows is not None:
            self._shared.handled(self.partition, self.task.written)
            probe(name, "acknowledged")

    async def _beat(self) -> None:
        beat = self.task.beat(time.monotonic())
        if beat:
            await self._licensed()
            await self._shared.send(beat)
            self._shared.probe(self.name, "beat")

    async def _licensed(self) -> None:
        """Return once this worker may write; raise Fenced if the partition has gone meanwhile."""
        while not self._shared.lease.valid():
            if self.stopping or not self._shared.owns(self):
                raise Fenced(f"{self.name}-{self.partition}")
            await asyncio.sleep(_FENCE_S)

    async def _write(self, rows: Mapping[bytes, bytes | None]) -> None:
        """Make rows durable: the changelog first, acknowledged, then the store on this machine."""
        placed = await self._sender.append(self._table.changelog, self.partition, rows)
        if placed is None:
            end = await self._readback.end(self._table.changelog, self.partition)
            placed = (end - len(rows), end - 1)
        self._shared.probe(self.name, "written")
        first, last = placed
        expected = None if self._written_to is None else self._written_to + 1
        if expected is not None and first > expected:
            # Two processes write. If it is this one that was suspended, its store stays where it was, so that a
            # recovery reads what its successor wrote; the successor repairs the changelog.
            await self._licensed()
        self._table.store(self.partition, rows, last)
        self._written_to = last
        self._wrote = time.monotonic()
        self._shared.probe(self.name, "stored")
        if expected is not None and first > expected:
            await self._repair(expected, first, rows)

    async def _repair(self, start: int, end: int, written: Mapping[bytes, bytes | None]) -> None:
        """Another process has written to this worker's changelog: write the true rows over what it wrote.

        Only a worker that was suspended between its look at the lease and its write can do that.
        """
        records = await self._read(self._table.changelog, start, end)
        foreign = {record.key for record in records if record.key is not None}
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
            await self._licensed()
            await self._write(own)


def _die(runner: Runner, error: BaseException) -> NoReturn:
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
