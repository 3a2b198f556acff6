"""Execution: an order's fate is a function of the tick log from its cause on."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.execution import ExecutionAgent
from panda_streams.brokers.paper import PaperTrader
from panda_streams.codec import decode, encode, encode_batch, encode_beat
from panda_streams.domain.orders import OrderState
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.signals import Side
from panda_streams.events import Beat, Filled, Mark, OrderUpdate, Phase, Validated
from panda_streams.streams.loop import Record
from tests.unit.agents.fakes import INSTRUMENTS, TICKS, FakeLoop, FakeReadBack, FakeTable, a_context
from tests.unit.builders import INFY, T0, a_batch, a_ref, a_signal, a_tick

VALIDATED = "paper.signals.validated"
TRADER = PaperTrader(latency_ms=500, slippage=Decimal("0.001"), charge_rate=Decimal("0.0005"))


def beat(offset: int, *, end: bool = False) -> bytes:
    return encode_beat(Beat("sim", "sim", "1", offset, T0 + offset * 1000, Phase.OPEN, end))


def ticks_log(prices: list[int | None]) -> list[bytes]:
    """A log with one record a second: a batch of one tick, or a beat where the price is None."""
    return [
        beat(offset)
        if price is None
        else encode_batch(a_batch(a_tick(price, row=offset, time=T0 + offset * 1000), sequence=offset))
        for offset, price in enumerate(prices)
    ]


def a_validated(cause: int, number: int = 0, quantity: int = 5) -> Validated:
    """An order caused by the tick at offset `cause`."""
    return Validated(
        world="sim",
        namespace="paper",
        signal=a_signal(sequence=number, cause=a_ref(row=cause, offset=cause, time=T0 + cause * 1000)),
        order_id=f"order-{number}",
        quantity=quantity,
        rules=(),
        producer="risk/paper",
        sequence=number,
    )


class Arm:
    """An execution agent on fakes; `restart` forgets what only memory held."""

    def __init__(self, log: list[bytes]) -> None:
        self.loop, self.table, self.readback = FakeLoop(), FakeTable(), FakeReadBack(log)
        self.restart()

    def restart(self) -> None:
        self.loop.crash_before = ""
        self.context = context = a_context(loop=self.loop)
        shards = ShardMap(1, INSTRUMENTS)
        self.agent = ExecutionAgent(context, self.table, TRADER, shards, self.readback)  # type: ignore[arg-type]

    def tick(self, offset: int) -> None:
        asyncio.run(self.agent.handle(Record(TICKS, 0, offset, b"0", self.readback.log[offset])))

    def order(self, validated: Validated, offset: int = 0) -> None:
        asyncio.run(self.agent.handle(Record(VALIDATED, 0, offset, b"", encode(validated))))

    def updates(self) -> list[OrderUpdate]:
        return [decode(OrderUpdate, output.value) for output in self.loop.to("paper.orders.updates")]

    def fills(self) -> list[tuple[int, str]]:
        return [(u.fill.tick.offset, str(u.fill.price)) for u in self.updates() if u.fill]


def test_a_market_order_fills_at_the_first_tick_after_its_latency() -> None:
    arm = Arm(ticks_log([140_000, 140_100, 140_200]))

    arm.tick(0)
    arm.order(a_validated(cause=0))
    arm.tick(1)

    working, filled = arm.updates()
    assert (working.state, filled.state) == (OrderState.WORKING, OrderState.FILLED)
    assert filled.fill is not None
    assert (filled.fill.price, filled.fill.quantity) == (Decimal("1402.45"), 5)  # 1401 + 0.1 %, up to the next 0.05
    assert filled.fill.charges == Decimal("1402.45") * 5 * Decimal("0.0005")


def test_the_fill_reaches_the_portfolio_under_the_sequence_of_its_update() -> None:
    arm = Arm(ticks_log([140_000, 140_100]))
    arm.tick(0)
    arm.order(a_validated(cause=0))
    arm.tick(1)

    (output,) = arm.loop.to("paper.orders.filled")
    filled = decode(Filled, output.value)

    assert output.key == b"Momentum"
    assert (filled.producer, filled.sequence) == (f"execution/{INFY}", 1)


def test_an_order_that_arrives_long_after_its_ticks_fills_at_the_same_tick() -> None:
    log = ticks_log([140_000 + 10 * n for n in range(700)])
    late = Arm(log)

    for offset in range(700):
        late.tick(offset)
    late.order(a_validated(cause=3))

    assert late.fills() == [(4, "1401.85")]
    assert late.readback.reads == 1


def test_an_order_that_arrives_before_the_first_tick_of_this_process_is_matched_against_the_log() -> None:
    arm = Arm(ticks_log([140_000, 140_100, 140_200]))

    arm.order(a_validated(cause=0))

    assert [offset for offset, _ in arm.fills()] == [1]


def test_an_order_still_working_at_the_end_of_the_data_expires() -> None:
    arm = Arm([*ticks_log([140_000]), beat(1, end=True)])
    arm.tick(0)
    arm.order(a_validated(cause=0))

    arm.tick(1)

    assert [(u.state, u.reason) for u in arm.updates()] == [
        (OrderState.WORKING, None),
        (OrderState.EXPIRED, "END_OF_DATA"),
    ]


def test_an_order_that_arrives_after_the_end_of_the_data_expires_too() -> None:
    arm = Arm([*ticks_log([140_000]), beat(1, end=True)])
    arm.tick(0)
    arm.tick(1)

    arm.order(a_validated(cause=0))

    assert [u.state for u in arm.updates()] == [OrderState.WORKING, OrderState.EXPIRED]


def test_a_repeated_order_changes_nothing() -> None:
    arm = Arm(ticks_log([140_000, 140_100]))
    arm.tick(0)
    arm.order(a_validated(cause=0), offset=0)

    arm.order(a_validated(cause=0), offset=0)
    arm.order(a_validated(cause=0), offset=1)
    arm.tick(1)

    assert len(arm.updates()) == 2


@pytest.mark.parametrize("point", ["row", "outputs"])
@pytest.mark.parametrize("killed_at", ["tick", "order"])
@pytest.mark.parametrize("first", ["tick", "order"])
def test_whatever_comes_first_after_a_kill_no_sequence_gets_a_second_content(
    point: str, killed_at: str, first: str
) -> None:
    arm = Arm(ticks_log([140_000, 140_100, 140_200]))
    arm.tick(0)
    arm.order(a_validated(cause=0))
    steps = {"tick": lambda: arm.tick(1), "order": lambda: arm.order(a_validated(cause=0, number=1), offset=1)}
    arm.loop.crash_before = point
    with pytest.raises(InterruptedError):
        steps[killed_at]()
    arm.restart()

    for name in sorted(steps, key=lambda name: name != first):
        steps[name]()
    arm.tick(2)

    said = {update.sequence: update for update in arm.updates()}
    assert all(update == said[update.sequence] for update in arm.updates())
    filled = [update.order_id for update in said.values() if update.fill]
    assert sorted(filled) == ["order-0", "order-1"]


def test_an_order_whose_process_died_before_the_passed_ticks_were_seen_is_filled_when_it_comes_again() -> None:
    arm = Arm(ticks_log([140_000, 140_100]))
    arm.loop.crash_before = "outputs"
    with pytest.raises(InterruptedError):
        arm.order(a_validated(cause=0))
    arm.restart()

    arm.order(a_validated(cause=0))

    assert [offset for offset, _ in arm.fills()] == [1]


def test_an_order_that_ended_just_before_a_kill_leaves_the_mirror() -> None:
    arm = Arm(ticks_log([140_000, 140_100]))
    arm.tick(0)
    arm.order(a_validated(cause=0))
    arm.loop.crash_before = "outputs"
    shown = arm.context.mirror
    with pytest.raises(InterruptedError):
        arm.tick(1)
    arm.restart()
    arm.context.mirror.values, arm.context.mirror.members = shown.values, shown.members

    arm.agent.mirror_rows()

    assert (shown.values, shown.members) == ({}, set())


def test_the_end_of_a_run_ends_no_order_of_the_run_after_it() -> None:
    arm = Arm([*ticks_log([140_000]), beat(1, end=True), *ticks_log([None, None, 140_000, 140_100])[2:]])
    arm.tick(0)
    arm.order(a_validated(cause=2))  # the brain is ahead

    for offset in (1, 2, 3):
        arm.tick(offset)

    assert [(u.state, u.fill and u.fill.tick.offset) for u in arm.updates()] == [
        (OrderState.WORKING, None),
        (OrderState.FILLED, 3),
    ]


def test_unusable_order_books_do_not_take_a_late_order_with_them() -> None:
    tick = a_tick(140_100, row=1, time=T0 + 1000)
    log = ticks_log([140_000, None, 140_200])
    log[1] = encode_batch(a_batch(tick, sequence=1)) + b"\n[[1]]"
    arm = Arm(log)
    for offset in range(3):
        arm.tick(offset)

    arm.order(a_validated(cause=0))

    assert [offset for offset, _ in arm.fills()] == [2]


def test_ticks_skipped_after_a_restart_are_read_from_the_log() -> None:
    arm = Arm(ticks_log([140_000, 140_100, 140_200, 140_300]))
    arm.tick(0)
    arm.order(a_validated(cause=0))
    arm.restart()

    arm.tick(3)

    assert [offset for offset, _ in arm.fills()] == [1]


def test_an_order_walks_the_depth_where_the_tick_has_one() -> None:
    tick = a_tick(140_100, row=1, time=T0 + 1000)
    book = b"[[1,[[140050,9]],[[140100,3],[140200,1]]]]"
    log = [*ticks_log([140_000]), encode_batch(a_batch(tick, sequence=1)) + b"\n" + book]
    arm = Arm(log)
    arm.tick(0)
    arm.order(a_validated(cause=0, quantity=5))

    arm.tick(1)

    trades = [(u.fill.quantity, str(u.fill.price), u.state) for u in arm.updates() if u.fill]
    assert trades == [(3, "1401.00", OrderState.WORKING), (2, "1402.00", OrderState.FILLED)]


def test_marks_say_the_last_prices_of_what_is_held_and_nothing_else() -> None:
    arm = Arm([*ticks_log([140_000, 140_100]), beat(2), *ticks_log([None, None, None, 150_000])[3:], beat(4, end=True)])
    arm.tick(0)
    arm.order(a_validated(cause=0))
    for offset in (1, 2, 3, 4):
        arm.tick(offset)

    marks = [decode(Mark, output.value) for output in arm.loop.to("paper.marks")]

    assert [mark.prices for mark in marks] == [{INFY: Decimal("1401.00")}, {INFY: Decimal("1500.00")}]


def test_a_position_that_is_filled_after_the_end_of_the_data_is_marked_at_its_last_price() -> None:
    arm = Arm([*ticks_log([140_000, 140_100, 150_000]), beat(3, end=True)])
    for offset in range(4):
        arm.tick(offset)

    arm.order(a_validated(cause=0))

    (mark,) = [decode(Mark, output.value) for output in arm.loop.to("paper.marks")]
    assert mark.prices == {INFY: Decimal("1500.00")}


moves = st.lists(st.sampled_from(["tick", "order", "restart", "kill before row", "kill before outputs"]), max_size=40)


@settings(deadline=None, max_examples=60)
@given(prices=st.lists(st.one_of(st.none(), st.integers(130_000, 150_000)), min_size=4, max_size=12), data=st.data())
def test_no_order_of_arrival_and_no_kill_changes_a_fill(prices: list[int | None], data: Any) -> None:
    log = [*ticks_log(prices), beat(len(prices), end=True)]
    causes = sorted(data.draw(st.lists(st.sampled_from([o for o, p in enumerate(prices) if p] or [0]), max_size=4)))
    orders = [a_validated(cause, number) for number, cause in enumerate(causes)]

    def run(schedule: list[str]) -> list[tuple[str, OrderState, object]]:
        arm = Arm(log)
        tick = order = 0
        for move in [*schedule, "restart", *["tick"] * len(log), *["order"] * len(orders)]:
            try:
                if move == "tick" and tick < len(log):
                    arm.tick(tick)
                    tick += 1
                elif move == "order" and order < len(orders):
                    arm.order(orders[order], offset=order)
                    order += 1
                elif move == "restart":
                    arm.restart()
                elif move.startswith("kill"):
                    arm.loop.crash_before = move.split()[-1]
            except InterruptedError:
                arm.restart()
        said = {update.sequence: update for update in arm.updates()}
        assert all(update == said[update.sequence] for update in arm.updates())
        return sorted(
            (u.order_id, u.state, u.fill and (u.fill.tick.offset, u.fill.price))
            for u in said.values()
            if u.state.terminal
        )

    ended = run(data.draw(moves))

    assert ended == run([])
    assert [order_id for order_id, *_ in ended] == [order.order_id for order in orders]


def test_a_sell_is_slipped_down_to_its_tick_size() -> None:
    order = a_validated(cause=0)
    signal = order.signal.model_copy(update={"side": Side.SELL})
    arm = Arm(ticks_log([140_000, 140_100]))
    arm.tick(0)
    arm.order(order.model_copy(update={"signal": signal}))

    arm.tick(1)

    assert arm.fills() == [(1, "1399.55")]
