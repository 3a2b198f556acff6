"""Reading back: an outage of Kafka is waited for, a log that has gone is not."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, TopicAuthorizationFailedError

from panda_streams.streams import readback
from panda_streams.streams.readback import LogGone, ReadBack


class FakeConsumer:
    """A consumer on a log that begins at `first` and ends at 4; `failures` come before its answers."""

    def __init__(self, failures: list[Exception], first: int) -> None:
        self.failures, self.first, self.place = failures, first, 0

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)

    async def start(self) -> None:
        self._fail()

    async def stop(self) -> None: ...

    async def beginning_offsets(self, places: list[Any]) -> dict[Any, int]:
        self._fail()
        return dict.fromkeys(places, self.first)

    async def end_offsets(self, places: list[Any]) -> dict[Any, int]:
        self._fail()
        return dict.fromkeys(places, 4)

    def assign(self, places: list[Any]) -> None: ...

    def seek(self, place: Any, offset: int) -> None:
        self.place = offset

    async def position(self, place: Any) -> int:
        return self.place

    async def getmany(self, place: Any, timeout_ms: int) -> dict[Any, list[Any]]:
        records = [SimpleNamespace(offset=offset) for offset in range(self.place, 4)]
        self.place = 4
        return {place: records}


def read(monkeypatch: pytest.MonkeyPatch, failures: list[Exception], first: int = 0) -> list[int]:
    monkeypatch.setattr(readback, "_RETRY_S", 0)
    monkeypatch.setattr(readback, "AIOKafkaConsumer", lambda **options: FakeConsumer(failures, first))

    async def offsets() -> list[int]:
        log = ReadBack({})
        end = await log.end("ticks", 0)
        return [record.offset async for record in log.read("ticks", 0, 1, end)]

    return asyncio.run(offsets())


def test_an_outage_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, [KafkaConnectionError(), KafkaConnectionError(), KafkaTimeoutError()]) == [1, 2, 3]


def test_what_no_waiting_mends_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TopicAuthorizationFailedError):
        read(monkeypatch, [TopicAuthorizationFailedError()])


def test_records_that_retention_has_removed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LogGone, match="begins at 2, but 1 must be read again"):
        read(monkeypatch, [], first=2)
