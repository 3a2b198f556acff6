"""What execution says of a shard: each record but beats and marks under the shard's next sequence number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal

from agents.context import Context
from agents.desks.shard import Shard
from agents.reading import execution_writer
from panda_streams.codec import encode
from panda_streams.domain.broker_desk import Ask
from panda_streams.domain.brokerage import OrderRequest
from panda_streams.domain.desk import Change
from panda_streams.domain.ticks import price_of
from panda_streams.events import (
    Command,
    CommandKind,
    Counted,
    DayEnd,
    Filled,
    Mark,
    OrderUpdate,
    Prices,
    Silence,
    StageBeat,
)
from panda_streams.streams.agent import Output
from panda_streams.streams.sender import partition_of

__all__ = ["Said"]


class Said:
    """Makes the records of an account's shards. `number` is a shard's, `shard` its row, which counts what was said."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._updates = context.topic("orders.updates")
        self._filled = context.topic("orders.filled")
        self._marks = context.topic("marks")
        self._commands = context.topic("broker.commands")
        self._account = context.namespace.encode()
        self._home = partition_of(self._account, context.partitions)

    def changes(self, number: int, shard: Shard, changes: Iterable[Change]) -> list[Output]:
        """An update for each change of an order, and a fill for each that is one."""
        outputs: list[Output] = []
        for change in changes:
            sequenced = self._next(number, shard)
            order = change.order
            update = OrderUpdate(
                order_id=order.order_id,
                signal_id=order.signal_id,
                parent=order.parent,
                strategy_id=order.strategy_id,
                instrument=order.instrument,
                side=order.side,
                role=order.role,
                product=order.product,
                order_type=order.order_type,
                quantity=order.quantity,
                filled=order.filled,
                price=order.price,
                trigger=order.trigger,
                state=order.state,
                reason=change.reason,
                time=change.time,
                fill=change.fill,
                broker_id=order.broker_id,
                note=change.note,
                **sequenced,
            )
            outputs.append(self._to_account(update))
            if change.fill is not None:
                filled = Filled(fill=change.fill, **sequenced)
                outputs.append(Output(self._filled, order.strategy_id.encode(), encode(filled)))
        return outputs

    def command(self, number: int, shard: Shard, ask: Ask, request: OrderRequest | None, until: int | None) -> Output:
        """What a desk asks of the trader; `request` if an order is to be placed."""
        what = CommandKind.CANCEL if ask.cancel else CommandKind.PLACE if ask.change is None else CommandKind.MODIFY
        command = Command(
            what=what,
            order_id=ask.order.order_id,
            shard=number,
            closes=ask.order.reduces,
            request=request,
            change=ask.change,
            changes=ask.order.modified,
            time=ask.time,
            until=until,
            **self._next(number, shard),
        )
        return Output(self._commands, self._account, encode(command), self._home)

    def counted(self, number: int, shard: Shard, instrument: str, quantity: int, time: int) -> Output:
        """The books hold more, or less, without a trade: the trader of a real broker compares them with its account."""
        counted = Counted(instrument=instrument, quantity=quantity, time=time, **self._next(number, shard))
        return Output(self._commands, self._account, encode(counted), self._home)

    def prices(self, number: int, shard: Shard, moved: Mapping[str, int], time: int) -> Output:
        """Last prices, in smallest units, of what is held."""
        return self._to_account(Prices(time=time, prices=self._priced(moved), **self._next(number, shard)))

    def silence(self, number: int, shard: Shard, since: int, time: int, *, silent: bool) -> Output:
        """Ticks have stopped, or come again."""
        return self._to_account(Silence(silent=silent, since=since, time=time, **self._next(number, shard)))

    def day_end(self, number: int, shard: Shard, on: date, time: int) -> Output:
        return self._to_account(DayEnd(date=on, time=time, **self._next(number, shard)))

    def beat(self, number: int, reached: int) -> Output:
        """How far event time has come."""
        return self._to_account(StageBeat(world=self._context.world, producer=execution_writer(number), time=reached))

    def beat_to_trader(self, number: int, reached: int) -> Output:
        """How far event time has come, for the trader of a real broker."""
        beat = StageBeat(world=self._context.world, producer=execution_writer(number), time=reached)
        return Output(self._commands, self._account, encode(beat), self._home)

    def marks(self, number: int, prices: Mapping[str, Mapping[str, int]], time: int) -> Iterator[Output]:
        """A mark for each strategy; its prices, in smallest units, by instrument."""
        for strategy_id, found in prices.items():
            mark = Mark(
                world=self._context.world,
                namespace=self._context.namespace,
                strategy_id=strategy_id,
                shard=number,
                time=time,
                prices=self._priced(found),
                producer=execution_writer(number),
            )
            yield Output(self._marks, strategy_id.encode(), encode(mark))

    def _priced(self, units: Mapping[str, int]) -> dict[str, Decimal]:
        instruments = self._context.instruments
        return {name: price_of(price, instruments[name].decimals) for name, price in units.items()}

    def _next(self, number: int, shard: Shard) -> dict[str, object]:
        """What every record under a sequence carries."""
        sequence = shard.sequence
        shard.sequence += 1
        return {
            "world": self._context.world,
            "namespace": self._context.namespace,
            "producer": execution_writer(number),
            "sequence": sequence,
        }

    def _to_account(self, event: OrderUpdate | Prices | Silence | DayEnd | StageBeat) -> Output:
        return Output(self._updates, self._account, encode(event), self._home)
