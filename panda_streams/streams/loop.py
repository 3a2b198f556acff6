"""How an agent handles one record: decode or dead-letter, then write the row and send the outputs, or die.

An agent with one input sends its outputs first: after a crash before the row, the same input on the same row says the
same again, under the same sequence, and consumers drop it by their high-water mark. With several inputs another
record may come first after the crash, and would be said under a sequence that was used: such an agent writes the row
first, with what it is about to say in it, and says that again after a restart, before anything new.
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
from faust.types import TP

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
                await self._check_gap(record)
                try:
                    time = await handle(record)
                except BadEvent as error:
                    time = None
                    await self._dead_letter(record, str(error))
            except BaseException:  # noqa: BLE001  whatever it is, a cancellation too, the process must not go on
                _die(record)
            self.events += 1
            self.positions[record.topic, record.partition] = record.offset + 1
            if time is not None:
                self.last_event_time = max(time, self.last_event_time or time)

    def forget(self) -> None:
        """Drop the positions: what another worker handles meanwhile would be counted as waiting."""
        self.positions.clear()

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

    async def write(self, table: LogTable, rows: Mapping[bytes, bytes]) -> None:
        """Write rows and return once Kafka has acknowledged their changelog records.

        Only rows of the record's own partition may be written: Faust sends a row's changelog record there.
        """
        for key, value in rows.items():
            table[key] = value
        await table.acknowledged()

    async def _check_gap(self, record: Record) -> None:
        """Raise if Faust has skipped records: nothing after them is committed yet, so a restart gets them.

        Stock Faust can drop the first records after a recovery. Records that retention has removed are only reported.
        """
        expected = self.positions.get((record.topic, record.partition))
        place = TP(record.topic, record.partition)
        if expected is None:
            expected = self.app.consumer._committed_offset.get(place) or 0
        if record.offset <= expected:
            return
        first = (await self.app.consumer.earliest_offsets(place))[place]
        if record.offset > max(expected, first):
            raise RuntimeError(f"expected offset {expected}, found {record.offset}: records were skipped")
        _log.error(
            "%s-%d: retention has removed the records from %d to %d before they were handled",
            record.topic,
            record.partition,
            expected,
            record.offset - 1,
        )

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
