"""What the trader says: each record but beats under the account's next sequence number."""

from __future__ import annotations

from agents.context import Context
from agents.reading import trader_writer
from panda_streams.codec import encode
from panda_streams.domain.brokerage import BrokerOrder, Word
from panda_streams.domain.callbook import Stranger
from panda_streams.domain.risk.modes import Mode
from panda_streams.domain.signals import identify
from panda_streams.events import Action, ActionKind, OrderReport, StageBeat, StrangerReport
from panda_streams.streams.agent import Output
from panda_streams.streams.sender import partition_of

__all__ = ["Said"]


class Said:
    """Collects what one micro-batch of the trader says; `sequence` is the next number, `clock` the last beat's time.

    Nothing that is said is stamped at or before the last beat.
    """

    def __init__(self, context: Context, sequence: int, clock: int) -> None:
        self._context = context
        self._clock = clock
        self.sequence = sequence
        self.outputs: list[Output] = []

    def report(self, order_id: str, instrument: str, shard: int, word: Word) -> None:
        report = OrderReport(
            order_id=order_id,
            instrument=instrument,
            word=word,
            time=max(word.time, self._clock + 1),
            **self._next(),
        )
        self._to_shard(instrument, shard, report)

    def stranger(self, stranger: Stranger, shard: int) -> None:
        report = StrangerReport(stranger=stranger, time=max(stranger.time, self._clock + 1), **self._next())
        self._to_shard(stranger.instrument, shard, report)

    def stop(self, cause: str, mode: Mode, at: int, reason: str) -> None:
        """Have the arm stopped, once for each cause."""
        context = self._context
        action = Action(
            world=context.world,
            namespace=context.namespace,
            action_id=identify("stop", context.namespace, cause),
            what=ActionKind.STOP,
            mode=mode,
            who=trader_writer(),
            at=at,
            reason=reason,
        )
        key = context.namespace.encode()
        self.outputs.append(Output(context.topic("audit"), key, encode(action), partition_of(key, context.partitions)))

    def quarantined(self, order: BrokerOrder, at: int) -> None:
        """An order with our label that no book explains."""
        reason = (
            f"the broker's order {order.broker_id} ({order.side} {order.quantity} {order.instrument}, {order.status}, "
            f"label {order.tag}) is of this account's making, and no book of the arm has it"
        )
        self.stop(f"quarantine/{order.broker_id}", Mode.HALTED, at, reason)

    def beat(self, reached: int) -> list[Output]:
        context = self._context
        value = encode(StageBeat(world=context.world, producer=trader_writer(), time=reached))
        return [Output(context.topic("broker.reports"), b"beat", value, n) for n in range(context.partitions)]

    def _to_shard(self, instrument: str, shard: int, event: OrderReport | StrangerReport) -> None:
        self.outputs.append(Output(self._context.topic("broker.reports"), instrument.encode(), encode(event), shard))

    def _next(self) -> dict[str, object]:
        sequence = self.sequence
        self.sequence += 1
        return {
            "world": self._context.world,
            "namespace": self._context.namespace,
            "producer": trader_writer(),
            "sequence": sequence,
        }
