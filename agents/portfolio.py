"""The portfolio agent. Inputs: `<ns>.orders.filled`, `<ns>.marks`. Row: one a strategy. Output: a snapshot a change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import orjson

from agents.context import Context
from agents.reading import read_fills, read_marks
from panda_streams.brokers.port import Broker
from panda_streams.codec import encode
from panda_streams.domain.ledger import Portfolio, apply_fill, apply_prices
from panda_streams.events import Filled, Mark, Snapshot
from panda_streams.keys import Keys
from panda_streams.streams.agent import Agent, Output, Part
from panda_streams.streams.inputs import Item
from tables import read_row
from tables.portfolio import PortfolioRow

__all__ = ["PortfolioAgent", "step"]


def step(row: PortfolioRow, event: Filled | Mark) -> PortfolioRow:
    """Book a fill, or mark the open positions."""
    book = row.portfolio
    match event:
        case Mark():
            changed = apply_prices(book, event.prices, event.time)
        case Filled():
            changed = apply_fill(book, event.fill)
    if changed is book:
        return row
    return row.model_copy(update={"portfolio": changed, "sequence": row.sequence + 1})


class PortfolioAgent(Agent):
    """Keeps the book of each strategy of this worker's partitions."""

    name = "portfolio"

    def __init__(self, context: Context, broker: Broker) -> None:
        self._context = context
        self._broker = broker
        self._snapshots = context.topic("portfolio.snapshots")
        self.inputs = (
            read_fills(context.topic("orders.filled"), context.partitions),
            read_marks(context.topic("marks"), context.partitions),
        )

    def load(self, key: str, data: bytes) -> PortfolioRow:
        return read_row(PortfolioRow, data)

    def step(self, part: Part, item: Item, offset: int) -> list[Output]:
        event: Filled | Mark = item.event
        strategy_id = event.strategy_id if isinstance(event, Mark) else event.fill.strategy_id
        before = part.rows.get(strategy_id) or self._new(strategy_id)
        row = step(before, event)
        if row is before:
            return []
        part.rows.put(strategy_id, row)
        if isinstance(event, Mark) and row.portfolio.unrealised == before.portfolio.unrealised:
            return []
        return [Output(self._snapshots, self._context.namespace.encode(), encode(self._snapshot(row)))]

    def _new(self, strategy_id: str) -> PortfolioRow:
        """The book of a strategy that had none. One that is configured no more still has its fills booked."""
        config = self._context.strategies.get(strategy_id)
        account = config.accounts.get(self._context.namespace) if config is not None else None
        return PortfolioRow(portfolio=Portfolio.open(strategy_id, account.capital if account else Decimal(0)))

    def stored(self, part: Part, rows: Mapping[str, Any]) -> None:
        for row in rows.values():
            self._mirror(row)

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

    def mirror(self, rows: Iterable[tuple[bytes, bytes]]) -> Iterable[None]:
        """Write this worker's part of the mirror again, a row at a time."""
        for _, value in rows:
            self._mirror(read_row(PortfolioRow, value))
            yield

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
