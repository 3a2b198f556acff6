"""What risk says: each record under the account's next sequence number."""

from __future__ import annotations

from collections.abc import Iterable

from agents.context import Context
from agents.reading import risk_writer
from panda_streams.codec import encode
from panda_streams.domain.bookings import Booking
from panda_streams.domain.corporate_actions import Ratio
from panda_streams.domain.risk.modes import Latch
from panda_streams.events import Action, Adjusted, Booked, Completed, Flatten, Handover, Rejected, Stopped, Validated
from panda_streams.streams.agent import Output
from panda_streams.streams.sender import partition_of

__all__ = ["Said"]


class Said:
    """Collects what one step of risk says; `sequence` is the next number."""

    def __init__(self, context: Context, sequence: int) -> None:
        self._context = context
        self.sequence = sequence
        self.outputs: list[Output] = []

    def verdict(self, verdict: Validated | Rejected) -> None:
        """A verdict, which has taken the next number already."""
        context, signal = self._context, verdict.signal
        if isinstance(verdict, Rejected):
            output = Output(context.topic("signals.rejected"), *self._home(verdict))
        else:
            # The shard of the cause is the shard of what it trades: the order meets its ticks there.
            topic = context.topic("signals.validated")
            output = Output(topic, signal.instrument.encode(), encode(verdict), signal.cause.shard)
        self.sequence += 1
        self.outputs.append(output)

    def book(self, bookings: Iterable[Booking]) -> None:
        for booking in bookings:
            booked = Booked(booking=booking, **self._next())
            topic = self._context.topic("orders.filled")
            self.outputs.append(Output(topic, booking.strategy_id.encode(), encode(booked)))

    def stopped(self, latch: Latch) -> None:
        self._audit(Stopped(latch=latch, **self._next()))

    def completed(self, action_id: str, time: int, detail: str, *, done: bool) -> None:
        self._audit(Completed(action_id=action_id, done=done, detail=detail, time=time, **self._next()))

    def adjusted(self, instrument: str, ratio: Ratio, shard: int, time: int) -> None:
        adjusted = Adjusted(instrument=instrument, ratio=ratio, time=time, **self._next())
        topic = self._context.topic("signals.validated")
        self.outputs.append(Output(topic, instrument.encode(), encode(adjusted), shard))

    def handover(self, action: Action, instrument: str, shard: int, time: int) -> None:
        """The command to the instrument's shard."""
        handover = Handover(
            action_id=action.action_id,
            instrument=instrument,
            strategy_id=action.strategy_id,
            time=time,
            **self._next(),
        )
        topic = self._context.topic("signals.validated")
        self.outputs.append(Output(topic, instrument.encode(), encode(handover), shard))

    def flatten(self, action_id: str, time: int) -> None:
        """The command to every shard."""
        topic = self._context.topic("signals.validated")
        for shard in range(self._context.partitions):
            flatten = Flatten(action_id=action_id, time=time, **self._next())
            self.outputs.append(Output(topic, b"flatten", encode(flatten), shard))

    def _next(self) -> dict[str, object]:
        """What every record of risk carries."""
        context, sequence = self._context, self.sequence
        self.sequence += 1
        return {
            "world": context.world,
            "namespace": context.namespace,
            "producer": risk_writer(),
            "sequence": sequence,
        }

    def _audit(self, event: Completed | Stopped) -> None:
        self.outputs.append(Output(self._context.topic("audit"), *self._home(event)))

    def _home(self, event: Rejected | Completed | Stopped) -> tuple[bytes, bytes, int]:
        """Key, value and partition of a record that belongs to the account."""
        key = self._context.namespace.encode()
        return key, encode(event), partition_of(key, self._context.partitions)
