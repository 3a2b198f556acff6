"""The risk agent. Inputs: `<ns>.signals.raw`, `<ns>.orders.updates`. Row: the account. Output: a verdict a signal."""

from __future__ import annotations

from decimal import Decimal

import orjson

from agents.context import Context
from panda_streams.brokers.port import Broker
from panda_streams.codec import decode, encode
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.risk.account import Reservation, order_changed, reserve
from panda_streams.domain.risk.rules import Allowance, judge
from panda_streams.domain.signals import Signal, identify
from panda_streams.events import OrderUpdate, Rejected, Validated
from panda_streams.keys import Keys
from panda_streams.streams.loop import Output, Record
from panda_streams.streams.rows import LogTable
from tables import read_row
from tables.risk import Refusal, RiskRow

__all__ = ["RiskAgent", "step_signal", "step_update"]

_RECENT = 20
"""Refusals that the row keeps for people to read."""


def step_signal(
    row: RiskRow, signal: Signal, namespace: str, allowance: Allowance, instrument: Instrument | None
) -> tuple[RiskRow, Validated | Rejected]:
    """Judge a signal; reserve what a validated one may take."""
    verdict = judge(row.account, signal, allowance, instrument)
    produced = {"producer": f"risk/{namespace}", "sequence": row.sequence, "rules": verdict.findings}
    counted = {
        "heard": {**row.heard, signal.producer: signal.sequence},
        "sequence": row.sequence + 1,
        "signals": row.signals + 1,
        "time": max(row.time, signal.cause.time),
    }
    if verdict.quantity:
        order_id = identify("order", namespace, signal.signal_id, "main", 1)
        reservation = Reservation(
            strategy_id=signal.strategy_id,
            instrument=signal.instrument,
            side=signal.side,
            quantity=verdict.quantity,
            price=verdict.price or Decimal(0),  # only an exit can lack one, and it holds back shares, not cash
        )
        account = reserve(row.account, order_id, reservation, allowance.capital)
        validated = Validated(
            world=signal.world,
            namespace=namespace,
            signal=signal,
            order_id=order_id,
            quantity=verdict.quantity,
            **produced,
        )
        changed = {**counted, "account": account, "validated": row.validated + 1, "said": validated}
        return row.model_copy(update=changed), validated
    codes = tuple(rule.value for rule in verdict.refusals)
    rejected = Rejected(world=signal.world, namespace=namespace, signal=signal, codes=codes, **produced)
    return row.model_copy(update={**counted, **_refused(row, signal, codes), "said": rejected}), rejected


def _refused(row: RiskRow, signal: Signal, codes: tuple[str, ...]) -> dict[str, object]:
    refusals = dict(row.refusals)
    for code in codes:
        refusals[code] = refusals.get(code, 0) + 1
    refusal = Refusal(
        signal_id=signal.signal_id,
        strategy_id=signal.strategy_id,
        instrument=signal.instrument,
        codes=codes,
        time=signal.cause.time,
    )
    return {"rejected": row.rejected + 1, "refusals": refusals, "recent": (refusal, *row.recent)[:_RECENT]}


def step_update(row: RiskRow, update: OrderUpdate) -> RiskRow:
    """Take in what became of an order."""
    return row.model_copy(
        update={
            "account": order_changed(row.account, update.order_id, update.state, update.fill),
            "heard": {**row.heard, update.producer: update.sequence},
            "time": max(row.time, update.time),
        }
    )


class RiskAgent:
    """Decides for one account, in one place and one order."""

    def __init__(self, context: Context, table: LogTable, broker: Broker) -> None:
        self._context = context
        self._table = table
        self._broker = broker
        self._raw = context.topic("signals.raw")
        self._updates = context.topic("orders.updates")
        self._key = context.namespace.encode()
        self._resumed = False

    @property
    def topics(self) -> list[str]:
        return [self._raw, self._updates]

    def forget(self) -> None:
        """Say the last verdict again before anything new: whoever wrote the row may have died before it was sent."""
        self._resumed = False

    async def handle(self, record: Record) -> int | None:
        event: Signal | OrderUpdate
        event = decode(Signal, record.value) if record.topic == self._raw else decode(OrderUpdate, record.value)
        row = self._row()
        if not self._resumed:
            await self._context.loop.send([self._output(row.said)] if row.said else [])
            self._resumed = True
        seen = record.offset <= row.applied.get(record.topic, -1)
        if seen or event.sequence <= row.heard.get(event.producer, -1):
            return None
        outputs = []
        if isinstance(event, Signal):
            instrument = self._context.instruments.get(event.instrument)
            row, verdict = step_signal(row, event, self._context.namespace, self._allowance(event), instrument)
            outputs.append(self._output(verdict))
        else:
            row = step_update(row, event)
        applied = {**row.applied, record.topic: record.offset}
        row = row.model_copy(update={"applied": applied, "version": row.version + 1})
        await self._context.loop.write(self._table, {self._key: row.model_dump_json().encode()})
        await self._context.loop.send(outputs)
        self._mirror(row)
        return event.cause.time if isinstance(event, Signal) else event.time

    def _row(self) -> RiskRow:
        stored = self._table.get(self._key)
        return read_row(RiskRow, stored) if stored else RiskRow()

    def _allowance(self, signal: Signal) -> Allowance:
        namespace = self._context.namespace
        config = self._context.strategies.get(signal.strategy_id)
        listed = config is not None and namespace in config.brokers and config.version == signal.config
        halted = self._context.levels.halted(namespace) is not None
        if config is None or namespace not in config.accounts:
            return Allowance.nothing(halted=halted)
        account = config.accounts[namespace]
        return Allowance(
            listed=listed,
            consented=not self._broker.live or config.consents.get(namespace, False),
            halted=halted,
            capital=account.capital,
            share_of_capital=account.share_of_capital,
            max_position=account.max_position,
        )

    def _output(self, verdict: Validated | Rejected) -> Output:
        if isinstance(verdict, Validated):
            # The shard of the cause is the shard of what it trades: the order meets its ticks there.
            shard = verdict.signal.cause.shard
            return Output(
                self._context.topic("signals.validated"), verdict.signal.instrument.encode(), encode(verdict), shard
            )
        return Output(self._context.topic("signals.rejected"), self._key, encode(verdict))

    def mirror_rows(self) -> None:
        """Write this worker's part of the mirror again: the account, if its partition is here."""
        if self._table.get(self._key) is not None:
            self._mirror(self._row())

    def _mirror(self, row: RiskRow) -> None:
        halted = self._context.levels.halted(self._context.namespace)
        view = {
            "mode": "HALTED" if halted else "ACTIVE",
            "mode_reason": f"{halted.reason} ({halted.who})" if halted else "",
            "cash": str(sum(book.cash for book in row.account.books.values())),
            "signals": row.signals,
            "validated": row.validated,
            "rejected": row.rejected,
            "refusals": row.refusals,
            "recent_refusals": [refusal.model_dump() for refusal in row.recent],
            "time": row.time,
            "at": self._context.now_ms(),
        }
        self._context.mirror.put(Keys(self._context.namespace).risk, orjson.dumps(view), version=row.version)
