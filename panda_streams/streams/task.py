"""One agent on one partition, without any I/O: held records in; rows, outputs and beats out, in micro-batches.

What the loop does with a micro-batch, and when, is in runner.py; docs/loop.md has the contract.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson

from panda_streams.errors import BadEvent
from panda_streams.streams.agent import Agent, Output, Part, Rows, Stray
from panda_streams.streams.inputs import Inputs, Received, StreamCursor, Wanted

__all__ = ["Batch", "CURSOR", "OUTBOX", "Task"]

CURSOR = b"\x00cursor"
"""Key of the row that says what was applied."""
OUTBOX = b"\x00outbox"
"""Key of the row that holds what the last micro-batch with outputs says."""
_BYTES = "latin-1"
"""How any bytes are kept in JSON, one character each."""
_BEATS = 1000
"""A restart need not read more beats again than this."""
_MAX_BYTES = 256 * 1024
"""Bytes of outputs after which a micro-batch is closed: it is written in one piece, twice (outbox and topic)."""


@dataclass(slots=True)
class Batch:
    """What a micro-batch comes to."""

    outputs: list[Output]
    rows: dict[bytes, bytes] | None
    """What to write, in one piece: changed rows, outbox and cursor. None if nothing is to be written now."""
    items: int
    """Records that were handled."""
    time: int | None
    """Highest event time among them."""


class Task:
    """One agent on one partition.

    The caller repeats: `offer` records (closing gaps first), `poll` for a batch, carry it out, `settle` it.
    """

    def __init__(
        self,
        agent: Agent,
        partition: int,
        read: Callable[[bytes], bytes | None],
        dead_letter: Callable[[Stray], Output],
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.agent = agent
        self.partition = partition
        self.inputs = Inputs(agent.inputs, ordered=agent.ordered)
        self._read = read
        self._dead_letter = dead_letter
        self._part = Part(partition, Rows(read, agent.load, agent.dump), self.inputs, wake=wake)
        self._number = 0
        """Micro-batches written so far."""
        self._written = {topic: 0 for topic in self.inputs.logs}
        self._pending = dict(self._written)
        self._unwritten = False
        self.said: int | None = None
        """Event time of the last beat said."""

    # Taking over

    def cursors(self) -> tuple[int, dict[str, dict[str, StreamCursor]]]:
        """The number of micro-batches written, and the stored cursors."""
        data = self._read(CURSOR)
        if data is None:
            return 0, {}
        stored = orjson.loads(data)
        return stored["batch"], {
            name: {writer: StreamCursor(*cursor) for writer, cursor in writers.items()}
            for name, writers in stored["inputs"].items()
        }

    def restore(self, starts: Mapping[str, int]) -> list[Output]:
        """Start from what is stored; returns what the last micro-batch said, to be sent again before anything else.

        `starts` is the first offset of each input's log that is kept, for an input without a cursor.
        """
        self._number, cursors = self.cursors()
        self.inputs.restore(cursors, starts)
        self._written = self.inputs.handled()
        self.agent.open(self._part)
        data = self._read(OUTBOX)
        if data is None:
            return []
        outbox = orjson.loads(data)
        # An older outbox was acknowledged: the batches after it were written only then.
        if outbox["batch"] != self._number:
            return []
        return [
            Output(topic, key.encode(_BYTES), value.encode(_BYTES), partition)
            for topic, key, value, partition in outbox["outputs"]
        ]

    # Working

    def poll(
        self, limit: int, enough: Callable[[], bool], *, write: bool, beats: int | None = None
    ) -> Batch | Wanted | None:
        """Handle up to `limit` records, fewer if `enough()` says so after one; None if there is nothing to do.

        A Wanted is to be read and supplied before the next poll. With `write` what was changed is to be written even if
        nothing is said, and so is the cursor once `beats` records (a thousand, if not told) have moved nothing but
        watermarks. A batch must be carried out and settled before the next poll.
        """
        if self.agent.refresh(self._part):
            self._unwritten = True
            return Batch([], self._rows([]), 0, None)
        if said := self.agent.announce(self._part):
            self._unwritten = True
            return Batch(said, None, 0, None)
        if (news := self.agent.news(self._part)) is not None:
            self._unwritten = True
            return Batch(news, self._rows(news), 0, None)
        outputs: list[Output] = []
        items, size, time = 0, 0, None
        part, agent, inputs = self._part, self.agent, self.inputs
        wants = agent.wants if type(agent).wants is not Agent.wants else None
        while items < limit and size <= _MAX_BYTES and not (items and enough()):
            if wants is not None and (found := inputs.next()) is not None and found[1] is not None:
                wanted = wants(part, found[1].buffer[0].item)
                if wanted is not None:
                    if items:
                        break
                    return wanted
            taken = inputs.take()
            if taken is None:
                break
            log, stream, record, item = taken
            items += 1
            if stream is None:
                said = self._stray(log.input.topic, record, str(item.event))
            else:
                try:
                    said = agent.step(part, item, record.offset)
                except BadEvent as error:
                    said = self._stray(log.input.topic, record, str(error))
                if time is None or item.time > time:
                    time = item.time
            if said:
                outputs += said
                size += sum(len(output.value) for output in said)
        if items:
            self._unwritten = True
        elif not (write and (self._unwritten or self._passed() >= (_BEATS if beats is None else beats))):
            return None
        if write or (outputs and agent.outbox):
            return Batch(outputs, self._rows(outputs if agent.outbox else []), items, time)
        return Batch(outputs, None, items, time)

    def _passed(self) -> int:
        """Records of an input that a restart would read again, the most of all inputs."""
        return max(offset - self._written[topic] for topic, offset in self.inputs.handled().items())

    def _stray(self, topic: str, record: Received, reason: str) -> list[Output]:
        """The letter of a record that cannot be processed, and what the agent says of it."""
        letter = self._dead_letter(Stray(topic, self.partition, record, reason))
        return [letter, *self.agent.stray(self._part, topic, record)]

    def _rows(self, outputs: list[Output]) -> dict[bytes, bytes]:
        rows = self._part.rows.encoded()
        number = self._number + 1
        if outputs:
            said = [(o.topic, o.key.decode(_BYTES), o.value.decode(_BYTES), o.partition) for o in outputs]
            rows[OUTBOX] = orjson.dumps({"batch": number, "outputs": said})
        cursors = {
            name: {writer: tuple(cursor) for writer, cursor in writers.items()}
            for name, writers in self.inputs.cursors().items()
        }
        rows[CURSOR] = orjson.dumps({"batch": number, "inputs": cursors})
        self._pending = self.inputs.handled()
        return rows

    def settle(self, batch: Batch) -> None:
        """Take note that a batch was carried out."""
        if batch.rows is None:
            return
        self._number += 1
        self._unwritten = False
        self._written = self._pending
        self.agent.stored(self._part, self._part.rows.stored())

    @property
    def unwritten(self) -> bool:
        """Whether something was handled whose rows are not stored yet."""
        return self._unwritten

    @property
    def written(self) -> dict[str, int]:
        """By topic: the offset up to which all is durable, and the input can be acknowledged."""
        return self._written

    def beat(self, now: float) -> list[Output]:
        """What to send after the outputs: how far event time has come; nothing if it has not moved since."""
        reached = self.inputs.reached()
        if reached is not None:
            reached = self.agent.reached(self._part, reached)
        if reached is None or (self.said is not None and reached <= self.said):
            return []
        self.said = reached
        return self.agent.beat(self._part, reached, now)

    def close(self) -> None:
        """Let the agent end what it began with the partition."""
        self.agent.close(self._part)

    def supply(self, wanted: Wanted, records: list[Received]) -> None:
        self.agent.supply(self._part, wanted, records)
