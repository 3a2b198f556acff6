"""One agent on one partition with the steps of streams/runner.py, without Kafka, Faust and asyncio."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from panda_streams.streams import inputs as buffers
from panda_streams.streams.agent import Agent, Output, Stray
from panda_streams.streams.inputs import Received, Wanted
from panda_streams.streams.task import Batch, Task
from tests.simulation.logs import Logs, Store

__all__ = ["AT_EASE", "Broken", "Runner", "Turn"]


_READS = 1000
"""Ranges that are read again at once; a range of nothing would be read for ever."""


class Broken(Exception):
    """Something that no agent may do."""


class Killed(Exception):
    """The process has died here."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What is special about one turn of a runner."""

    fetched: int = 2**31
    """Most records of a list."""
    handled: int = 2000
    """Most records of a micro-batch."""
    starved: frozenset[tuple[str, int]] = frozenset()
    """Topics and partitions of which nothing comes."""
    skip: float = 0.0
    """Chance that the records before a list are not delivered."""
    due: float = 1.0
    """Chance that what was handled is written though nothing was said."""
    tail: float = 1.0
    """Chance that an input has been silent for so long that the log's end is looked at."""
    lose: float = 0.0
    """Chance that a kill takes the local store with it."""
    second: float = 1.0
    """Wall seconds that it takes."""


AT_EASE = Turn()
"""A turn in which nothing is disturbed."""


class Runner:
    """Mirrors `streams.runner.Runner`, step by step in the same order; `_probe` may kill it between any two.

    test_runner.py shows that both do the same.
    """

    def __init__(
        self,
        agent: Agent,
        partition: int,
        logs: Logs,
        dead_letter: Callable[[Stray], Output],
        chance: random.Random,
    ) -> None:
        self.agent = agent
        self.partition = partition
        self.store = Store()
        self.name = f"{agent.name}/{partition}"
        self.deaths = 0
        self.life: int | None = None
        """Steps of the loop after which it is killed; None if it is not."""
        self.task: Task | None = None
        """None while it is dead."""
        self._logs = logs
        self._dead_letter = dead_letter
        self._chance = chance
        self._turn = AT_EASE
        self._now = 0.0
        self._positions: dict[str, int] = {}
        """Where Faust fetches next, by topic."""
        self._inbox: deque[tuple[str, list[Received]]] = deque()
        self._held: set[str] = set()
        self._came: dict[str, int] = {}
        """Records that came since it was last decided what to hold, by topic."""
        self._most_came = 0

    # What the world does with it

    def take_turn(self, turn: Turn = AT_EASE) -> bool:
        """Do one round of the loop; False if there was nothing to do."""
        self._turn = turn
        self._now += turn.second
        try:
            if self.task is None:
                self._take_over()
                return True
            came = self._fetch()
            came |= self._receive()
            came |= self._look_at_tails()
            return self._work(write=self._chance.random() < turn.due, limit=turn.handled) or came
        except Killed:
            self.task = self.life = None
            self.deaths += 1
            if self._chance.random() < turn.lose:
                self.store.lose()
            return True

    def stop(self) -> None:
        """End in order, as a rebalance wants it."""
        if self.task is not None:
            self.life = None
            self._work(write=True, limit=0, beats=1)
        self.task = None

    def lacks(self) -> list[str]:
        """What is left to do, in words; empty at the end of all logs."""
        if self.task is None:
            return [f"{self.name} is dead"]
        handled = self.task.inputs.handled()
        left = [
            f"{self.name} stands at {offset} of {self._logs.end(topic, self.partition)} in {topic}"
            for topic, offset in handled.items()
            if offset < self._logs.end(topic, self.partition)
        ]
        waits = ", ".join(self.task.inputs.waits_for())
        return [f"{line}, and waits for {waits or 'nothing'}" for line in left]

    # The loop

    def _probe(self, point: str) -> None:
        if self._dies():
            raise Killed(point)

    def _dies(self) -> bool:
        if self.life is None:
            return False
        self.life -= 1
        return self.life < 0

    def _take_over(self) -> None:
        self.store.recover()
        task = self.task = Task(self.agent, self.partition, self.store.read, self._dead_letter)
        _, known = task.cursors()
        starts = {source.topic: 0 for source in self.agent.inputs if source.name not in known}
        # AgentLoop.starts: the smallest offset that a stream of the topic wants.
        self._positions = {
            source.topic: min((cursor.next for cursor in known.get(source.name, {}).values()), default=0)
            for source in self.agent.inputs
        }
        self._inbox.clear()
        self._held, self._came = set(), dict.fromkeys(self._positions, 0)
        outbox = task.restore(starts)
        self._probe("restored")
        self._send(outbox)
        self._send(task.beat(self._now))

    def _fetch(self) -> bool:
        """What Faust delivers: a list of each topic, and now and then not the records before it."""
        came = False
        for topic in self._shuffled():
            position, end = self._positions[topic], self._logs.end(topic, self.partition)
            if position >= end or topic in self._held or (topic, self.partition) in self._turn.starved:
                continue
            if self._chance.random() < self._turn.skip:
                position += self._chance.randrange(1, 1 + min(5, end - position))
            records = self._read(topic, position, position + self._turn.fetched)
            self._positions[topic] = position + len(records)
            if records:
                came = True
                self._take(topic, records)
        return came

    def _take(self, topic: str, records: list[Received]) -> None:
        self._inbox.append((topic, records))
        if self._waiting > buffers.HOLD:
            self._held.add(topic)

    @property
    def _waiting(self) -> int:
        return sum(len(records) for _, records in self._inbox)

    def _receive(self) -> bool:
        """Hand lists to the task, gaps closed; False if there was nothing to hand over."""
        assert self.task is not None
        inputs, came = self.task.inputs, False
        while self._inbox:
            came = True
            topic, records = self._inbox.popleft()
            expected = inputs.expected(topic)
            if records[0].offset > expected:
                inputs.offer(topic, self._read(topic, expected, records[0].offset))
                inputs.skip(topic, records[0].offset)
            self._came[topic] += max(0, records[-1].offset - expected + 1)
            inputs.offer(topic, records)
        reads = 0
        while (wanted := inputs.lacking()) is not None:
            came, reads = True, reads + 1
            if reads > _READS:
                raise Broken(f"{self.name} reads {wanted} again and again")
            inputs.refill(wanted, self._read(*wanted))
        if came or any(self._came.values()):
            self._check_bounds()
        for topic in inputs.logs:
            self._came[topic] = 0
            full = inputs.overfull(topic) or self._waiting > buffers.HOLD
            (self._held.add if full else self._held.discard)(topic)
        return came

    def _shuffled(self) -> list[str]:
        topics = list(self._positions)
        if len(topics) > 1 and self._chance.random() < 0.5:
            topics.reverse()
        return topics

    def _read(self, topic: str, start: int, end: int) -> list[Received]:
        return self._logs.read(topic, self.partition, start, end)

    def _check_bounds(self) -> None:
        """Of several writers each has HOLD at the most; a log that is paused has what came before it was, besides."""
        assert self.task is not None
        self._most_came = max([self._most_came, *self._came.values()])
        for log in self.task.inputs.logs.values():
            if self.agent.ordered and len(log.streams) > 1:
                held, bound = max(len(stream.buffer) for stream in log.streams.values()), buffers.HOLD
            else:
                held, bound = log.held, buffers.HOLD + self._most_came
            if held > bound:
                raise Broken(f"{self.name} holds {held} records of {log.input.name}, more than {bound}")

    def _look_at_tails(self) -> bool:
        assert self.task is not None
        inputs, came = self.task.inputs, False
        for topic in inputs.logs:
            if self._chance.random() >= self._turn.tail:
                continue
            if topic in self._held or self._inbox or (topic, self.partition) in self._turn.starved:
                continue
            end, expected = self._logs.end(topic, self.partition), inputs.expected(topic)
            if end > expected:
                came = True
                self._came[topic] += end - expected
                inputs.offer(topic, self._read(topic, expected, end))
                inputs.skip(topic, end)
        return came

    def _work(self, *, write: bool, limit: int, beats: int | None = None) -> bool:
        assert self.task is not None
        batch = self.task.poll(limit, lambda: False, write=write, beats=beats)
        if batch is None:
            self._beat()
            return False
        if isinstance(batch, Wanted):
            self.task.supply(batch, self._read(*batch))
            return True
        self._carry_out(self.task, batch)
        return True

    def _carry_out(self, task: Task, batch: Batch) -> None:
        self._probe("stepped")
        if self.agent.outbox and batch.rows is not None:
            self._write(batch.rows)
        outputs = [*batch.outputs, *task.beat(self._now)]
        if outputs:
            self._send(outputs)
            self._probe("said")
        if not self.agent.outbox and batch.rows is not None:
            self._write(batch.rows)
        task.settle(batch)
        self._probe("acknowledged")

    def _beat(self) -> None:
        assert self.task is not None
        if beat := self.task.beat(self._now):
            self._send(beat)
            self._probe("beat")

    def _write(self, rows: Mapping[bytes, bytes]) -> None:
        self.store.append(rows)
        self._probe("written")
        self.store.store(rows)
        self._probe("stored")

    def _send(self, outputs: list[Output]) -> None:
        if outputs and self._dies():
            self._logs.send_some(outputs)
            raise Killed("sent")
        self._logs.send(outputs)
