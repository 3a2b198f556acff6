"""The simulation's runner is the loop's own: on the same logs both take the same steps and leave the same rows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from panda_streams.streams import runner as real
from panda_streams.streams.agent import Output
from panda_streams.streams.inputs import Received
from panda_streams.streams.lists import Delivery
from tests.simulation.logs import Logs, Store
from tests.simulation.market import SCENARIOS, Market
from tests.simulation.runner import Runner, Turn
from tests.simulation.world import World

Step = tuple[str, object]


class FakeSender:
    """Appends rows to a store and notes what is sent."""

    def __init__(self, store: Store, steps: list[Step]) -> None:
        self._store = store
        self._steps = steps
        self._rows = 0

    async def learn(self, topic: str) -> None:
        return None

    async def append(self, topic: str, partition: int, rows: Mapping[bytes, bytes]) -> tuple[int, int]:
        self._store.append(rows)
        self._steps.append(("append", dict(rows)))
        self._rows += len(rows)
        return self._rows - len(rows), self._rows - 1

    async def send(self, outputs: Sequence[Output]) -> list[Awaitable[None]]:
        if outputs:
            self._steps.append(("send", list(outputs)))
        return []


class FakeReadBack:
    def __init__(self, logs: Logs) -> None:
        self._logs = logs

    async def start(self, topic: str, partition: int) -> int:
        return 0

    async def read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[Received]:
        for record in self._logs.read(topic, partition, start, end):
            yield record


class FakeTable:
    changelog = "changelog"

    def __init__(self, store: Store, steps: list[Step]) -> None:
        self._store = store
        self._steps = steps

    def read(self, partition: int, key: bytes) -> bytes | None:
        return self._store.read(key)

    def store(self, partition: int, rows: Mapping[bytes, bytes], offset: int) -> None:
        self._store.store(rows)
        self._steps.append(("store", dict(rows)))

    def stored_offset(self, partition: int) -> int | None:
        return None


class FakeLoop:
    """What a runner of the loop needs of it."""

    def __init__(self, sender: FakeSender, readback: FakeReadBack) -> None:
        self.sender = sender
        self.readback = readback
        self.lease = SimpleNamespace(valid=lambda: True)

    def probe(self, agent: str, point: str) -> None:
        return None

    def dead_letter(self, stray: Any) -> Output:
        raise AssertionError(f"nothing here cannot be decoded: {stray}")

    async def send(self, outputs: list[Output]) -> None:
        await asyncio.gather(*await self.sender.send(outputs))

    def hold(self, topic: str, partition: int, on: bool) -> None:
        return None

    def handled(self, partition: int, offsets: Mapping[str, int]) -> None:
        return None

    def end(self, topic: str, partition: int) -> int:
        return 0

    def count(self, batch: Any) -> None:
        return None


def steps_of_the_loop(runner: Runner, logs: Logs, size: int) -> list[Step]:
    """Let the loop's own runner handle the inputs of `runner`, a list of `size` records of each topic at a time.

    Another one takes over from it at the end.
    """
    steps: list[Step] = []
    store = Store()
    table: Any = FakeTable(store, steps)
    loop: Any = FakeLoop(FakeSender(store, steps), FakeReadBack(logs))

    async def run() -> None:
        own = real.Runner(loop, runner.agent, table, runner.partition)
        await own._take_over()
        positions = dict.fromkeys(own.task.inputs.logs, 0)
        for _ in range(1000):
            moved = False
            for topic, position in positions.items():
                records = logs.read(topic, runner.partition, position, position + size)
                if records:
                    moved = True
                    positions[topic] += len(records)
                    own.take(Delivery(topic, runner.partition, records, 0))
            await own._receive()
            if not (await own._work(write=True) or moved):
                break
        await own._work(write=True, limit=0, beats=1)
        await real.Runner(loop, runner.agent, table, runner.partition)._take_over()

    with patch("panda_streams.streams.runner.time", SimpleNamespace(monotonic=lambda: 0.0, perf_counter=lambda: 0.0)):
        asyncio.run(run())
    return steps


class Noting(Runner):
    """A runner that notes the same steps, and whose logs are whole before it starts."""

    def __init__(self, like: Runner, logs: Logs) -> None:
        super().__init__(like.agent, like.partition, logs, like._dead_letter, random.Random(0))
        self.steps: list[Step] = []

    def _shuffled(self) -> list[str]:
        return list(self._positions)

    def _write(self, rows: Mapping[bytes, bytes]) -> None:
        self.steps.append(("append", dict(rows)))
        super()._write(rows)
        self.steps.append(("store", dict(rows)))

    def _send(self, outputs: list[Output]) -> None:
        if outputs:
            self.steps.append(("send", list(outputs)))


@pytest.mark.parametrize("size", [3, 1000])
@pytest.mark.parametrize("scenario", ["dense", "wall-late-fills"])
def test_it_takes_the_steps_of_the_loop(scenario: str, size: int) -> None:
    world = World(Market(SCENARIOS[scenario], 3), random.Random(3))
    world.settle()

    for runner in world.runners:
        expected = steps_of_the_loop(runner, world.logs, size)
        noting = Noting(runner, world.logs)
        turn = Turn(fetched=size, tail=0.0, second=0.0)
        assert any(not noting.take_turn(turn) for _ in range(1000)), runner.name
        noting.stop()
        noting.take_turn(turn)

        assert noting.steps == expected, runner.name
        assert {step for step, _ in expected} == {"append", "store", "send"}
