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
from panda_streams.domain.ledger import Portfolio, apply_booking, apply_fill, apply_prices
from panda_streams.events import Booked, Filled, Mark, Snapshot
from panda_streams.keys import Keys
from panda_streams.streams.agent import Agent, Output, Part
from panda_streams.streams.inputs import Item
from tables import read_row
from tables.portfolio import PortfolioRow

__all__ = ["PortfolioAgent", "step"]


def step(row: PortfolioRow, event: Filled | Booked | Mark) -> PortfolioRow:
    """Book a fill or a booking, or mark the open positions.

    Fills and bookings have different writers, whose records may meet in any order. A booking waits for the fills that
    its writer had heard of, so that the book takes both in risk's order.
    """
    book, fills, waiting = row.portfolio, row.fills, row.waiting
    match event:
        case Mark():
            book = apply_prices(book, event.prices, event.time)
        case Filled():
            book, fills = apply_fill(book, event.fill), fills + 1
        case Booked():
            waiting = (*waiting, event.booking)
    while waiting and waiting[0].fills <= fills:
        book, waiting = apply_booking(book, waiting[0]), waiting[1:]
    if book is row.portfolio and waiting is row.waiting:
        return row
    return row.model_copy(update={"portfolio": book, "fills": fills, "waiting": waiting, "sequence": row.sequence + 1})


def _strategy_of(event: Filled | Booked | Mark) -> str:
    match event:
        case Mark():
            return event.strategy_id
        case Filled():
            return event.fill.strategy_id
        case Booked():
            return event.booking.strategy_id


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
        event: Filled | Booked | Mark = item.event
        strategy_id = _strategy_of(event)
        before = part.rows.get(strategy_id) or self._new(strategy_id)
        row = step(before, event)
        if row is before:
            return []
        part.rows.put(strategy_id, row)
        if row.portfolio is before.portfolio:
            return []
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
            "bookings": book.bookings,
            "bookings_waiting": len(row.waiting),
            "gains": {
                year: {
                    term.value: {
                        "proceeds": f"{gain.proceeds:f}",
                        "cost": f"{gain.cost:f}",
                        "profit": f"{gain.profit:f}",
                        "charges": f"{gain.charges:f}",
                    }
                    for term, gain in gains.items()
                }
                for year, gains in book.gains.items()
            },
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
                "product": position.product,
                "quantity": position.quantity,
                "lots": len(position.lots),
                "oldest_lot": position.lots[0].opened.isoformat() if position.lots else None,
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
