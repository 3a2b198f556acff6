"""The portfolio agent. Inputs: `<ns>.orders.filled`, `<ns>.marks`. Row: one a strategy. Output: a snapshot a change."""

from __future__ import annotations

import orjson

from agents.context import Context
from panda_streams.brokers.port import Broker
from panda_streams.codec import decode, encode
from panda_streams.domain.ledger import Portfolio, apply_fill, apply_prices
from panda_streams.errors import BadEvent
from panda_streams.events import Filled, Mark, Snapshot
from panda_streams.keys import Keys
from panda_streams.streams.loop import Output, Record
from panda_streams.streams.rows import LogTable
from tables import read_row
from tables.portfolio import PortfolioRow

__all__ = ["PortfolioAgent", "step"]


def step(row: PortfolioRow, event: Filled | Mark) -> PortfolioRow:
    """Book a fill or mark the open positions; a repeated fill changes nothing."""
    if isinstance(event, Mark):
        return row.model_copy(update={"portfolio": apply_prices(row.portfolio, event.prices, event.time)})
    if event.sequence <= row.heard.get(event.producer, -1):
        return row
    return row.model_copy(
        update={
            "portfolio": apply_fill(row.portfolio, event.fill),
            "heard": {**row.heard, event.producer: event.sequence},
        }
    )


class PortfolioAgent:
    """Keeps the book of each strategy of this worker's partitions."""

    def __init__(self, context: Context, table: LogTable, broker: Broker) -> None:
        self._context = context
        self._table = table
        self._broker = broker
        self._filled = context.topic("orders.filled")
        self._marks = context.topic("marks")

    @property
    def topics(self) -> list[str]:
        return [self._filled, self._marks]

    def forget(self) -> None:
        """Nothing is held in memory."""

    async def handle(self, record: Record) -> int | None:
        event: Filled | Mark
        if record.topic == self._filled:
            event = decode(Filled, record.value)
            strategy_id, at = event.fill.strategy_id, event.fill.time
        else:
            event = decode(Mark, record.value)
            strategy_id, at = event.strategy_id, event.time
        row = self._row(strategy_id)
        if record.offset <= row.applied.get(record.topic, -1):
            return at
        before = row.portfolio
        row = step(row, event)
        if row.portfolio is before:
            return at
        applied = {**row.applied, record.topic: record.offset}
        row = row.model_copy(update={"applied": applied, "sequence": row.sequence + 1})
        context = self._context
        outputs = [
            Output(context.topic("portfolio.snapshots"), context.namespace.encode(), encode(self._snapshot(row)))
        ]
        # A snapshot that a crash makes differ from the one before is only looked at: no book is folded from it.
        await context.loop.send(outputs)
        await context.loop.write(self._table, {strategy_id.encode(): row.model_dump_json().encode()})
        self._mirror(row)
        return at

    def _row(self, strategy_id: str) -> PortfolioRow:
        stored = self._table.get(strategy_id.encode())
        if stored:
            return read_row(PortfolioRow, stored)
        config = self._context.strategies.get(strategy_id)
        if config is None or self._context.namespace not in config.accounts:
            raise BadEvent(f"strategy {strategy_id} has no account at {self._context.namespace} in its configuration")
        account = config.accounts[self._context.namespace]
        return PortfolioRow(portfolio=Portfolio.open(strategy_id, account.capital))

    def _snapshot(self, row: PortfolioRow) -> Snapshot:
        book = row.portfolio
        return Snapshot(
            world=self._context.world,
            namespace=self._context.namespace,
            strategy_id=book.strategy_id,
            time=book.time,
            capital=book.capital,
            cash=book.cash,
            realised=book.realised,
            unrealised=book.unrealised,
            charges=book.charges,
            producer=f"portfolio/{book.strategy_id}",
            sequence=row.sequence,
        )

    def mirror_rows(self) -> None:
        """Write this worker's part of the mirror again."""
        for _, value in self._table.rows():
            self._mirror(read_row(PortfolioRow, value))

    def _mirror(self, row: PortfolioRow) -> None:
        context, book = self._context, row.portfolio
        keys, at = Keys(context.namespace), context.now_ms()
        view = {
            "world": context.world,
            "namespace": context.namespace,
            "strategy_id": book.strategy_id,
            "currency": self._broker.currency,
            "simulated": context.identity.world.simulated,
            "capital": f"{book.capital:f}",
            "cash": f"{book.cash:f}",
            "realised": f"{book.realised:f}",
            "unrealised": f"{book.unrealised:f}",
            "charges": f"{book.charges:f}",
            "equity": f"{book.equity:f}",
            "positions": sum(1 for position in book.positions.values() if position.quantity),
            "fills": book.fills,
            "time": book.time,
            "at": at,
            "version": row.sequence,
        }
        context.mirror.put(keys.portfolio(book.strategy_id), orjson.dumps(view), version=row.sequence)
        context.mirror.add(keys.portfolios, book.strategy_id)
        for position in book.positions.values():
            average, last = position.average_price, position.last_price
            place = {
                "instrument": position.instrument,
                "quantity": position.quantity,
                "average_price": None if average is None else f"{average:.4f}",
                "last_price": None if last is None else f"{last:f}",
                "realised": f"{position.realised:f}",
                "unrealised": f"{position.unrealised:f}",
                "time": position.priced_at,
                "at": at,
            }
            key = keys.position(book.strategy_id, position.instrument)
            context.mirror.put(key, orjson.dumps(place), version=row.sequence)
            context.mirror.add(keys.positions(book.strategy_id), position.instrument)
