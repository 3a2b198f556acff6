"""Execution: an order's fate is a function of the tick log from its cause on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panda_streams.codec import decode, encode, encode_batch
from panda_streams.domain.charges import fill_charges
from panda_streams.domain.orders import OrderState, Product, Role
from panda_streams.domain.signals import Intent, Side
from panda_streams.events import Filled, Mark
from tests.properties import examples
from tests.unit.agents.execution_arm import SECOND, VALIDATED, Arm, a_validated, beat, played, ticks_log
from tests.unit.agents.fakes import TICKS, TRADER
from tests.unit.bench import DLQ, Killed
from tests.unit.builders import INFY, SHARE, T0, a_batch, a_beat, a_tick


def test_a_market_order_fills_at_the_first_tick_after_its_latency() -> None:
    arm = Arm(ticks_log([140_000, 140_100, 140_200]))

    arm.tick(0)
    arm.order(a_validated(cause=0))
    arm.tick(1)

    working, filled = arm.updates()
    assert (working.state, filled.state) == (OrderState.WORKING, OrderState.FILLED)
    assert filled.fill is not None
    assert (filled.fill.price, filled.fill.quantity) == (Decimal("1402.45"), 5)  # 1401 + 0.1 %, up to the next 0.05
    assert filled.fill.charges == fill_charges(
        SHARE, Product.MIS, Side.BUY, 5, Decimal("1402.45"), date(2021, 6, 8), Decimal(0)
    )


def test_the_fill_reaches_the_portfolio_under_the_sequence_of_its_update() -> None:
    arm = Arm(ticks_log([140_000, 140_100]))
    arm.tick(0)
    arm.order(a_validated(cause=0))
    arm.tick(1)

    (output,) = arm.bench.to("paper.orders.filled")
    filled = decode(Filled, output.value)

    assert output.key == b"Momentum"
    assert (filled.producer, filled.sequence) == ("execution/0", 1)


def test_an_order_that_arrives_long_after_its_ticks_fills_at_the_same_tick() -> None:
    log = ticks_log([140_000 + 10 * n for n in range(700)])
    late = Arm(log)

    for offset in range(700):
        late.tick(offset)
    late.order(a_validated(cause=3))

    assert late.fills() == [(4, "1401.85")]
    assert late.bench.reads == 1


def test_ticks_that_another_process_handled_are_looked_up_in_the_log() -> None:
    arm = Arm(ticks_log([140_000, 140_100, 140_200]))
    arm.tick(0)
    arm.tick(1)
    arm.bench.restart()

    arm.order(a_validated(cause=0))

    assert [offset for offset, _ in arm.fills()] == [1]
    assert arm.bench.reads == 1


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


@pytest.mark.parametrize("point", ["write", "send"])
@pytest.mark.parametrize("killed_at", ["tick", "order"])
@pytest.mark.parametrize("first", [TICKS, VALIDATED])
def test_whatever_comes_first_after_a_kill_no_sequence_gets_a_second_content(
    point: str, killed_at: str, first: str
) -> None:
    arm = Arm(ticks_log([140_000, 140_100, 140_200]))
    arm.tick(0)
    arm.order(a_validated(cause=0))
    steps: dict[str, Callable[[], None]] = {
        "tick": lambda: arm.tick(1),
        "order": lambda: arm.order(a_validated(cause=0, number=1), offset=1),
    }
    arm.bench.kill_at = point
    with pytest.raises(Killed):
        steps.pop(killed_at)()

    arm.bench.restart(first)
    for step in steps.values():
        step()
    arm.tick(2)

    said = {update.sequence: update for update in arm.updates()}
    assert all(update == said[update.sequence] for update in arm.updates())
    filled = [update.order_id for update in said.values() if update.fill]
    assert sorted(filled) == ["order-0", "order-1"]


def test_an_order_whose_process_died_before_the_passed_ticks_were_seen_is_filled_when_it_comes_again() -> None:
    arm = Arm(ticks_log([140_000, 140_100]))
    arm.tick(0)
    arm.tick(1)
    arm.bench.kill_at = "write"
    with pytest.raises(Killed):
        arm.order(a_validated(cause=0))

    arm.bench.restart()

    assert [offset for offset, _ in arm.fills()] == [1]


def test_an_order_that_ended_just_before_a_kill_leaves_the_mirror() -> None:
    arm = Arm(ticks_log([140_000, 140_100]))
    arm.tick(0)
    arm.order(a_validated(cause=0))
    mirror = arm.context.mirror
    arm.bench.kill_at = "send"
    with pytest.raises(Killed):
        arm.tick(1)
    shown = set(mirror.values)
    arm.bench.restart()

    list(arm.bench.task.agent.mirror(arm.bench.table()))

    assert shown == {"paper:orders:order-0"}
    assert (mirror.values, mirror.members) == ({}, set())


def test_a_working_order_is_in_the_mirror_again_after_a_restart() -> None:
    arm = Arm(ticks_log([140_000]))
    arm.tick(0)
    arm.order(a_validated(cause=0))
    mirror = arm.context.mirror
    mirror.values.clear()

    list(arm.bench.task.agent.mirror(arm.bench.table()))

    assert orjson.loads(mirror.values["paper:orders:order-0"])["state"] == "WORKING"


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


@pytest.mark.parametrize("late", [False, True])
def test_a_record_with_unusable_order_books_is_matched_by_its_ticks_whenever_an_order_meets_it(late: bool) -> None:
    tick = a_tick(140_100, row=1, time=T0 + SECOND)
    log = ticks_log([140_000, None, 140_200])
    log[1] = encode_batch(a_batch(tick, sequence=1)) + b"\n[[1]]"
    arm = Arm(log)
    arm.tick(0)
    if late:
        arm.tick(1)

    arm.order(a_validated(cause=0))
    arm.tick(1)

    assert arm.fills() == [(1, "1402.45")]


@pytest.mark.parametrize("bad", [0, 1])
def test_a_tick_record_that_is_none_leaves_no_gap_for_orders_that_arrive_late(bad: int) -> None:
    log = ticks_log([140_000, 140_100, 140_200])
    log[bad] = b"{}"
    arm = Arm(log)
    for offset in range(3):
        arm.tick(offset)
    arm.bench.restart()

    arm.order(a_validated(cause=0))

    assert [offset for offset, _ in arm.fills()] == [2 if bad else 1]
    assert arm.bench.reads == 1
    assert [letter.value[:14] for letter in arm.bench.to(DLQ)] == [f"market.ticks@{bad}".encode()]


def test_an_order_walks_the_depth_where_the_tick_has_one() -> None:
    tick = a_tick(140_100, row=1, time=T0 + 1000)
    book = b"[[1,[[140050,9]],[[140100,3],[140200,1]]]]"
    log = [*ticks_log([140_000]), encode_batch(a_batch(tick, sequence=1)) + b"\n" + book]
    arm = Arm(log)
    arm.tick(0)
    arm.order(a_validated(cause=0, quantity=4))

    arm.tick(1)

    trades = [(u.fill.quantity, str(u.fill.price), u.state) for u in arm.updates() if u.fill]
    assert trades == [(3, "1401.00", OrderState.WORKING), (1, "1402.00", OrderState.FILLED)]


def test_marks_say_the_last_prices_of_what_is_held_and_nothing_else() -> None:
    arm = Arm([*ticks_log([140_000, 140_100, 140_200, None, 150_000]), beat(5, end=True)])
    arm.tick(0)
    arm.order(a_validated(cause=0))
    for offset in range(1, 6):
        arm.tick(offset)

    assert [(mark.prices, mark.time) for mark in arm.marks()] == [
        ({INFY: Decimal("1402.00")}, T0 + 3 * SECOND),
        ({INFY: Decimal("1500.00")}, T0 + 5 * SECOND),
    ]


def test_what_was_sold_is_marked_no_more() -> None:
    arm = Arm([*ticks_log([140_000, 140_100, 140_200]), beat(3)])
    arm.tick(0)
    arm.order(a_validated(cause=0))
    arm.tick(1)
    arm.order(a_validated(cause=1, number=1, side=Side.SELL, role=Role.EXIT, intent=Intent.EXIT), offset=1)

    arm.tick(2)
    arm.tick(3)

    assert [update.side for update in arm.updates() if update.fill] == [Side.BUY, Side.SELL]
    assert arm.marks() == []
    assert orjson.loads(arm.bench.rows[b"shard/0"])["seen"] == {}


@pytest.mark.parametrize("ordered", [True, False])
def test_each_order_for_what_the_arm_does_not_know_ends_at_once(ordered: bool) -> None:
    arm = Arm(ticks_log([None]), ordered=ordered)
    arm.tick(0)

    arm.order(a_validated(cause=0, instrument="NSE:NONE", tickets=3))

    assert [(u.order_id, u.state, u.reason) for u in arm.updates()] == [
        ("order-0", "REJECTED", "INSTRUMENT_UNKNOWN"),
        ("order-0-1", "REJECTED", "INSTRUMENT_UNKNOWN"),
        ("order-0-2", "REJECTED", "INSTRUMENT_UNKNOWN"),
    ]


moves = st.lists(st.sampled_from(["tick", "order", "restart", "kill at write", "kill at send"]), max_size=40)
some_prices = st.lists(st.one_of(st.none(), st.integers(130_000, 150_000)), min_size=4, max_size=12)


def some_causes(data: Any, prices: Sequence[int | None]) -> list[int]:
    ticks = [offset for offset, price in enumerate(prices) if price]
    return sorted(data.draw(st.lists(st.sampled_from(ticks), max_size=4))) if ticks else []


@settings(max_examples=examples(60))
@given(prices=some_prices, data=st.data())
def test_on_the_wall_clock_no_order_of_arrival_and_no_kill_changes_a_fill(prices: list[int | None], data: Any) -> None:
    log = [*ticks_log(prices), beat(len(prices), end=True)]
    orders = [(n, encode(a_validated(cause, n))) for n, cause in enumerate(some_causes(data, prices))]

    def fates(schedule: list[str]) -> list[tuple[str, OrderState, object]]:
        ended = [update for update in played(Arm(log), orders, schedule) if update.state.terminal]
        return sorted((u.order_id, u.state, u.fill and (u.fill.tick.offset, u.fill.price)) for u in ended)

    disturbed = fates(data.draw(moves))

    assert disturbed == fates([])
    assert len(disturbed) == len(orders)


# On the replay clock


@settings(max_examples=examples(60))
@given(prices=some_prices, data=st.data())
def test_on_the_replay_clock_no_order_of_arrival_and_no_kill_changes_what_is_said(
    prices: list[int | None], data: Any
) -> None:
    log = [*ticks_log(prices), beat(len(prices), end=True)]
    causes = some_causes(data, prices)
    risk: list[bytes] = []
    for offset in range(len(log)):
        risk += [encode(a_validated(cause, n)) for n, cause in enumerate(causes) if cause == offset]
        risk.append(encode(a_beat("risk", T0 + offset * SECOND)))

    said = played(Arm(log, ordered=True), list(enumerate(risk)), data.draw(moves))

    assert said == played(Arm(log, ordered=True), list(enumerate(risk)), [])
    assert len([update for update in said if update.state.terminal]) == len(causes)


def test_a_verdict_is_applied_before_the_ticks_of_its_time() -> None:
    log = [encode_batch(a_batch(a_tick(140_000 + row, row=row, time=T0), sequence=row)) for row in range(3)]
    arm = Arm(log, ordered=True, trader=replace(TRADER, market=replace(TRADER.market, latency_ms=0)))
    for offset in range(3):
        arm.tick(offset)

    arm.order(a_validated(cause=0))
    arm.risk_beat(1, T0)

    assert [offset for offset, _ in arm.fills()] == [1]
    assert arm.bench.reads == 0


def test_a_tick_waits_for_the_beat_of_risk() -> None:
    arm = Arm([*ticks_log([140_000]), beat(1)], ordered=True)

    arm.tick(0)
    arm.tick(1)
    waiting = (arm.beats(), arm.bench.task.inputs.waits_for())
    arm.risk_beat(0, T0 + SECOND)

    assert waiting == ([T0 - SECOND], ["signals.validated of risk"])
    assert arm.beats() == [T0 - SECOND, T0 + SECOND]


def test_the_end_of_a_run_is_passed_on_when_all_orders_have_ended() -> None:
    arm = Arm([*ticks_log([140_000]), beat(1, end=True)], ordered=True)
    arm.order(a_validated(cause=0))
    arm.risk_beat(1, T0 + 61 * SECOND)

    arm.tick(0)
    arm.tick(1)

    assert [update.state for update in arm.updates()] == [OrderState.WORKING, OrderState.EXPIRED]
    assert arm.beats()[-1] == T0 + 61 * SECOND


def test_a_sell_is_slipped_down_to_its_tick_size() -> None:
    arm = Arm(ticks_log([140_000, 140_100]))
    arm.tick(0)
    arm.order(a_validated(cause=0, side=Side.SELL))

    arm.tick(1)

    assert arm.fills() == [(1, "1399.55")]


def test_the_first_mark_of_a_fill_is_the_last_price_and_not_the_slipped_one() -> None:
    arm = Arm([*ticks_log([140_000, 140_100]), beat(2, end=True)], ordered=True)
    arm.order(a_validated(cause=0))
    arm.risk_beat(1, T0 + 61 * SECOND)

    for offset in range(3):
        arm.tick(offset)

    assert [mark.prices for mark in arm.marks()] == [{INFY: Decimal("1401.00")}]


def test_a_position_that_is_filled_after_the_end_of_the_data_is_marked_at_its_last_price() -> None:
    arm = Arm([*ticks_log([140_000, 140_100, 150_000]), beat(3, end=True)])
    for offset in range(4):
        arm.tick(offset)

    arm.order(a_validated(cause=0))

    marks = [decode(Mark, output.value) for output in arm.bench.to("paper.marks")]
    assert [mark.prices for mark in marks] == [{INFY: Decimal("1500.00")}]


def test_a_late_fill_is_marked_at_the_last_price_that_has_passed() -> None:
    arm = Arm([*ticks_log([140_000, 140_100, 150_000]), beat(3), beat(4)])
    for offset in range(4):
        arm.tick(offset)
    arm.order(a_validated(cause=0))

    arm.tick(4)

    assert arm.marks()[-1].prices == {INFY: Decimal("1500.00")}


@pytest.mark.parametrize("ordered", [True, False])
def test_an_order_whose_ticks_were_gone_before_the_arm_first_came_ends_at_once(ordered: bool) -> None:
    arm = Arm([*ticks_log([140_000, 140_100]), beat(2)], ordered=ordered)
    arm.bench.starts = {TICKS: 2}
    arm.bench.restart()

    arm.order(a_validated(cause=0))
    arm.risk_beat(1, T0 + 61 * SECOND)
    arm.tick(2)

    assert [(u.state, u.reason) for u in arm.updates()] == [("EXPIRED", "TICKS_GONE")]
