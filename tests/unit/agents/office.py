"""A trader with its real courier, on a bench, and a broker in memory that answers as a test says."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from threading import Lock
from typing import Any

import orjson

from agents.trader import TraderAgent
from agents.trading.courier import Courier
from panda_streams.brokers.indian import IndianAccount
from panda_streams.brokers.port import Pace
from panda_streams.codec import decode, encode
from panda_streams.domain.brokerage import (
    Answer,
    AnswerKind,
    BrokerBook,
    BrokerHolding,
    BrokerOrder,
    BrokerStatus,
    BrokerTrade,
    BrokerTrigger,
    LoggedOut,
    Modification,
    OrderRequest,
    Progress,
    Unreachable,
)
from panda_streams.domain.calendar import Calendar
from panda_streams.domain.callbook import CallState
from panda_streams.domain.orders import Product
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.signals import OrderType, Side, Validity, identify
from panda_streams.events import Command, CommandKind, Counted, OrderReport, StageBeat, StrangerReport
from panda_streams.identity import World
from panda_streams.streams.agent import Part
from tables.trader import TraderRow
from tests.unit.agents.fakes import INSTRUMENTS, a_context
from tests.unit.bench import Bench
from tests.unit.builders import INFY, T0

__all__ = ["FakeBroker", "Office"]

_COMMANDS, _REPORTS = "zerodha.broker.commands", "zerodha.broker.reports"


@dataclass
class FakeBroker:
    """Takes orders, and answers to each call with the next of `fates`, at last always with `taken`.

    `taken`, `refused`, `throttled`, `logged out`; `lost`: taken, and no answer; `lost before`: neither.
    """

    fates: deque[str] = field(default_factory=deque)
    orders: dict[str, BrokerOrder] = field(default_factory=dict)
    trades: list[BrokerTrade] = field(default_factory=list)
    triggers: dict[str, BrokerTrigger] = field(default_factory=dict)
    """What rests overnight, by the broker's id."""
    calls: list[str] = field(default_factory=list)
    tags: Counter[str] = field(default_factory=Counter)
    """How often an order with each label was taken."""
    hidden: set[str] = field(default_factory=set)
    """Orders that the book does not show yet."""
    extra: dict[str, int] = field(default_factory=dict)
    """What the account holds beside today's trades."""
    glimpsed: deque[Counter[str]] = field(default_factory=deque)
    """What the account holds for one look alone, beside all else."""
    looks: int = 0
    """How often its book was read."""
    asked_for_holdings: int = 0
    late_trades: int = 0
    """How often the book is still read without its trades."""
    logged_in: bool = True
    answers: bool = True
    clock: int = 0
    fills: bool = False
    """Whether an order is filled as soon as it is taken."""
    before_place: Callable[[], None] = lambda: None
    _lock: Lock = field(default_factory=Lock)

    def place(self, request: OrderRequest, at: int) -> Answer:
        with self._lock:
            self.before_place()
            self.calls.append(f"place {request.order_id}")
            fate = self.fates.popleft() if self.fates else "taken"
            if not self.logged_in or fate == "logged out":
                return Answer(kind=AnswerKind.LOGGED_OUT, text="no")
            if fate in ("refused", "throttled"):
                return Answer(kind=AnswerKind(fate.upper()), text="no")
            if fate == "lost before":
                return Answer(kind=AnswerKind.UNSURE, text="timed out")
            broker_id = self._take(request, at)
            if fate == "lost":
                return Answer(kind=AnswerKind.UNSURE, text="timed out")
            return Answer(kind=AnswerKind.TAKEN, broker_id=broker_id)

    def _take(self, request: OrderRequest, at: int) -> str:
        if request.overnight:
            return self._rest(request, at)
        broker_id = str(len(self.orders) + 1)
        self.tags[request.tag] += 1
        self.orders[broker_id] = BrokerOrder(
            broker_id=broker_id,
            tag=request.tag,
            instrument=request.instrument,
            side=request.side,
            product=request.product,
            order_type=request.order_type,
            status=BrokerStatus.OPEN,
            quantity=request.quantity,
            filled=0,
            price=request.price,
            time=at,
        )
        if self.fills:
            self._fill(broker_id)
        return broker_id

    def _rest(self, request: OrderRequest, at: int) -> str:
        broker_id = f"gtt:{len(self.calls)}"
        assert request.price is not None
        assert request.trigger is not None
        assert request.last_price is not None
        self.triggers[broker_id] = BrokerTrigger(
            broker_id=broker_id,
            instrument=request.instrument,
            side=request.side,
            product=request.product,
            quantity=request.quantity,
            price=request.price,
            trigger=request.trigger,
            last_price=request.last_price,
            status=BrokerStatus.TRIGGER_PENDING,
            created=at,
            time=at,
        )
        return broker_id

    def _fill(self, broker_id: str) -> None:
        order = self.orders[broker_id]
        self.orders[broker_id] = order.model_copy(update={"filled": order.quantity, "status": BrokerStatus.COMPLETE})
        self.trades.append(
            BrokerTrade(
                trade_id=str(len(self.trades) + 1),
                exchange="NSE",
                broker_id=broker_id,
                instrument=order.instrument,
                side=order.side,
                product=order.product,
                quantity=order.quantity,
                price=Decimal(100),
                time=order.time,
            )
        )

    def fire(self, broker_id: str) -> None:
        """A trigger is reached, and its order filled."""
        with self._lock:
            trigger, placed = self.triggers[broker_id], str(len(self.orders) + 1)
            self.triggers[broker_id] = trigger.model_copy(update={"status": BrokerStatus.OPEN, "placed": placed})
            self.orders[placed] = BrokerOrder(
                broker_id=placed,
                tag=None,
                instrument=trigger.instrument,
                side=trigger.side,
                product=trigger.product,
                order_type=OrderType.LIMIT,
                status=BrokerStatus.OPEN,
                quantity=trigger.quantity,
                filled=0,
                price=trigger.price,
                time=trigger.time,
            )
            self._fill(placed)

    def modify(self, broker_id: str, change: Modification, at: int) -> Answer:
        with self._lock:
            self.calls.append(f"modify {broker_id}")
            update = change.model_dump(exclude_none=True)
            self.orders[broker_id] = self.orders[broker_id].model_copy(update=update)
            return Answer(kind=AnswerKind.TAKEN, broker_id=broker_id)

    def cancel(self, broker_id: str, at: int) -> Answer:
        with self._lock:
            self.calls.append(f"cancel {broker_id}")
            if self.triggers.pop(broker_id, None) is not None:
                return Answer(kind=AnswerKind.TAKEN, broker_id=broker_id)
            order = self.orders[broker_id]
            if order.status.terminal:
                return Answer(kind=AnswerKind.REFUSED, text="not open")
            self.orders[broker_id] = order.model_copy(update={"status": BrokerStatus.CANCELLED})
            return Answer(kind=AnswerKind.TAKEN, broker_id=broker_id)

    def book(self, *, overnight: bool) -> BrokerBook:
        with self._lock:
            self.looks += 1
            self._check()
            shown = {broker_id: order for broker_id, order in self.orders.items() if broker_id not in self.hidden}
            trades = tuple(trade for trade in self.trades if trade.broker_id in shown)
            if trades and self.late_trades:
                self.late_trades -= 1
                trades = ()
            triggers = tuple(self.triggers.values()) if overnight else None
            return BrokerBook(orders=tuple(shown.values()), trades=trades, triggers=triggers)

    def holdings(self) -> tuple[BrokerHolding, ...]:
        with self._lock:
            self._check()
            self.asked_for_holdings += 1
            held = Counter(self.extra)
            if self.glimpsed:
                held += self.glimpsed.popleft()
            for trade in self.trades:
                held[trade.instrument] += trade.quantity if trade.side is Side.BUY else -trade.quantity
            return tuple(
                BrokerHolding(instrument=name, product="MIS", quantity=quantity, price=Decimal(100))
                for name, quantity in held.items()
                if quantity
            )

    def advance(self, until: int) -> Progress:
        with self._lock:
            self.clock = max(self.clock, until)
            return Progress(time=self.clock, version=len(self.calls))

    def _check(self) -> None:
        if not self.logged_in:
            raise LoggedOut("no session")
        if not self.answers:
            raise Unreachable("no answer")


class _Trader(IndianAccount):
    broker: FakeBroker

    endpoint = "memory"
    pace = Pace(poll_s=0.01, look_s=0.0, idle_s=0.05, absent_after_s=0.15, settle_in_s=0.02, reconcile_s=0.1)

    def latency(self, order_id: str) -> int:
        return 0

    def check(self, world: World) -> None: ...

    def connect(self, world: World) -> FakeBroker:
        return self.broker

    async def watch(self, world: World, hint: Callable[[], None]) -> None:
        await asyncio.Event().wait()

    def tag(self, order_id: str) -> str:
        return "PS" + identify(order_id)[:18]

    def own(self, tag: str | None) -> bool:
        return tag is not None and tag.startswith("PS")


class Office:
    """A trader at work; use it within `async with`."""

    def __init__(self, broker: FakeBroker | None = None, *, ordered: bool = False, **pace: float) -> None:
        self.broker = broker or FakeBroker()
        self.context = a_context(namespace="zerodha", ordered=ordered)
        self.licensed = True
        self.licences = 0
        """How often a courier asked whether the account is still its worker's."""
        self.broken = False
        self._trader = type("Trader", (_Trader,), {"broker": self.broker, "pace": replace(_Trader.pace, **pace)})(
            Calendar.always_open()
        )
        self._offset = 0
        self._sequence = 0
        self._changes = 0
        self.couriers: list[Courier] = []
        """All that were hired, in their order."""
        self.bench: Bench

    async def __aenter__(self) -> Office:
        self._loop = asyncio.get_running_loop()
        self.bench = Bench(lambda: TraderAgent(self.context, self._trader, ShardMap(1, INSTRUMENTS), self._hire))
        self._run()
        return self

    async def __aexit__(self, *_: Any) -> None:
        self.bench.task.close()

    def restart(self) -> None:
        """The process ends at once, and another one takes over."""
        self.bench.task.close()
        self.bench.restart()

    def _hire(self, agent: TraderAgent, part: Part) -> Courier:
        part.wake = lambda: self._loop.call_soon(self._run) and None
        self.couriers.append(Courier(self.context, self._trader, _Shop(self, agent, part)))
        return self.couriers[-1]

    def _run(self) -> None:
        self.bench.run()

    # What execution says

    def place(self, order_id: str = "one", *, closes: bool = False, time_ms: int | None = None, **fields: Any) -> None:
        request = OrderRequest(
            order_id=order_id,
            tag=self._trader.tag(order_id),
            instrument=INFY,
            side=Side.SELL if closes else Side.BUY,
            quantity=10,
            product=Product.MIS,
            order_type=OrderType.LIMIT,
            validity=Validity.DAY,
            price=Decimal(100),
        )
        self._say(CommandKind.PLACE, order_id, closes=closes, request=request, time=time_ms or self._now(), **fields)

    def rest(self, order_id: str = "stop") -> None:
        """Ask for a stop that rests overnight."""
        request = OrderRequest(
            order_id=order_id,
            tag=self._trader.tag(order_id),
            instrument=INFY,
            side=Side.SELL,
            quantity=10,
            product=Product.CNC,
            order_type=OrderType.SL,
            validity=Validity.DAY,
            price=Decimal(97),
            trigger=Decimal(99),
            overnight=True,
            last_price=Decimal(100),
        )
        self._say(CommandKind.PLACE, order_id, closes=True, request=request, time=self._now())

    def cancel(self, order_id: str = "one") -> None:
        self._say(CommandKind.CANCEL, order_id, time=self._now())

    def modify(self, order_id: str = "one", **change: Any) -> None:
        self._changes += 1
        asked = Modification(**change)
        self._say(CommandKind.MODIFY, order_id, change=asked, changes=self._changes, time=self._now())

    def counts(self, quantity: int) -> None:
        """The books hold more without a trade."""
        self._sequence += 1
        counted = Counted(
            world="sim",
            namespace="zerodha",
            instrument=INFY,
            quantity=quantity,
            time=self._now(),
            producer="execution/0",
            sequence=self._sequence,
        )
        self._deliver(encode(counted))

    def _now(self) -> int:
        return T0 if self.context.ordered else time.time_ns() // 1_000_000

    def beat(self, time_ms: int) -> None:
        beat = StageBeat(world="sim", producer="execution/0", time=time_ms)
        self._deliver(encode(beat))

    def _say(self, what: CommandKind, order_id: str, *, closes: bool = False, **fields: Any) -> None:
        self._sequence += 1
        command = Command(
            world="sim",
            namespace="zerodha",
            what=what,
            order_id=order_id,
            shard=0,
            closes=closes,
            producer="execution/0",
            sequence=self._sequence,
            **fields,
        )
        self._deliver(encode(command))

    def _deliver(self, value: bytes) -> None:
        self.bench.deliver(_COMMANDS, self._offset, value)
        self._offset += 1

    # What came of it

    @property
    def row(self) -> TraderRow:
        """As it is stored."""
        data = self.bench.rows.get(b"zerodha")
        return TraderRow() if data is None else TraderRow.model_validate_json(data)

    def state(self, order_id: str = "one") -> CallState | None:
        call = self.row.book.calls.get(order_id)
        return call.state if call is not None else None

    def reports(self) -> list[OrderReport | StrangerReport]:
        """Without those that were said again: no number has two contents."""
        kinds = {"report": OrderReport, "stranger": StrangerReport}
        said: dict[int, OrderReport | StrangerReport] = {}
        for output in self.bench.to(_REPORTS):
            report = decode(kinds[orjson.loads(output.value)["kind"]], output.value)
            assert said.setdefault(report.sequence, report) == report
        return [report for _, report in sorted(said.items())]

    def known(self, order_id: str = "one") -> list[str]:
        return [r.word.known.value for r in self.reports() if isinstance(r, OrderReport) and r.order_id == order_id]

    def beats(self) -> list[int]:
        return [decode(StageBeat, output.value).time for output in self.bench.beats_to(_REPORTS)]

    async def looks(self, number: int) -> None:
        """Wait until the broker's book was read so many times more."""
        before = self.broker.looks
        await self.until(lambda: self.broker.looks >= before + number, f"{number} looks into the book")

    async def comparisons(self, number: int) -> None:
        """Wait until what the account holds was asked for so many times more."""
        before = self.broker.asked_for_holdings
        await self.until(lambda: self.broker.asked_for_holdings >= before + number, f"{number} comparisons")

    async def until(self, done: Callable[[], bool], what: str, within_s: float = 5.0) -> None:
        deadline = time.monotonic() + within_s
        while not done():
            assert time.monotonic() < deadline, f"not within {within_s} s: {what}; calls {self.broker.calls}"
            assert not self.broken
            await asyncio.sleep(0.005)


@dataclass
class _Shop:
    office: Office
    agent: TraderAgent
    part: Part

    def row(self) -> TraderRow:
        return self.agent.row(self.part)

    def reached(self) -> int | None:
        return self.part.inputs.reached()

    def wake(self) -> None:
        self.part.wake()

    def licensed(self) -> bool:
        self.office.licences += 1
        return self.office.licensed

    def broken(self) -> None:
        self.office.broken = True
