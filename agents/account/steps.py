"""What an event does to the account's row: the steps of risk, functions of the row and the event alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from agents.account.bookkeeping import end_day
from agents.reading import risk_writer
from panda_streams.brokers.port import Trader
from panda_streams.domain.bookings import Booking
from panda_streams.domain.calendar import trading_date
from panda_streams.domain.contract_note import Tally
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.orders import OrderState, Role, Ticket, order_id
from panda_streams.domain.risk.account import Reservation, carried, order_changed, reserve
from panda_streams.domain.risk.limits import ACCOUNT, TotalLimits, levels_of
from panda_streams.domain.risk.modes import Latch, StopReason
from panda_streams.domain.risk.rules import Allowance, Finding, Verdict, judge
from panda_streams.domain.risk.watch import allowed, breaches, counted, rolled
from panda_streams.domain.signals import Signal
from panda_streams.events import DayEnd, OrderUpdate, Prices, Rejected, Silence, Validated
from tables.risk import Refusal, RiskRow

__all__ = ["step_day_end", "step_moment", "step_prices", "step_signal", "step_silence", "step_update", "tickets"]

_RECENT = 20
"""Refusals that the row keeps for people to read: some hundred bytes each, for the row is written at every event."""
_FINDINGS, _FINDING_LENGTH = 4, 80
"""Of each of them: findings, and their characters. `<ns>.signals.rejected` has all."""


def step_moment(
    row: RiskRow, time: int, on: date, totals: Mapping[str, TotalLimits], capitals: Mapping[str, Decimal]
) -> tuple[RiskRow, list[Latch]]:
    """Come to the event time at which a record acts, on a trading date; returns the stops that this brings.

    Losses are looked at once all that acts at one moment has acted, never between. `totals` are the limits of the
    account and of strategies, by level, `capitals` what each strategy was given.
    """
    latches: list[Latch] = []
    day, moment = row.day, max(row.moment, time)
    if time > row.moment:
        day, found = breaches(day, row.account, totals, capitals, row.moment, len(row.unknown))
        known = {(latch.reason, latch.level) for latch in row.latches}
        latches = [latch for latch in found if (latch.reason, latch.level) not in known]
    day = rolled(day, row.account, on)
    if day is row.day and moment == row.moment and not latches:
        return row, []
    return row.model_copy(update={"day": day, "moment": moment, "latches": (*row.latches, *latches)}), latches


def step_signal(
    row: RiskRow, signal: Signal, namespace: str, allowance: Allowance, instrument: Instrument | None
) -> tuple[RiskRow, Validated | Rejected]:
    """Judge a signal; reserve what a validated one may take."""
    verdict = judge(row.account, row.day, signal, allowance, instrument)
    produced = {
        "world": signal.world,
        "namespace": namespace,
        "signal": signal,
        "time": signal.cause.time,
        "rules": verdict.findings,
        "producer": risk_writer(),
        "sequence": row.sequence,
    }
    counts = {
        "sequence": row.sequence + 1,
        "signals": row.signals + 1,
        "time": max(row.time, signal.cause.time),
        "version": row.version + 1,
    }
    if not verdict.passed or instrument is None:
        codes = tuple(rule.value for rule in verdict.refusals)
        refused = _refused(row, signal, codes, verdict.findings)
        return row.model_copy(update={**counts, **refused}), Rejected(codes=codes, **produced)
    made = tickets(signal, namespace, verdict, allowance, instrument)
    reservations = {
        ticket.order_id: Reservation(
            strategy_id=signal.strategy_id,
            instrument=signal.instrument,
            side=ticket.side,
            quantity=ticket.quantity,
            hold=verdict.hold if ticket.role is Role.ENTRY else Decimal(0),
            closes=ticket.role is not Role.ENTRY,
            price=verdict.price or Decimal(0),
        )
        for ticket in made
    }
    account = reserve(row.account, reservations, allowance.capital, allowance.product)
    window = allowance.order.duplicate_window_s
    day = allowed(row.day, signal, len(made), None if window is None else int(1000 * window))
    update = {**counts, "account": account, "day": day, "validated": row.validated + 1}
    return row.model_copy(update=update), Validated(tickets=made, **produced)


def tickets(
    signal: Signal, namespace: str, verdict: Verdict, allowance: Allowance, instrument: Instrument
) -> tuple[Ticket, ...]:
    """The orders that a verdict allows: what the exchange takes at once at the most, and so often."""
    return tuple(
        Ticket(
            order_id=order_id(namespace, signal.signal_id, part.role, leg),
            role=part.role,
            side=part.side,
            quantity=quantity,
            product=carried(allowance.product, instrument),
        )
        for part in verdict.parts
        for leg, quantity in enumerate(instrument.cut(part.quantity), 1)
    )


def _refused(row: RiskRow, signal: Signal, codes: tuple[str, ...], findings: tuple[Finding, ...]) -> dict[str, object]:
    refusals = dict(row.refusals)
    for code in codes:
        refusals[code] = refusals.get(code, 0) + 1
    refusal = Refusal(
        signal_id=signal.signal_id,
        strategy_id=signal.strategy_id,
        instrument=signal.instrument,
        codes=codes,
        findings=tuple(_short(finding) for finding in findings if not finding.passed)[:_FINDINGS],
        time=signal.cause.time,
    )
    return {"rejected": row.rejected + 1, "refusals": refusals, "recent": (refusal, *row.recent)[:_RECENT]}


def _short(finding: Finding) -> str:
    text = f"{finding.rule} {finding.seen}".rstrip()
    return text if len(text) <= _FINDING_LENGTH else f"{text[: _FINDING_LENGTH - 1]}…"


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
    changed = {"account": account, "time": max(row.time, update.time), "version": row.version + 1}
    if (update.state is OrderState.UNKNOWN) != (update.order_id in row.unknown):
        changed["unknown"] = _unknown(row.unknown, update)
    if update.state is OrderState.REJECTED:
        refused = counted(row.day.rejections, levels_of(update.strategy_id, update.instrument))
        changed["day"] = row.day.model_copy(update={"rejections": refused})
    return row.model_copy(update=changed)


def _unknown(orders: tuple[str, ...], update: OrderUpdate) -> tuple[str, ...]:
    """The unknown orders after one has become unknown, or is known again."""
    if update.state is OrderState.UNKNOWN:
        return *orders, update.order_id
    return tuple(order for order in orders if order != update.order_id)


def step_prices(row: RiskRow, prices: Prices) -> RiskRow:
    """Take in the last prices of what is held."""
    account = row.account.model_copy(update={"prices": {**row.account.prices, **prices.prices}})
    return row.model_copy(update={"account": account, "time": max(row.time, prices.time), "version": row.version + 1})


def step_silence(row: RiskRow, silence: Silence, shards: int, limits: TotalLimits) -> tuple[RiskRow, list[Latch]]:
    """Take in that ticks have stopped or come again on a shard; once they have stopped on all, so does the arm."""
    shard = silence.producer.rpartition("/")[2]
    silent = {name: since for name, since in row.silent.items() if name != shard}
    if silence.silent:
        silent[shard] = silence.since
    latches: list[Latch] = []
    if len(silent) == shards and all(latch.reason is not StopReason.FEED_STALE for latch in row.latches):
        seconds = (silence.time - max(silent.values())) / 1000
        latch = Latch(
            reason=StopReason.FEED_STALE,
            mode=limits.after_breach,
            level=ACCOUNT,
            detail=f"no tick for {seconds:g} s",
            since=silence.time,
        )
        latches.append(latch)
    changed = {"silent": silent, "latches": (*row.latches, *latches), "version": row.version + 1}
    return row.model_copy(update=changed), latches


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
    for day in sorted({over, *(day for day in account.tallies if day <= over)}):
        account, more = end_day(account, namespace, trader, date.fromisoformat(day), end.time)
        bookings += more
    return row.model_copy(update={"account": account, "noted": over}), bookings
