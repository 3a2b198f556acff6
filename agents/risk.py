"""The risk agent. Inputs: `<ns>.signals.raw`, `<ns>.orders.updates`. Row: the account. Output: a verdict a signal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import orjson

from agents.context import Context
from agents.reading import read_signals, read_updates, risk_writer
from panda_streams.brokers.port import Broker
from panda_streams.codec import encode
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.risk.account import Reservation, order_changed, reserve
from panda_streams.domain.risk.rules import Allowance, judge
from panda_streams.domain.signals import Signal, identify
from panda_streams.errors import BadEvent
from panda_streams.events import OrderUpdate, Rejected, StageBeat, Validated
from panda_streams.keys import Keys
from panda_streams.streams.agent import Agent, Output, Part
from panda_streams.streams.inputs import Item
from panda_streams.streams.sender import partition_of
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
    produced = {
        "world": signal.world,
        "namespace": namespace,
        "signal": signal,
        "time": signal.cause.time,
        "rules": verdict.findings,
        "producer": risk_writer(),
        "sequence": row.sequence,
    }
    counted = {
        "sequence": row.sequence + 1,
        "signals": row.signals + 1,
        "time": max(row.time, signal.cause.time),
        "version": row.version + 1,
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
        validated = Validated(order_id=order_id, quantity=verdict.quantity, **produced)
        return row.model_copy(update={**counted, "account": account, "validated": row.validated + 1}), validated
    codes = tuple(rule.value for rule in verdict.refusals)
    return row.model_copy(update={**counted, **_refused(row, signal, codes)}), Rejected(codes=codes, **produced)


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
            "time": max(row.time, update.time),
            "version": row.version + 1,
        }
    )


class RiskAgent(Agent):
    """Decides for one account, in one place and one order."""

    name = "risk"

    def __init__(self, context: Context, broker: Broker) -> None:
        self._context = context
        self._broker = broker
        self.ordered = context.ordered
        self._shards = context.partitions
        self._home = partition_of(context.namespace.encode(), context.partitions)
        self._validated = context.topic("signals.validated")
        self._rejected = context.topic("signals.rejected")
        self.inputs = (
            read_signals(context.topic("signals.raw"), context.partitions),
            read_updates(context.topic("orders.updates"), context.partitions),
        )

    def load(self, key: str, data: bytes) -> RiskRow:
        return read_row(RiskRow, data)

    def step(self, part: Part, item: Item, offset: int) -> list[Output]:
        event: Signal | OrderUpdate = item.event
        namespace = self._context.namespace
        if part.partition != self._home:
            raise BadEvent(f"the account {namespace} lives on partition {self._home}: this record is on another one")
        row = part.rows.get(namespace) or RiskRow()
        if isinstance(event, OrderUpdate):
            part.rows.put(namespace, step_update(row, event))
            return []
        instrument = self._context.instruments.get(event.instrument)
        row, verdict = step_signal(row, event, namespace, self._allowance(event), instrument)
        part.rows.put(namespace, row)
        if isinstance(verdict, Rejected):
            return [Output(self._rejected, namespace.encode(), encode(verdict), part.partition)]
        # The shard of the cause is the shard of what it trades: the order meets its ticks there.
        return [Output(self._validated, event.instrument.encode(), encode(verdict), event.cause.shard)]

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
