"""Carries out the micro-batches of one agent on one partition, as the loop does, over logs and rows in memory."""

from __future__ import annotations

from collections.abc import Callable

from panda_streams.streams.agent import Agent, Output, Stray
from panda_streams.streams.inputs import Received, Wanted
from panda_streams.streams.task import Task

DLQ = "dlq"


class Killed(Exception):
    """The end of the process, at a point of a micro-batch."""


class Bench:
    """An agent whose records are handled as they are delivered.

    `kill_at`, "write" or "send", ends the next micro-batch before that point; `restart` forgets what only memory held,
    and finds all that was ever delivered in the logs. With `write` every micro-batch is written at once.
    """

    def __init__(self, make: Callable[[], Agent], partition: int = 0) -> None:
        self._make = make
        self._partition = partition
        self._logs: dict[str, dict[int, Received]] = {}
        self._now = 0.0
        self.rows: dict[bytes, bytes] = {}
        self.sent: list[Output] = []
        self.beats: list[Output] = []
        self.kill_at = ""
        self.write = True
        self.reads = 0
        self.starts: dict[str, int] = {}
        """First offset that each log keeps."""
        self.start()

    def start(self, first: str = "") -> None:
        """Take over what is stored, with the records of the topic `first` in hand before others; handle none yet."""
        self.kill_at = ""
        self.task = Task(self._make(), self._partition, self.rows.get, _letter)
        self.sent += self.task.restore(self.starts)
        self._beat()
        for topic in sorted(self._logs, key=lambda topic: topic != first):
            self.task.inputs.offer(topic, self._logs[topic].values())

    def restart(self, first: str = "") -> None:
        """Start again after the end of the process, and handle what waits."""
        self.start(first)
        self.run()

    def deliver(self, topic: str, offset: int, value: bytes | None, key: bytes = b"") -> None:
        """Append a record to a log, and handle what can be handled."""
        record = Received(offset, key, value)
        self._logs.setdefault(topic, {})[offset] = record
        self.task.inputs.offer(topic, [record])
        self.run()

    def run(self, limit: int = 2000) -> None:
        """Carry micro-batches out until there is nothing to do."""
        wanted: Wanted | None = None
        while (batch := self.task.poll(limit, lambda: False, write=self.write)) is not None:
            if isinstance(batch, Wanted):
                assert batch != wanted, f"{batch} is asked for again and again"
                wanted = batch
                self.reads += 1
                log = self._logs[batch.topic]
                self.task.supply(batch, [log[o] for o in range(batch.start, batch.end) if o in log])
                continue
            points = ["write", "send"] if self.task.agent.outbox else ["send", "write"]
            for point in points:
                if self.kill_at == point and (batch.rows if point == "write" else batch.outputs):
                    raise Killed(point)
                if point == "send":
                    self.sent += batch.outputs
                    self._beat()
                elif batch.rows is not None:
                    self.rows.update(batch.rows)
            self.task.settle(batch)
        self._beat()

    def _beat(self) -> None:
        self._now += 1.0
        self.beats += self.task.beat(self._now)

    def to(self, topic: str) -> list[Output]:
        """What was sent to a topic, beats apart."""
        return [output for output in self.sent if output.topic == topic]

    def table(self) -> list[tuple[bytes, bytes]]:
        """The rows that are the agent's own."""
        return [(key, row) for key, row in self.rows.items() if not key.startswith(b"\x00")]

    def beats_to(self, topic: str) -> list[Output]:
        return [output for output in self.beats if output.topic == topic]


def _letter(stray: Stray) -> Output:
    return Output(DLQ, b"", f"{stray.topic}@{stray.record.offset}: {stray.reason}".encode())
