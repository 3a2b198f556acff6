"""Kafka and a worker's disk, in memory: what survives a kill."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from panda_streams.streams.agent import Output
from panda_streams.streams.inputs import Received
from panda_streams.streams.packing import unpack
from panda_streams.streams.sender import partition_of
from tests.simulation.market import PARTITIONS

__all__ = ["GARBAGE", "Logs", "Store", "lanes"]

Record = tuple[bytes, bytes]
Lane = tuple[tuple[str, int], list[Record]]


GARBAGE = b"no record of ours"
_READ = ("signals.raw", "signals.validated", "orders.updates", "orders.filled", "marks")
"""Topics in which somebody else may write, too."""


class Logs:
    """The records of every topic and partition."""

    def __init__(self, chance: random.Random) -> None:
        self._logs: defaultdict[tuple[str, int], list[Record]] = defaultdict(list)
        self._chance = chance
        self.retried = 0.0
        """Chance that a send stands in the log twice."""
        self.littered = 0.0
        """Chance that somebody writes garbage behind a send."""
        self.garbage: set[tuple[str, int, int]] = set()
        """Where it is: topic, partition and offset."""
        self._late: list[tuple[str, int, list[Record]]] = []
        """Sends whose second copy has not arrived yet."""

    def put(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        self._logs[topic, partition] += records

    def put_garbage(self, topic: str, partition: int) -> None:
        self.garbage.add((topic, partition, self.end(topic, partition)))
        self.put(topic, partition, [(b"", GARBAGE)])

    def calm(self) -> None:
        """Nothing is disturbed from now on."""
        self.retried = self.littered = 0.0
        for late in self._late:
            self.put(*late)
        self._late.clear()

    def send(self, outputs: Iterable[Output]) -> None:
        for (topic, partition), records in lanes(outputs):
            self._send(topic, partition, records)

    def send_some(self, outputs: Iterable[Output]) -> None:
        """Send what a process gets out that dies meanwhile: of each partition's records the first ones."""
        for (topic, partition), records in lanes(outputs):
            self._send(topic, partition, records[: self._chance.randrange(len(records) + 1)])

    def _send(self, topic: str, partition: int, records: list[Record]) -> None:
        self.put(topic, partition, records)
        if self.retried:
            if self._chance.random() < self.retried:
                self._late.append((topic, partition, records))
            # At once for the most part, and now and then behind what was said after it.
            while self._late and self._chance.random() < 0.7:
                self.put(*self._late.pop(self._chance.randrange(len(self._late))))
        if self.littered and topic.endswith(_READ) and self._chance.random() < self.littered:
            self.put_garbage(topic, partition)

    def end(self, topic: str, partition: int) -> int:
        return len(self._logs[topic, partition])

    def read(self, topic: str, partition: int, start: int, end: int) -> list[Received]:
        log = self._logs[topic, partition]
        return [Received(offset, *log[offset]) for offset in range(start, min(end, len(log)))]


def lanes(outputs: Iterable[Output]) -> list[Lane]:
    """Outputs by topic and partition, as the sender does it: in order in each."""
    found: dict[tuple[str, int], list[Record]] = {}
    for output in outputs:
        partition = partition_of(output.key, PARTITIONS) if output.partition is None else output.partition
        found.setdefault((output.topic, partition), []).append((output.key, output.value))
    return list(found.items())


class Store:
    """The table of one agent on one partition: its changelog in Kafka and its local copy."""

    def __init__(self) -> None:
        self._changelog: list[Mapping[bytes, bytes]] = []
        """A batch of Kafka each."""
        self._local: dict[bytes, bytes] = {}
        self._stored = 0
        """Batches that the local copy has."""

    def append(self, rows: Mapping[bytes, bytes]) -> None:
        self._changelog.append(dict(rows))

    def store(self, rows: Mapping[bytes, bytes]) -> None:
        self._local.update(rows)
        self._stored = len(self._changelog)

    def read(self, key: bytes) -> bytes | None:
        return self._local.get(key)

    def rows(self) -> dict[bytes, bytes]:
        return {key: unpack(value) for key, value in self._local.items()}

    def lose(self) -> None:
        """Lose the local copy, as with a worker on another machine."""
        self._local, self._stored = {}, 0

    def recover(self) -> None:
        """What Faust does before an agent starts: take in what the changelog has and the local copy has not."""
        for rows in self._changelog[self._stored :]:
            self._local.update(rows)
        self._stored = len(self._changelog)
