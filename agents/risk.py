"""The risk agent. Inputs: `<ns>.signals.raw`, `<ns>.orders.updates`, `<ns>.audit`. Row: the account.

Outputs: a verdict a signal; bookings, stops, and what became of operators' actions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import orjson

from agents.account.handovers import finish_handover
from agents.account.limits import LimitsNow
from agents.account.operators import act, finish_flattening, give_up_flattening
from agents.account.said import Said
from agents.account.steps import step_day_end, step_moment, step_prices, step_signal, step_silence, step_update
from agents.context import Context
from agents.reading import FEEDBACK_MS, read_actions, read_signals, read_updates, risk_writer
from panda_streams.brokers.port import Broker, Trader
from panda_streams.codec import encode
from panda_streams.domain.calendar import trading_date
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.orders import UNATTRIBUTED, Product
from panda_streams.domain.risk.account import valued
from panda_streams.domain.risk.limits import ACCOUNT, strategy_level
from panda_streams.domain.risk.modes import Mode
from panda_streams.domain.risk.rules import Allowance
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.signals import Signal
from panda_streams.errors import BadEvent
from panda_streams.events import Action, DayEnd, OrderUpdate, Prices, Silence, StageBeat
from panda_streams.keys import Keys
from panda_streams.streams.agent import Agent, Output, Part
from panda_streams.streams.inputs import Item
from panda_streams.streams.sender import partition_of
from tables import read_row
from tables.risk import RiskRow

__all__ = ["RiskAgent"]


class RiskAgent(Agent):
    """Decides for one account, in one place and one order."""

    name = "risk"

    def __init__(self, context: Context, broker: Broker, trader: Trader, shards: ShardMap) -> None:
        self._context = context
        self._broker = broker
        self._trader = trader
        self._map = shards
        self.ordered = context.ordered
        self._shards = context.partitions
        self._home = partition_of(context.namespace.encode(), context.partitions)
        self._validated = context.topic("signals.validated")
        self._limits = LimitsNow()
        self._capitals = {
            strategy_id: config.accounts[context.namespace].capital
            for strategy_id, config in context.strategies.items()
            if context.namespace in config.accounts
        }
        self.inputs = (
            read_signals(context.topic("signals.raw"), context.partitions),
            read_updates(context.topic("orders.updates"), context.partitions),
            read_actions(context.topic("audit")),
        )

    def load(self, key: str, data: bytes) -> RiskRow:
        return read_row(RiskRow, data)

    def step(self, part: Part, item: Item, offset: int) -> list[Output]:
        event: Signal | OrderUpdate | Prices | Silence | DayEnd | Action = item.event
        namespace = self._context.namespace
        if part.partition != self._home:
            raise BadEvent(f"the account {namespace} lives on partition {self._home}: this record is on another one")
        row = part.rows.get(namespace) or RiskRow()
        said = Said(self._context, row.sequence)
        if not isinstance(event, Action):
            row = self._come_to(row, event, said)
        match event:
            case OrderUpdate():
                row = step_update(row, event, self._trader, self._context.instruments.get(event.instrument))
                row = finish_flattening(give_up_flattening(row, event, said), said)
                row = finish_handover(row, event, said)
            case Prices():
                row = step_prices(row, event)
            case Silence():
                row, latches = step_silence(row, event, self._shards, self._limits.now(self._context).limits.account)
                for latch in latches:
                    said.stopped(latch)
            case DayEnd():
                row, bookings = step_day_end(row, event, self._shards, namespace, self._trader)
                said.book(bookings)
            case Action():
                row = act(row, event, self._context, self._map, said)
            case Signal():
                instrument = self._context.instruments.get(event.instrument)
                row = row.model_copy(update={"sequence": said.sequence})
                row, verdict = step_signal(row, event, namespace, self._allowance(row, event, instrument), instrument)
                said.verdict(verdict)
        part.rows.put(namespace, row.model_copy(update={"sequence": said.sequence}))
        return said.outputs

    def _come_to(self, row: RiskRow, event: Signal | OrderUpdate | Prices | Silence | DayEnd, said: Said) -> RiskRow:
        """Come to the moment at which an event acts, and say what stops the arm by then."""
        time = event.cause.time if isinstance(event, Signal) else event.time
        acts = time if isinstance(event, Signal) else time + FEEDBACK_MS
        row, latches = step_moment(
            row, acts, trading_date(time), self._limits.now(self._context).losses, self._capitals
        )
        for latch in latches:
            said.stopped(latch)
        return row

    def _allowance(self, row: RiskRow, signal: Signal, instrument: Instrument | None) -> Allowance:
        context, namespace = self._context, self._context.namespace
        config = context.strategies.get(signal.strategy_id)
        listed = config is not None and namespace in config.brokers and config.version == signal.config
        mode, reason = self._mode(row, strategy_level(signal.strategy_id))
        if config is None or namespace not in config.accounts:
            return Allowance.nothing(mode)
        account, today = config.accounts[namespace], trading_date(signal.cause.time)
        limits = self._limits.now(self._context)
        return Allowance(
            listed=listed,
            consented=not self._broker.live
            or config.consents_to(namespace, simulated=context.identity.world.simulated),
            mode=mode,
            mode_reason=reason,
            paused=context.levels.paused(signal.strategy_id) is not None,
            capital=account.capital,
            share_of_capital=account.share_of_capital,
            product=account.product,
            shorts=account.shorts,
            btst=account.btst,
            protected=not self._broker.live or account.market_protection is not None,
            entries=self._entries(instrument, account.product, signal.cause.time),
            today=today,
            settled_before=self._trader.calendar.previous_trading_day(today),
            now=row.time,
            order=limits.order(signal.strategy_id, signal.instrument),
            totals=limits.totals(signal.strategy_id, signal.instrument),
        )

    def _mode(self, row: RiskRow, level: str = ACCOUNT) -> tuple[Mode, str]:
        """The strictest of what operators have set and of the stops that the arm has put itself in, and why."""
        mode, said = self._context.levels.mode(self._context.namespace)
        reason = f"{said.reason} ({said.who})" if said is not None else ""
        for latch in row.latches:
            if latch.level in (ACCOUNT, level) and latch.mode.rank > mode.rank:
                mode, reason = latch.mode, f"{latch.reason}: {latch.detail}"
        return mode, reason

    def _entries(self, instrument: Instrument | None, product: Product, time: int) -> tuple[int, int] | None:
        """When an instrument may be entered on the day of `time`."""
        session = self._trader.session(instrument, time) if instrument is not None else None
        if session is None:
            return None
        until = session.square_off if product is Product.MIS else None
        return session.opens, session.closes if until is None else until

    def beat(self, part: Part, reached: int, now: float) -> list[Output]:
        value = encode(StageBeat(world=self._context.world, producer=risk_writer(), time=reached))
        return [Output(self._validated, b"beat", value, shard) for shard in range(self._shards)]

    def stored(self, part: Part, rows: Mapping[str, Any]) -> None:
        for row in rows.values():
            self._mirror(row)

    def mirror(self, rows: Iterable[tuple[bytes, bytes]]) -> Iterable[None]:
        """Write this worker's part of the mirror again: the account, if its partition is here."""
        for _, value in rows:
            self._mirror(read_row(RiskRow, value))
            yield

    def _mirror(self, row: RiskRow) -> None:
        mode, reason = self._mode(row)
        view = {
            "mode": mode,
            "mode_reason": reason,
            "stops": [latch.model_dump() for latch in row.latches],
            "day": {"date": row.day.date, "orders": row.day.orders.get(ACCOUNT, 0), **self._worth(row)},
            "cash": str(sum(book.cash for name, book in row.account.books.items() if name != UNATTRIBUTED)),
            "signals": row.signals,
            "validated": row.validated,
            "rejected": row.rejected,
            "refusals": row.refusals,
            "recent_refusals": [refusal.model_dump() for refusal in row.recent],
            "time": row.time,
            "at": self._context.now_ms(),
        }
        self._context.mirror.put(Keys(self._context.namespace).risk, orjson.dumps(view), version=row.version)

    def _worth(self, row: RiskRow) -> dict[str, str]:
        """The account's equity, and what it has won or lost since the day began."""
        books = valued(row.account.books, row.account.prices)
        # As where losses are looked at: a book that was opened today began with its capital.
        start = sum(
            (
                row.day.start.get(name, self._capitals.get(name, worth.equity))
                for name, worth in books.of.items()
                if name != UNATTRIBUTED
            ),
            Decimal(0),
        )
        return {"equity": f"{books.total.equity:f}", "profit": f"{books.total.equity - start:f}"}
