"""Random cases on one share: a single desk works the orders of all of them, and each case is told by itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import groupby
from random import Random

from panda_streams.brokers.paper import PaperTrader
from panda_streams.domain.calendar import Calendar
from panda_streams.domain.desk import Change
from panda_streams.domain.matching import PaperMarket, QueueModel
from panda_streams.domain.orders import Order, Product, Role
from panda_streams.domain.paper_desk import PaperDesk
from panda_streams.domain.signals import Side, Validity
from panda_streams.domain.ticks import Place, TickRef
from tests.orders.account import Account
from tests.orders.cases import Asked, Case, Plan, random_case
from tests.orders.oracle import Outcome, tell
from tests.orders.tape import Tape

__all__ = ["Counts", "try_share"]

_RELOADED_EVERY = 3_000
"""Ticks after which the desk is made anew of what a row keeps of it."""


@dataclass(slots=True)
class Counts:
    """What was tried and found. `orders` are those of signals; legs and square-offs are the desk's own."""

    orders: int = 0
    own: int = 0
    fills: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def add(self, other: Counts) -> None:
        self.orders += other.orders
        self.own += other.own
        self.fills += other.fills
        self.ends += other.ends
        self.violations += other.violations


def try_share(tape: Tape, orders: int, seed: int) -> Counts:
    """Try at least so many orders on a share, and count what the desk did and where it differs from what it must."""
    random = Random(f"{seed}/{tape.share.symbol}")
    cases, counts = list[Case](), Counts()
    while counts.orders < orders:
        case = random_case(random, tape, len(cases))
        counts.orders += 2 if case.exit is not None else 1
        cases.append(case)
    market = PaperMarket(500, 200, Decimal("0.0001"), Decimal("0.25"), tuple(QueueModel)[tape.number // 3 % 3])
    venue = PaperTrader(Calendar.simulated(), market)
    outcomes = _worked(tape, cases, venue, counts)
    session = venue.session(tape.share, tape.ticks[0].time)
    assert session is not None
    assert session.square_off is not None
    hours = session.opens, session.square_off, session.closes
    for case in cases:
        told, found = tell(case, tape, market, hours), outcomes[case.strategy_id]
        told.ends.sort()
        found.ends.sort()
        if found != told:
            counts.violations.append(f"{tape.share.symbol}: {case}\n  expected {told}\n  found    {found}")
    return counts


def _worked(tape: Tape, cases: Sequence[Case], venue: PaperTrader, counts: Counts) -> dict[str, Outcome]:
    """What the desk makes of all cases."""
    desk, account = PaperDesk("paper", tape.share, venue), Account()
    outcomes: defaultdict[str, Outcome] = defaultdict(Outcome)

    def hear(changes: list[Change]) -> None:
        for change in changes:
            account.hear(change)
            order, outcome = change.order, outcomes[change.order.strategy_id]
            if change.fill is not None:
                price = int(change.fill.price * 100)
                outcome.fills.append((change.fill.tick.row, order.role.value, change.fill.quantity, price))
                outcome.position += order.signed * change.fill.quantity
            if order.state.terminal:
                end = change.reason.value if change.reason else "FILLED"
                outcome.ends.append((order.role.value, end))
                counts.ends[end] += 1

    told = {row: list(steps) for row, steps in groupby(_steps(cases), key=lambda step: step[0])}
    row = 0
    try:
        for row, tick in enumerate(tape.ticks):
            place = Place("orders", "1", 0, row)
            hear(desk.meet(tick, place, tape.books.__getitem__, tape.traded[row]))
            for _, case, what in told.get(row, ()):
                hear(_carry_out(desk, tape, case, what, venue))
            if row % _RELOADED_EVERY == _RELOADED_EVERY - 1:
                desk = PaperDesk("paper", tape.share, venue, tuple(desk.orders.values()), desk.positions)
        session = venue.session(tape.share, tape.ticks[0].time)
        assert session is not None
        hear(desk.pass_time(session.closes, Place("orders", "1", 0, len(tape.ticks))))
    except AssertionError as error:
        counts.violations.append(f"{tape.share.symbol}, row {row}: {error}")
    held = {who: position.quantity for who, position in desk.positions.items()}
    if held != account.held():
        counts.violations.append(f"{tape.share.symbol}: the desk holds {held}, its fills come to {account.held()}")
    counts.fills = len(account.fills)
    counts.own = len(account.orders) - counts.orders
    return outcomes


def _steps(cases: Sequence[Case]) -> Iterator[tuple[int, Case, Plan | Asked]]:
    """All that the cases do, by row; of one case, in the order in which it does it."""
    steps = [
        (step.row, place, case, step)
        for case in cases
        for place, step in enumerate((case.entry, *case.asked, *((case.exit,) if case.exit is not None else ())))
    ]
    for row, _, case, step in sorted(steps, key=lambda step: step[:2]):
        yield row, case, step


def _carry_out(desk: PaperDesk, tape: Tape, case: Case, what: Plan | Asked, venue: PaperTrader) -> list[Change]:
    time = tape.ticks[what.row].time
    if isinstance(what, Plan):
        return desk.place(_order(tape, case, what, venue), time)
    at = time + venue.latency(what.name)
    if what.limit is None and what.trigger is None:
        desk.cancel(case.strategy_id, case.side, at)
    else:
        desk.modify(case.strategy_id, case.side, at, _rupees(what.limit), _rupees(what.trigger))
    return []


def _order(tape: Tape, case: Case, plan: Plan, venue: PaperTrader) -> Order:
    time, entering = tape.ticks[plan.row].time, plan is case.entry
    session = venue.session(tape.share, time)
    assert session is not None
    assert session.square_off is not None
    live_at = time + venue.latency(plan.name)
    until = session.square_off if entering and case.product is Product.MIS else session.closes
    if plan.validity is Validity.TTL:
        assert plan.minutes is not None
        until = min(until, live_at + 60_000 * plan.minutes)
    other = Side.SELL if case.side is Side.BUY else Side.BUY
    return Order(
        order_id=plan.name,
        signal_id=f"signal of {plan.name}",
        strategy_id=case.strategy_id,
        instrument=tape.share.id,
        side=case.side if entering else other,
        role=Role.ENTRY if entering else Role.EXIT,
        product=case.product,
        quantity=plan.quantity,
        order_type=plan.kind,
        validity=plan.validity,
        price=_rupees(plan.limit),
        trigger=_rupees(plan.trigger),
        cause=TickRef(source="orders", run="1", row=plan.row, shard=0, offset=plan.row, time=time),
        live_at=live_at,
        expires_at=until,
        target=_rupees(case.target) if entering else None,
        stop=_rupees(case.stop) if entering else None,
    )


def _rupees(paise: int | None) -> Decimal | None:
    return None if paise is None else Decimal(paise) / 100
