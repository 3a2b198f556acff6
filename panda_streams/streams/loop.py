"""How an agent handles one record: decode or dead-letter, then the outputs, then the rows, or die.

Outputs are sent and acknowledged before the row that says they were made: after a crash between the two, the same
input on the same row says the same again, under the same sequence, and consumers drop it by their high-water mark.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import faust

from panda_streams.errors import BadEvent
from panda_streams.streams.rows import LogTable

__all__ = ["AgentLoop", "Output", "Record", "payload_text"]

_log = logging.getLogger(__name__)

EXIT_BROKEN = 70
"""Exit code of a worker that stops itself: EX_SOFTWARE."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of an input topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Output:
    """A record to send; without `partition` its key decides."""

    topic: str
    key: bytes
    value: bytes
    partition: int | None = None


class AgentLoop:
    """The part that all agents of a worker share.

    `encode_dead_letter(record, reason)` makes the dead letter of a record that cannot be decoded.
    """

    def __init__(
        self,
        app: faust.App,
        dlq: str,
        encode_dead_letter: Callable[[Record, str], bytes],
    ) -> None:
        self.app = app
        self.log = _log
        self._dlq = dlq
        self._encode_dead_letter = encode_dead_letter
        self.events = 0
        """Records handled since the worker started."""
        self.dead_letters = 0
        self.last_event_time: int | None = None
        self.positions: dict[tuple[str, int], int] = {}
        """Next offset by (topic, partition)."""

    async def run(self, stream: Any, handle: Callable[[Record], Awaitable[int | None]]) -> None:
        """Hand each record of `stream` to `handle`, which returns its event time in milliseconds, if it has one.

        BadEvent sends the record to the dead-letter topic. Any other exception ends the process at once: Faust would
        acknowledge the event and lose it, and an orderly exit would too.
        """
        async for event in stream.events():
            message = event.message
            record = Record(message.topic, message.partition, message.offset, message.key, message.value)
            try:
                try:
                    time = await handle(record)
                except BadEvent as error:
                    time = None
                    await self._dead_letter(record, str(error))
            except asyncio.CancelledError:
                raise
            except BaseException:  # noqa: BLE001  whatever it is, the process must not go on
                _die(record)
            self.events += 1
            self.positions[record.topic, record.partition] = record.offset + 1
            if time is not None:
                self.last_event_time = max(time, self.last_event_time or time)

    async def send(self, outputs: Sequence[Output]) -> None:
        """Send records and return once Kafka has acknowledged all of them."""
        if not outputs:
            return
        producer = await self.app.maybe_start_producer()
        sent = [
            await producer.send(
                output.topic, output.key, output.value, partition=output.partition, timestamp=None, headers=None
            )
            for output in outputs
        ]
        await asyncio.gather(*sent)

    async def apply(self, table: LogTable, outputs: Sequence[Output], rows: Mapping[bytes, bytes]) -> None:
        """Send the outputs, then write the rows; return once both are acknowledged.

        Only rows of the record's own partition may be written: Faust sends a row's changelog record there.
        """
        await self.send(outputs)
        for key, value in rows.items():
            table[key] = value
        await table.acknowledged()

    async def _dead_letter(self, record: Record, reason: str) -> None:
        self.dead_letters += 1
        _log.error("%s-%d@%d goes to %s: %s", record.topic, record.partition, record.offset, self._dlq, reason)
        letter = self._encode_dead_letter(record, reason)
        await self.send([Output(self._dlq, record.key or b"", letter)])


def payload_text(value: bytes | None) -> str:
    """Any bytes as text, for a dead letter."""
    return base64.b64encode(value or b"").decode()


def _die(record: Record) -> None:
    where = f"{record.topic}-{record.partition}@{record.offset}"
    _log.critical("stopping at %s, which stays unacknowledged:\n%s", where, traceback.format_exc())
    logging.shutdown()
    os._exit(EXIT_BROKEN)
