"""Execution at a real broker: verdicts become commands, a broker's word becomes updates, and nothing else does."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson

from agents.broker_execution import BrokerExecution
from panda_streams.brokers.indian import IndianAccount
from panda_streams.codec import decode, decode_any, encode, encode_beat
from panda_streams.domain.brokerage import BrokerOrder, BrokerStatus, BrokerTrade, Known, Word
from panda_streams.domain.calendar import Calendar
from panda_streams.domain.callbook import Stranger
from panda_streams.domain.corporate_actions import Ratio
from panda_streams.domain.orders import UNATTRIBUTED, OrderState, Product, Reason
from panda_streams.domain.signals import Intent, OrderType, Side
from panda_streams.events import (
    Adjusted,
    Beat,
    Command,
    CommandKind,
    Counted,
    Filled,
    Flatten,
    Handover,
    OrderReport,
    OrderUpdate,
    Phase,
    StageBeat,
    StrangerReport,
)
from tests.unit.agents.execution_arm import SECOND, a_validated, beat, ticks_log
from tests.unit.agents.fakes import TICKS, a_config, a_context
from tests.unit.bench import Bench
from tests.unit.builders import FUTURE, INFY, T0, a_beat

VALIDATED, COMMANDS, REPORTS = "zerodha.signals.validated", "zerodha.broker.commands", "zerodha.broker.reports"
ACCOUNT = {
    "capital": "100000",
    "share_of_capital": "0.1",
    "max_position": 100,
    "market_protection": "2",
    "max_quote_age_s": 30,
}


class _Trader(IndianAccount):
    def latency(self, order_id: str) -> int:
        return 0

    def tag(self, order_id: str) -> str:
        return f"TAG{order_id}"


class Arm:
    """An execution agent on a bench; on the wall clock unless `ordered`."""

    def __init__(self, *, ordered: bool = False, **account: Any) -> None:
        config = a_config(accounts={"paper": ACCOUNT, "zerodha": {**ACCOUNT, **account}})
        context = a_context(config, namespace="zerodha", ordered=ordered)
        trader: Any = _Trader(Calendar.simulated())
        self.bench = Bench(lambda: BrokerExecution(context, trader))
        self._verdicts = self._reports = self._ticks = 0

    def tick(self, *prices: int | None) -> None:
        """Go on by a record a second; None is a beat."""
        for record in ticks_log([*[None] * self._ticks, *prices])[self._ticks :]:
            self.bench.deliver(TICKS, self._ticks, record)
            self._ticks += 1

    def say(self, event: Any) -> None:
        """A record of risk."""
        self.bench.deliver(VALIDATED, self._verdicts, encode(event))
        self._verdicts += 1

    def order(self, number: int = 0, cause: int = 0, **fields: Any) -> str:
        validated = a_validated(cause, number, **fields)
        self.say(validated.model_copy(update={"namespace": "zerodha"}))
        return f"order-{number}"

    def hear(self, order_id: str, known: Known, second: int = 1, **fields: Any) -> None:
        time = T0 + second * SECOND
        self._report(
            OrderReport(
                order_id=order_id,
                instrument=INFY,
                word=Word(known=known, time=time, **fields),
                time=time,
                **self._produced(),
            )
        )

    def fills(self, order_id: str, quantity: int = 5, side: Side = Side.BUY, second: int = 1) -> None:
        """The broker's book has the order as done."""
        order = BrokerOrder(
            broker_id=f"b{order_id}",
            tag=None,
            instrument=INFY,
            side=side,
            product="MIS",
            order_type="MARKET",
            status=BrokerStatus.COMPLETE,
            quantity=quantity,
            filled=quantity,
            time=T0,
        )
        trade = BrokerTrade(
            trade_id=f"t{order_id}",
            exchange="NSE",
            broker_id=order.broker_id,
            instrument=INFY,
            side=side,
            product="MIS",
            quantity=quantity,
            price=Decimal("1400.50"),
            time=T0,
        )
        self.hear(order_id, Known.BOOK, second, broker_id=order.broker_id, order=order, trades=(trade,))

    def stranger(self, quantity: int, price: int = 1400, instrument: str = INFY) -> None:
        found = Stranger(
            key=f"trade/NSE/{self._reports}/2",
            instrument=instrument,
            quantity=quantity,
            price=Decimal(price),
            product="CNC",
            time=T0,
            text="by hand",
        )
        self._report(StrangerReport(stranger=found, time=T0 + SECOND, **self._produced()))

    def trader_beat(self, second: int) -> None:
        self._report(a_beat("trader", T0 + second * SECOND))

    def _produced(self) -> dict[str, Any]:
        return {"world": "sim", "namespace": "zerodha", "producer": "trader", "sequence": self._reports}

    def _report(self, event: Any) -> None:
        self.bench.deliver(REPORTS, self._reports, encode(event))
        self._reports += 1

    def commands(self) -> list[Command]:
        return [event for event in self._commands() if isinstance(event, Command)]

    def counted(self) -> list[Counted]:
        return [event for event in self._commands() if isinstance(event, Counted)]

    def _commands(self) -> list[Command | Counted]:
        return [decode_any(output.value, Command, Counted) for output in self.bench.to(COMMANDS)]

    def updates(self) -> list[OrderUpdate]:
        sent = [output.value for output in self.bench.to("zerodha.orders.updates")]
        return [decode(OrderUpdate, value) for value in sent if orjson.loads(value)["kind"] == "order"]

    def beats_to_trader(self) -> list[int]:
        return [decode(StageBeat, output.value).time for output in self.bench.beats_to(COMMANDS)]


def test_a_verdict_becomes_a_command_that_the_trader_can_carry_out_as_it_is() -> None:
    arm = Arm()
    arm.tick(140_000)

    arm.order()

    [command] = arm.commands()
    assert command.request is not None
    assert (command.what, command.closes, command.shard) == (CommandKind.PLACE, False, 0)
    assert (command.request.tag, command.request.quantity) == ("TAGorder-0", 5)
    assert (command.request.order_type, command.request.market_protection) == (OrderType.MARKET, Decimal(2))
    assert command.until == T0 + 30_000
    assert [update.state for update in arm.updates()] == [OrderState.INTENT]


def test_a_fill_of_the_broker_goes_into_the_book_with_its_charges() -> None:
    arm = Arm()
    arm.tick(140_000)
    name = arm.order()
    arm.hear(name, Known.SENDING)

    arm.fills(name)

    [filled] = [decode(Filled, output.value) for output in arm.bench.to("zerodha.orders.filled")]
    assert (filled.fill.price, filled.fill.quantity) == (Decimal("1400.50"), 5)
    assert filled.fill.charged > 0
    assert [u.state for u in arm.updates()] == [
        OrderState.INTENT,
        OrderState.SENDING,
        OrderState.WORKING,
        OrderState.FILLED,
    ]


def test_a_report_that_comes_twice_changes_nothing() -> None:
    arm = Arm()
    arm.tick(140_000)
    name = arm.order()
    arm.fills(name)
    said = len(arm.updates())

    arm.fills(name)

    assert len(arm.updates()) == said


def test_ticks_fill_no_order_of_a_real_broker() -> None:
    arm = Arm()
    arm.tick(140_000)
    arm.order(order_type="LIMIT", price="1500")

    arm.tick(140_000, 130_000, None)

    assert [update.state for update in arm.updates()] == [OrderState.INTENT]


def test_a_cancellation_of_a_strategy_is_a_command_and_no_update() -> None:
    arm = Arm()
    arm.tick(140_000)
    arm.order(order_type="LIMIT", price="1300")

    arm.order(1, intent=Intent.CANCEL, tickets=0)

    assert [command.what for command in arm.commands()] == [CommandKind.PLACE, CommandKind.CANCEL]
    assert len(arm.updates()) == 1


def test_a_modification_carries_the_new_price() -> None:
    arm = Arm()
    arm.tick(140_000)
    arm.order(order_type="LIMIT", price="1300")

    arm.order(1, intent=Intent.MODIFY, tickets=0, order_type="LIMIT", price="1310")

    change = arm.commands()[-1].change
    assert change is not None
    assert change.price == Decimal(1310)
    assert arm.updates()[-1].reason is Reason.MODIFIED_BY_STRATEGY


def test_a_flatten_closes_what_strategies_hold_and_leaves_what_is_nobodys() -> None:
    arm = Arm()
    arm.tick(140_000)
    arm.fills(arm.order())
    arm.stranger(7)

    arm.say(Flatten(world="sim", namespace="zerodha", action_id="a", time=T0 + SECOND, producer="risk", sequence=1))

    [command] = [command for command in arm.commands() if command.closes]
    assert command.request is not None
    assert command.request.quantity == 5


def test_what_is_nobodys_can_be_given_to_a_strategy_at_what_it_cost() -> None:
    arm = Arm()
    arm.tick(140_000)
    arm.stranger(7)

    arm.say(
        Handover(
            world="sim",
            namespace="zerodha",
            action_id="a",
            instrument=INFY,
            strategy_id="Momentum",
            time=T0 + SECOND,
            producer="risk",
            sequence=0,
        )
    )

    fills = [update.fill for update in arm.updates() if update.fill is not None]
    assert [(fill.strategy_id, fill.side, fill.quantity, fill.price) for fill in fills] == [
        (UNATTRIBUTED, Side.BUY, 7, Decimal(1400)),
        (UNATTRIBUTED, Side.SELL, 7, Decimal("1400.00")),
        ("Momentum", Side.BUY, 7, Decimal("1400.00")),
    ]
    assert arm.commands() == []


def test_what_is_nobodys_in_a_share_that_nobody_looks_at_is_worth_what_it_cost_until_its_next_tick() -> None:
    arm = Arm()
    arm.tick(None)

    arm.stranger(7)
    arm.tick(None, 141_000, None)

    said = [orjson.loads(output.value) for output in arm.bench.to("zerodha.orders.updates")]
    assert [event["prices"] for event in said if event["kind"] == "prices"] == [{INFY: "1400.00"}, {INFY: "1410.00"}]


def test_what_the_broker_has_no_price_for_is_booked_at_the_last_one() -> None:
    arm = Arm()
    arm.tick(140_000)
    arm.fills(arm.order(), 5)
    arm.tick(139_000)

    arm.stranger(-5, price=0)

    assert [update.fill.price for update in arm.updates() if update.fill is not None][-1] == Decimal("1390.00")


def test_the_trader_hears_of_shares_that_a_split_has_made() -> None:
    arm = Arm()
    arm.tick(140_000)
    arm.fills(arm.order())

    arm.say(
        Adjusted(
            world="sim",
            namespace="zerodha",
            instrument=INFY,
            ratio=Ratio(new=3, old=1),
            time=T0 + SECOND,
            producer="risk",
            sequence=1,
        )
    )

    assert [(counted.instrument, counted.quantity) for counted in arm.counted()] == [(INFY, 10)]


def test_the_trader_hears_of_a_contract_that_was_settled() -> None:
    arm = Arm()
    arm.tick(None)
    arm.stranger(50, instrument=FUTURE.id)

    closed = Beat("sim", "sim", "1", 1, T0 + 7 * 3600 * SECOND, Phase.CLOSED, False)
    arm.bench.deliver(TICKS, 1, encode_beat(closed))

    assert [(counted.instrument, counted.quantity) for counted in arm.counted()] == [(FUTURE.id, -50)]


def test_what_is_nobodys_can_be_closed_at_the_market() -> None:
    arm = Arm()
    arm.tick(140_000)
    arm.stranger(7)

    arm.say(
        Handover(
            world="sim",
            namespace="zerodha",
            action_id="a",
            instrument=INFY,
            strategy_id=None,
            time=T0 + SECOND,
            producer="risk",
            sequence=0,
        )
    )

    [command] = arm.commands()
    assert command.request is not None
    assert (command.request.side, command.request.quantity, command.closes) == (Side.SELL, 7, True)


def test_on_the_replay_clock_ticks_wait_for_the_broker_only_while_an_order_is_out() -> None:
    arm = Arm(ordered=True)
    arm.bench.deliver(VALIDATED, 0, encode(a_beat("risk", T0 + 60 * SECOND)))
    arm._verdicts = 1
    arm.tick(140_000, 140_000)
    assert arm.beats_to_trader() or arm.bench.task.inputs.handled()[TICKS] == 2

    arm.order(cause=1)
    arm.tick(*[None] * 5)
    waits = arm.bench.task.inputs.waits_for()
    handled = arm.bench.task.inputs.handled()[TICKS]
    arm.trader_beat(30)

    assert waits == ["broker.reports of trader"]
    assert handled < 7
    assert arm.bench.task.inputs.handled()[TICKS] == 7


def test_on_the_replay_clock_a_report_acts_a_second_after_it_was_said() -> None:
    arm = Arm(ordered=True)
    arm.bench.deliver(VALIDATED, 0, encode(a_beat("risk", T0 + 60 * SECOND)))
    arm._verdicts = 1
    arm.tick(140_000)
    name = arm.order()

    arm.hear(name, Known.SENDING, second=2)
    for offset in range(1, 5):
        arm.bench.deliver(TICKS, offset, beat(offset))
    arm.trader_beat(10)

    [_, sending] = arm.updates()
    assert sending.time == T0 + 3 * SECOND


def test_a_stop_of_a_delivery_position_carries_the_last_price_when_it_is_placed_and_when_it_moves() -> None:
    arm = Arm(product="CNC", protection={"trailing_stop": "0.01"})
    arm.tick(140_000)
    order_id = arm.order(product=Product.CNC)
    arm.fills(order_id)
    stop = arm.commands()[-1].request
    assert stop is not None
    waiting = BrokerOrder(
        broker_id="gtt:7",
        tag=None,
        instrument=INFY,
        side=Side.SELL,
        product="CNC",
        order_type="LIMIT",
        status=BrokerStatus.TRIGGER_PENDING,
        quantity=5,
        filled=0,
        time=T0,
    )
    arm.hear(stop.order_id, Known.SENDING, 2)
    arm.hear(stop.order_id, Known.BOOK, 2, broker_id="gtt:7", order=waiting)
    arm.tick(None, 142_000)
    change = arm.commands()[-1].change

    assert (stop.overnight, stop.product, stop.last_price) == (True, Product.CNC, Decimal(1400))
    assert change is not None
    assert (change.trigger, change.last_price) == (Decimal("1405.80"), Decimal(1420))
