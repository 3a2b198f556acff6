"""The risk agent. Inputs: `<ns>.signals.raw`, `<ns>.orders.updates`, `<ns>.audit`. Row: the account.

Outputs: a verdict a signal; bookings, and what became of operators' actions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import orjson

from agents.bookkeeping import Done, carry_out, end_day
from agents.context import Context
from agents.reading import read_actions, read_signals, read_updates, risk_writer
from panda_streams.brokers.port import Broker, Trader
from panda_streams.codec import encode
from panda_streams.domain.bookings import Booking
from panda_streams.domain.calendar import trading_date
from panda_streams.domain.contract_note import Tally
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.orders import Product, Role, Ticket, order_id
from panda_streams.domain.risk.account import Reservation, carried, order_changed, reserve
from panda_streams.domain.risk.rules import Allowance, Verdict, judge
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.signals import Signal
from panda_streams.errors import BadEvent
from panda_streams.events import (
    Action,
    Adjusted,
    Booked,
    Completed,
    DayEnd,
    OrderUpdate,
    Rejected,
    StageBeat,
    Validated,
)
from panda_streams.keys import Keys
from panda_streams.streams.agent import Agent, Output, Part
from panda_streams.streams.inputs import Item
from panda_streams.streams.sender import partition_of
from tables import read_row
from tables.risk import Refusal, RiskRow

__all__ = ["RiskAgent", "step_day_end", "step_signal", "step_update", "tickets"]

_RECENT = 20
"""Refusals that the row keeps for people to read."""


_ACTIONS = 50
"""Actions that the row remembers, so that one which comes twice is done once."""


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
    if not verdict.passed or instrument is None:
        codes = tuple(rule.value for rule in verdict.refusals)
        return row.model_copy(update={**counted, **_refused(row, signal, codes)}), Rejected(codes=codes, **produced)
    made = tickets(signal, namespace, verdict, allowance, instrument)
    reservations = {
        ticket.order_id: Reservation(
            strategy_id=signal.strategy_id,
            instrument=signal.instrument,
            side=ticket.side,
            quantity=ticket.quantity,
            hold=verdict.hold if ticket.role is Role.ENTRY else Decimal(0),
            closes=ticket.role is not Role.ENTRY,
        )
        for ticket in made
    }
    account = reserve(row.account, reservations, allowance.capital, allowance.product)
    update = {**counted, "account": account, "validated": row.validated + 1}
    return row.model_copy(update=update), Validated(tickets=made, **produced)


def tickets(
    signal: Signal, namespace: str, verdict: Verdict, allowance: Allowance, instrument: Instrument
) -> tuple[Ticket, ...]:
    """The orders that a verdict allows: what the exchange takes at once at the most, and so often."""
    made: list[Ticket] = []
    most = instrument.freeze_quantity
    most = most // instrument.lot * instrument.lot if most else None
    for part in verdict.parts:
        left, leg = part.quantity, 0
        while left > 0:
            quantity, leg = min(left, most or left), leg + 1
            ticket = Ticket(
                order_id=order_id(namespace, signal.signal_id, part.role, leg),
                role=part.role,
                side=part.side,
                quantity=quantity,
                product=carried(allowance.product, instrument),
            )
            made.append(ticket)
            left -= quantity
    return tuple(made)


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


def step_update(row: RiskRow, update: OrderUpdate, trader: Trader, instrument: Instrument | None) -> RiskRow:
    """Take in what became of an order."""
    account = order_changed(row.account, update.order_id, update.state, update.fill, instrument)
    if update.fill is not None and instrument is not None:
        day = trading_date(update.fill.time).isoformat()
        if day <= row.noted:
            # Heard of after the note of its day was posted, which happens on the wall's clock alone.
            day = trader.calendar.next_trading_day(date.fromisoformat(row.noted)).isoformat()
        tally = trader.counted(account.tallies.get(day, Tally()), update.fill, instrument)
        account = account.model_copy(update={"tallies": {**account.tallies, day: tally}})
    return row.model_copy(update={"account": account, "time": max(row.time, update.time), "version": row.version + 1})


def step_day_end(
    row: RiskRow, end: DayEnd, shards: int, namespace: str, trader: Trader
) -> tuple[RiskRow, list[Booking]]:
    """Take in that a shard's trading day has ended; once all have, post the contract note of the day.

    A day that had no end, as where a recording stops at noon, has its note with the next one's.
    """
    shard = end.producer.rpartition("/")[2]
    ended = {**row.ended, shard: end.date.isoformat()}
    row = row.model_copy(update={"ended": ended, "time": max(row.time, end.time), "version": row.version + 1})
    over = min(ended.values())
    if len(ended) < shards or over <= row.noted:
        return row, []
    account, bookings = row.account, list[Booking]()
    for day in sorted(day for day in account.tallies if day <= over):
        account, more = end_day(account, namespace, trader, date.fromisoformat(day), end.time)
        bookings += more
    return row.model_copy(update={"account": account, "noted": over}), bookings


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
        self._rejected = context.topic("signals.rejected")
        self._filled = context.topic("orders.filled")
        self._audit = context.topic("audit")
        self.inputs = (
            read_signals(context.topic("signals.raw"), context.partitions),
            read_updates(context.topic("orders.updates"), context.partitions),
            read_actions(self._audit),
        )

    def load(self, key: str, data: bytes) -> RiskRow:
        return read_row(RiskRow, data)

    def step(self, part: Part, item: Item, offset: int) -> list[Output]:
        event: Signal | OrderUpdate | DayEnd | Action = item.event
        namespace = self._context.namespace
        if part.partition != self._home:
            raise BadEvent(f"the account {namespace} lives on partition {self._home}: this record is on another one")
        row = part.rows.get(namespace) or RiskRow()
        outputs: list[Output] = []
        match event:
            case OrderUpdate():
                row = step_update(row, event, self._trader, self._context.instruments.get(event.instrument))
            case DayEnd():
                row, bookings = step_day_end(row, event, self._shards, namespace, self._trader)
                row, outputs = self._book(row, bookings)
            case Action():
                row, outputs = self._act(row, event)
            case Signal():
                instrument = self._context.instruments.get(event.instrument)
                row, verdict = step_signal(row, event, namespace, self._allowance(event, instrument), instrument)
                outputs = [self._said(verdict, part.partition)]
        part.rows.put(namespace, row)
        return outputs

    def _said(self, verdict: Validated | Rejected, home: int) -> Output:
        signal = verdict.signal
        if isinstance(verdict, Rejected):
            return Output(self._rejected, self._context.namespace.encode(), encode(verdict), home)
        # The shard of the cause is the shard of what it trades: the order meets its ticks there.
        return Output(self._validated, signal.instrument.encode(), encode(verdict), signal.cause.shard)

    def _book(self, row: RiskRow, bookings: Iterable[Booking]) -> tuple[RiskRow, list[Output]]:
        outputs = []
        for booking in bookings:
            booked = Booked(
                world=self._context.world,
                namespace=self._context.namespace,
                booking=booking,
                producer=risk_writer(),
                sequence=row.sequence,
            )
            row = row.model_copy(update={"sequence": row.sequence + 1})
            outputs.append(Output(self._filled, booking.strategy_id.encode(), encode(booked)))
        return row, outputs

    def _act(self, row: RiskRow, action: Action) -> tuple[RiskRow, list[Output]]:
        """Do what an operator wants done, once, and say what became of it."""
        context = self._context
        if action.action_id in row.actions:
            return row, []
        known = context.strategies.get(action.strategy_id or "")
        account = known.accounts.get(context.namespace) if known is not None else None
        if action.world != context.world:
            done = Done(row.account, (), f"it is for the world {action.world}, this is {context.world}", done=False)
        elif action.instrument is not None and action.instrument not in context.instruments:
            done = Done(row.account, (), f"{action.instrument} is not in the list of instruments", done=False)
        else:
            halted = context.levels.halted(context.namespace) is not None
            capital = account.capital if account is not None else Decimal(0)
            done = carry_out(row.account, action, capital, row.time, halted=halted)
        row = row.model_copy(
            update={
                "account": done.account,
                "actions": (*row.actions, action.action_id)[-_ACTIONS:],
                "version": row.version + 1,
            }
        )
        row, outputs = self._book(row, done.bookings)
        if done.bookings and action.instrument is not None and action.ratio is not None:
            adjusted = Adjusted(
                world=context.world,
                namespace=context.namespace,
                instrument=action.instrument,
                ratio=action.ratio,
                time=row.time,
                producer=risk_writer(),
                sequence=row.sequence,
            )
            row = row.model_copy(update={"sequence": row.sequence + 1})
            shard = self._map.shards(action.instrument)[0]
            outputs.append(Output(self._validated, action.instrument.encode(), encode(adjusted), shard))
        completed = Completed(
            world=context.world,
            namespace=context.namespace,
            action_id=action.action_id,
            done=done.done,
            detail=done.detail,
            time=row.time,
            producer=risk_writer(),
            sequence=row.sequence,
        )
        outputs.append(Output(self._audit, context.namespace.encode(), encode(completed), self._home))
        return row.model_copy(update={"sequence": row.sequence + 1}), outputs

    def _allowance(self, signal: Signal, instrument: Instrument | None) -> Allowance:
        namespace = self._context.namespace
        config = self._context.strategies.get(signal.strategy_id)
        listed = config is not None and namespace in config.brokers and config.version == signal.config
        halted = self._context.levels.halted(namespace) is not None
        if config is None or namespace not in config.accounts:
            return Allowance.nothing(halted=halted)
        account, today = config.accounts[namespace], trading_date(signal.cause.time)
        return Allowance(
            listed=listed,
            consented=not self._broker.live or config.consents.get(namespace, False),
            halted=halted,
            capital=account.capital,
            share_of_capital=account.share_of_capital,
            max_position=account.max_position,
            product=account.product,
            shorts=account.shorts,
            btst=account.btst,
            max_quote_age_ms=1000 * account.max_quote_age_s,
            entries=self._entries(instrument, account.product, signal.cause.time),
            today=today,
            settled_before=self._trader.calendar.previous_trading_day(today),
        )

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
