"""The loop: outputs before rows, bad records to the dead-letter topic, and the stream goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from panda_streams.errors import BadEvent
from panda_streams.streams import loop as loop_module
from panda_streams.streams.loop import AgentLoop, Output, Record


class FakeProducer:
    def __init__(self, log: list[Any]) -> None:
        self.log = log

    async def send(self, topic: str, key: bytes, value: bytes, **options: Any) -> asyncio.Future[None]:
        self.log.append(("sent", topic, key, value, options["partition"]))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(lambda: (self.log.append("acknowledged"), done.set_result(None)))
        return done


class FakeConsumer:
    """A consumer whose group has committed offset 0 of a log that begins at `first`."""

    def __init__(self) -> None:
        self._committed_offset: dict[TP, int] = {}
        self.first = 0

    async def earliest_offsets(self, place: TP) -> dict[TP, int]:
        return {place: self.first}


class FakeApp:
    def __init__(self) -> None:
        self.log: list[Any] = []
        self.consumer = FakeConsumer()

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
    def __init__(self, values: list[bytes], start: int = 0) -> None:
        self.values, self.start = values, start

    async def events(self) -> AsyncIterator[Any]:
        for offset, value in enumerate(self.values, self.start):
            yield SimpleNamespace(
                message=SimpleNamespace(topic="in", partition=3, offset=offset, key=b"k", value=value)
            )


def a_loop() -> tuple[AgentLoop, list[Any]]:
    app = FakeApp()
    return AgentLoop(app, "dlq", lambda record, reason: f"{record.offset}: {reason}".encode()), app.log


def test_what_is_sent_and_what_is_written_is_acknowledged_before_the_agent_goes_on() -> None:
    loop, log = a_loop()

    async def handle() -> None:
        await loop.send([Output("out", b"k", b"v", 2)])
        await loop.write(FakeTable(log), {b"row": b"1"})  # type: ignore[arg-type]

    asyncio.run(handle())

    assert log == [("sent", "out", b"k", b"v", 2), "acknowledged", ("row", b"row"), "row acknowledged"]


def test_positions_are_dropped_when_partitions_may_have_changed_hands() -> None:
    loop, _ = a_loop()

    async def handle(record: Record) -> None:
        return None

    asyncio.run(loop.run(FakeStream([b"a"]), handle))
    loop.forget()

    assert loop.positions == {}


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


class Died(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def _deadly(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(record: Record) -> None:
        raise Died(record.offset)

    monkeypatch.setattr(loop_module, "_die", die)


async def handled(record: Record) -> None:
    return None


@pytest.mark.usefixtures("_deadly")
def test_records_that_faust_skips_after_a_recovery_end_the_worker_before_the_next_is_acknowledged() -> None:
    loop, _ = a_loop()
    loop.app.consumer._committed_offset[TP("in", 3)] = 5

    with pytest.raises(Died, match="6"):
        asyncio.run(loop.run(FakeStream([b"a"], start=6), handled))


@pytest.mark.usefixtures("_deadly")
def test_records_that_faust_skips_in_the_middle_end_the_worker_and_repeated_ones_do_not() -> None:
    loop, _ = a_loop()
    asyncio.run(loop.run(FakeStream([b"a", b"b"]), handled))
    asyncio.run(loop.run(FakeStream([b"b", b"c"], start=1), handled))

    with pytest.raises(Died, match="4"):
        asyncio.run(loop.run(FakeStream([b"e"], start=4), handled))


@pytest.mark.usefixtures("_deadly")
def test_records_that_retention_has_removed_do_not_end_the_worker() -> None:
    loop, _ = a_loop()
    loop.app.consumer._committed_offset[TP("in", 3)] = 5
    loop.app.consumer.first = 8

    asyncio.run(loop.run(FakeStream([b"a"], start=8), handled))

    assert loop.positions == {("in", 3): 9}


@pytest.mark.usefixtures("_deadly")
def test_a_record_in_hand_when_the_agent_is_cancelled_is_not_acknowledged_by_an_orderly_exit() -> None:
    loop, _ = a_loop()

    async def cancelled(record: Record) -> None:
        raise asyncio.CancelledError

    with pytest.raises(Died):
        asyncio.run(loop.run(FakeStream([b"a"]), cancelled))
