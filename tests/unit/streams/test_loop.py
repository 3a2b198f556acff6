"""The loop: outputs before rows, bad records to the dead-letter topic, and the stream goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from panda_streams.errors import BadEvent
from panda_streams.streams.loop import AgentLoop, Output, Record


class FakeProducer:
    def __init__(self, log: list[Any]) -> None:
        self.log = log

    async def send(self, topic: str, key: bytes, value: bytes, **options: Any) -> asyncio.Future[None]:
        self.log.append(("sent", topic, key, value, options["partition"]))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(lambda: (self.log.append("acknowledged"), done.set_result(None)))
        return done


class FakeApp:
    def __init__(self) -> None:
        self.log: list[Any] = []

    async def maybe_start_producer(self) -> FakeProducer:
        return FakeProducer(self.log)


class FakeTable(dict[bytes, bytes]):
    def __init__(self, log: list[Any]) -> None:
        super().__init__()
        self.log = log

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self.log.append(("row", key))
        super().__setitem__(key, value)

    async def acknowledged(self) -> None:
        self.log.append("row acknowledged")


class FakeStream:
    def __init__(self, values: list[bytes]) -> None:
        self.values = values

    async def events(self) -> AsyncIterator[Any]:
        for offset, value in enumerate(self.values):
            yield SimpleNamespace(
                message=SimpleNamespace(topic="in", partition=3, offset=offset, key=b"k", value=value)
            )


def a_loop() -> tuple[AgentLoop, list[Any]]:
    app = FakeApp()
    return AgentLoop(app, "dlq", lambda record, reason: f"{record.offset}: {reason}".encode()), app.log


def test_rows_are_written_after_the_outputs_are_acknowledged() -> None:
    loop, log = a_loop()

    asyncio.run(loop.apply(FakeTable(log), [Output("out", b"k", b"v", 2)], {b"row": b"1"}))  # type: ignore[arg-type]

    assert log == [("sent", "out", b"k", b"v", 2), "acknowledged", ("row", b"row"), "row acknowledged"]


def test_a_bad_record_is_dead_lettered_with_its_place_and_the_next_one_is_handled() -> None:
    loop, log = a_loop()
    handled = []

    async def handle(record: Record) -> int | None:
        if record.value == b"bad":
            raise BadEvent("not a Signal")
        handled.append(record.offset)
        return 1000 + record.offset

    asyncio.run(loop.run(FakeStream([b"a", b"bad", b"c"]), handle))

    assert handled == [0, 2]
    assert log == [("sent", "dlq", b"k", b"1: not a Signal", None), "acknowledged"]
    assert (loop.events, loop.last_event_time, loop.positions) == (3, 1002, {("in", 3): 3})
