"""Execution: orders that rest, brackets, what ends with the day, and what an operator or a strategy changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import orjson
import pytest

from panda_streams.codec import encode, encode_beat
from panda_streams.domain.corporate_actions import Ratio
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.orders import OrderState, Product, Reason, Role
from panda_streams.domain.signals import Intent, OrderType, Side
from panda_streams.domain.ticks import Tick
from panda_streams.events import Adjusted, Beat, Level, OrderUpdate, Phase, Validated
from panda_streams.topics import level_key
from tests.unit.agents.execution_arm import SECOND, Arm, a_validated, beat, log_of, played, ticks_log
from tests.unit.agents.fakes import TICKS, TRADER
from tests.unit.bench import DLQ, Killed
from tests.unit.builders import CALL, FUTURE, INDEX, INFY, T0, a_beat, a_tick

LIMIT = OrderType.LIMIT
SQUARE_OFF, CLOSE, DAY = 365 * 60, 375 * 60, 86_400
"""Seconds after the opening."""
TUESDAY, WEDNESDAY = date(2021, 6, 8), date(2021, 6, 9)


def a_bracket(number: int = 0) -> Validated:
    """Bought at 1399 or better, sold at 1405, or at the market once 1395 is traded."""
    return a_validated(0, number, order_type=LIMIT, price="1399", target="1405", stop="1395")


def traded(price: int, volume: int) -> Tick:
    return a_tick(price, volume=volume)


PROFIT = log_of(
    0, (1, traded(140_000, 10)), (2, traded(139_895, 13)), (3, traded(139_890, 20)), 4, (5, traded(140_505, 22))
)
"""Three shares of the entry trade, then two, then two of the leg that takes the profit."""
LOSS = log_of(
    0, (1, traded(140_000, 10)), (2, traded(139_895, 20)), (3, traded(139_400, 22)), 4, (5, traded(139_300, 40))
)
"""The entry trades whole; the stop is triggered, and trades two shares and then three."""


def what_became(updates: list[OrderUpdate]) -> list[tuple[Any, ...]]:
    """The updates without their numbers."""
    return [(u.order_id, u.role, u.state, u.quantity, u.filled, u.reason, u.time, u.fill) for u in updates]


@pytest.mark.parametrize("log", [PROFIT, LOSS], ids=["profit", "loss"])
@pytest.mark.parametrize("ordered", [True, False])
def test_a_bracket_that_works_while_the_worker_is_killed_says_the_same_as_without(
    log: list[bytes], ordered: bool
) -> None:
    risk = [(0, encode(a_bracket())), (1, encode(a_beat("risk", T0 + 60 * SECOND)))]
    moves = ["tick", "order", "order", *["tick"] * (len(log) - 1)]
    undisturbed = played(Arm(log, ordered=ordered), risk, moves)
    assert next(u.role for u in undisturbed if u.fill) is Role.ENTRY
    assert {u.role for u in undisturbed if u.fill} & {Role.TARGET, Role.STOP}

    for point in ("kill at write", "kill at send"):
        for place in range(len(moves)):
            assert played(Arm(log, ordered=ordered), risk, [*moves[:place], point, *moves[place:]]) == undisturbed


@pytest.mark.parametrize("log", [PROFIT, LOSS], ids=["profit", "loss"])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_bracket_that_comes_late_on_the_wall_clock_trades_as_if_it_had_come_in_time(
    log: list[bytes], restarted: bool
) -> None:
    def became(after: int) -> list[tuple[Any, ...]]:
        arm = Arm(log)
        for offset in range(len(log)):
            if offset == after:
                arm.order(a_bracket())
            arm.tick(offset)
            if restarted and offset == after - 1:
                arm.bench.restart()
        if after == len(log):
            arm.order(a_bracket())
        return what_became(arm.said())

    in_time = became(1)

    assert [became(after) for after in range(2, len(log) + 1)] == [in_time] * (len(log) - 1)


def test_what_is_left_of_a_late_bracket_goes_on_with_the_ticks_that_follow() -> None:
    arm = Arm([*PROFIT[:5], *log_of(0, 0, 0, 0, 0, (9, traded(139_400, 30)))[5:]])
    for offset in range(5):
        arm.tick(offset)
    arm.order(a_bracket())

    arm.tick(5)

    assert [(u.role, u.fill.quantity, u.fill.tick.offset) for u in arm.updates() if u.fill] == [
        (Role.ENTRY, 3, 2),
        (Role.ENTRY, 2, 3),
        (Role.STOP, 5, 5),
    ]
    assert {u.order_id for u in arm.updates()} == {u.order_id for u in arm.updates() if u.state.terminal}


@pytest.mark.parametrize("log", [PROFIT, LOSS], ids=["profit", "loss"])
def test_each_order_ends_in_exactly_one_update_and_nothing_follows_it(log: list[bytes]) -> None:
    arm = Arm([*log, beat(len(log), end=True)])
    for offset in range(len(log)):
        arm.tick(offset)
        if not offset:
            arm.order(a_bracket())
    arm.tick(len(log))

    last = {update.order_id: update.sequence for update in arm.updates()}
    ends = [update for update in arm.updates() if update.state.terminal]
    assert {update.order_id: update.sequence for update in ends} == last
    assert len(ends) == len(last) == 3


def test_what_traded_between_two_ticks_is_the_same_across_a_restart() -> None:
    log = log_of(*[(second, traded(140_000, volume)) for second, volume in enumerate([100, 130, 170, 175, 300])])
    trader = replace(TRADER, market=replace(TRADER.market, participation=Decimal("0.1")))

    def fills(restart_after: int) -> list[tuple[int, int]]:
        arm = Arm(log, trader=trader)
        for offset in range(len(log)):
            arm.tick(offset)
            if not offset:
                order = a_validated(0, quantity=50)
                assert order.signal.quote is not None
                quote = order.signal.quote.model_copy(update={"volume": 100})
                arm.order(order.model_copy(update={"signal": order.signal.model_copy(update={"quote": quote})}))
            if offset == restart_after:
                arm.bench.restart()
        return [(u.fill.tick.offset, u.fill.quantity) for u in arm.said() if u.fill]

    assert [fills(after) for after in range(5)] == [[(1, 3), (2, 4), (4, 12)]] * 5


def test_the_volume_of_a_day_starts_again_with_the_day() -> None:
    log = log_of((0, traded(140_000, 900)), DAY - 1, (DAY, traded(140_000, 5)), (DAY + 1, traded(140_000, 7)))
    arm = Arm(log)
    arm.tick(0)
    arm.order(a_validated(0, quantity=50, product=Product.CNC))
    arm.tick(1)
    entry = a_validated(2, 1, quantity=50, second=DAY)

    arm.tick(2)
    arm.order(entry, offset=1)
    arm.tick(3)

    assert [(u.fill.tick.offset, u.fill.quantity) for u in arm.updates() if u.fill] == [(3, 2)]


# Cancel and modify


def changed_at(change: Callable[[Arm], None], *, ordered: bool, prices: list[int]) -> list[tuple[str, str | None, int]]:
    """A limit order at 1399, and what became of it where `change` comes after the tick of the third second."""
    arm = Arm(ticks_log(prices), ordered=ordered)
    arm.tick(0)
    arm.order(a_validated(0, order_type=LIMIT, price="1399"))
    arm.risk_beat(1, T0 + 2 * SECOND)
    for offset in (1, 2):
        arm.tick(offset)
    change(arm)
    arm.risk_beat(3, T0 + 60 * SECOND)
    for offset in range(3, len(prices)):
        arm.tick(offset)
    return [(u.state, u.reason, (u.time - T0) // 100) for u in arm.updates()]


@pytest.mark.parametrize("ordered", [True, False])
def test_a_cancellation_acts_after_its_cause_plus_latency(ordered: bool) -> None:
    def cancel(arm: Arm) -> None:
        arm.order(a_validated(2, 1, intent=Intent.CANCEL, tickets=0), offset=2)

    said = changed_at(cancel, ordered=ordered, prices=[140_000, 140_000, 140_000, 139_000])

    assert said == [("WORKING", None, 0), ("CANCELLED", "CANCELLED_BY_STRATEGY", 25)]


@pytest.mark.parametrize("ordered", [True, False])
def test_a_modification_acts_after_its_cause_plus_latency(ordered: bool) -> None:
    def modify(arm: Arm) -> None:
        change = a_validated(2, 1, intent=Intent.MODIFY, tickets=0, order_type=LIMIT, price="1390")
        arm.order(change, offset=2)

    said = changed_at(modify, ordered=ordered, prices=[140_000, 140_000, 140_000, 139_800, 138_900])

    assert said == [("WORKING", None, 0), ("WORKING", "MODIFIED_BY_STRATEGY", 25), ("FILLED", None, 40)]


@pytest.mark.parametrize("ordered", [True, False])
def test_a_cancellation_of_nothing_says_nothing(ordered: bool) -> None:
    arm = Arm(ticks_log([140_000]), ordered=ordered)
    arm.tick(0)

    arm.order(a_validated(0, intent=Intent.CANCEL, tickets=0))

    assert arm.updates() == []


def test_a_late_cancellation_undoes_no_fill() -> None:
    arm = Arm(ticks_log([140_000, 140_000, 139_000]))
    arm.tick(0)
    arm.order(a_validated(0, order_type=LIMIT, price="1399"))
    for offset in (1, 2):
        arm.tick(offset)

    arm.order(a_validated(0, 1, intent=Intent.CANCEL, tickets=0), offset=1)

    assert [u.state for u in arm.updates()] == [OrderState.WORKING, OrderState.FILLED]


def test_a_late_cancellation_acts_at_the_place_that_the_shard_has_come_to() -> None:
    arm = Arm(ticks_log([140_000, 140_000, 140_000, 139_000]))
    arm.tick(0)
    arm.order(a_validated(0, order_type=LIMIT, price="1399"))
    for offset in (1, 2):
        arm.tick(offset)

    arm.order(a_validated(0, 1, intent=Intent.CANCEL, tickets=0), offset=1)
    arm.tick(3)

    assert [(u.state, u.time) for u in arm.updates()][1:] == [(OrderState.CANCELLED, T0 + 2 * SECOND + 1)]


# The trading day


def held(log: list[bytes], instrument: str = INFY, product: Product = Product.MIS) -> Arm:
    """An arm that has bought 5 of an instrument by its first two records."""
    arm = Arm(log)
    arm.tick(0)
    arm.order(a_validated(0, instrument=instrument, product=product))
    arm.tick(1)
    assert [u.state for u in arm.updates()] == [OrderState.WORKING, OrderState.FILLED]
    return arm


def test_the_end_of_a_day_is_said_once_at_the_first_beat_after_all_markets_have_closed() -> None:
    arm = Arm(log_of(CLOSE - 1, CLOSE, CLOSE + 1, DAY + CLOSE - 1, DAY + CLOSE + 3600, DAY + CLOSE + 3601))

    for offset in range(6):
        arm.tick(offset)

    assert [(end.date, end.time - T0, end.sequence) for end in arm.day_ends()] == [
        (TUESDAY, CLOSE * SECOND, 0),
        (WEDNESDAY, (DAY + CLOSE + 3600) * SECOND, 1),
    ]


@pytest.mark.parametrize("point", ["write", "send", ""])
def test_an_arm_that_was_down_at_the_close_says_the_end_of_the_day_once_it_is_back(point: str) -> None:
    arm = Arm(log_of(CLOSE - 1, CLOSE, CLOSE + 1))
    arm.tick(0)
    if point:
        arm.bench.kill_at = point
        with pytest.raises(Killed):
            arm.tick(1)
    arm.bench.restart()

    for offset in (1, 2):
        arm.tick(offset)

    assert {(end.date, end.sequence) for end in arm.day_ends()} == {(TUESDAY, 0)}


def test_a_day_without_trading_has_no_end() -> None:
    saturday = 4 * DAY
    arm = Arm(log_of(saturday + CLOSE - 1, saturday + CLOSE))

    for offset in (0, 1):
        arm.tick(offset)

    assert arm.day_ends() == []


def test_what_ends_with_the_day_is_said_before_its_end() -> None:
    arm = Arm(log_of((0, a_tick()), CLOSE))
    arm.tick(0)
    arm.order(a_validated(0, order_type=LIMIT, price="1399", product=Product.CNC))

    arm.tick(1)

    assert [(u.state, u.reason, u.sequence) for u in arm.updates()][1:] == [(OrderState.EXPIRED, "DAY_ENDED", 1)]
    assert [end.sequence for end in arm.day_ends()] == [2]


def test_an_intraday_position_of_a_silent_instrument_is_squared_off_at_the_beat() -> None:
    arm = held(log_of((0, a_tick()), (1, a_tick()), SQUARE_OFF - 1, SQUARE_OFF, (SQUARE_OFF + 60, a_tick(139_000))))

    for offset in (2, 3, 4):
        arm.tick(offset)

    decided, filled = arm.updates()[2:]
    assert (decided.role, decided.side, decided.quantity, decided.signal_id) == (Role.SQUARE_OFF, Side.SELL, 5, None)
    assert decided.time == T0 + SQUARE_OFF * SECOND
    assert (filled.state, filled.fill and filled.fill.price) == (OrderState.FILLED, Decimal("1388.60"))


def test_a_square_off_that_is_decided_at_the_end_of_the_data_ends_there() -> None:
    end = encode_beat(Beat("sim", "sim", "1", 2, T0 + SQUARE_OFF * SECOND, Phase.OPEN, end=True))
    arm = Arm([*log_of((0, a_tick(140_000)), (1, a_tick(140_000))), end])
    arm.tick(0)
    arm.order(a_validated(0))
    arm.tick(1)

    arm.tick(2)

    closing = [update for update in arm.updates() if update.role is Role.SQUARE_OFF]
    assert [(u.state, u.reason) for u in closing] == [
        (OrderState.WORKING, None),
        (OrderState.EXPIRED, "END_OF_DATA"),
    ]


@pytest.mark.parametrize("point", ["write", "send"])
@pytest.mark.parametrize("killed_at", [2, 3])
def test_a_kill_at_the_square_off_closes_the_position_once(point: str, killed_at: int) -> None:
    log = log_of((0, a_tick()), (1, a_tick()), SQUARE_OFF, (SQUARE_OFF + 60, a_tick()), (SQUARE_OFF + 61, a_tick()))
    arm = held(log)
    for offset in range(2, killed_at):
        arm.tick(offset)
    arm.bench.kill_at = point
    with pytest.raises(Killed):
        arm.tick(killed_at)

    arm.bench.restart()
    for offset in range(killed_at, 5):
        arm.tick(offset)

    assert [(u.role, u.state, u.fill is not None) for u in arm.said()][2:] == [
        (Role.SQUARE_OFF, OrderState.WORKING, False),
        (Role.SQUARE_OFF, OrderState.FILLED, True),
    ]


def test_a_delivered_position_is_carried_overnight() -> None:
    arm = held(log_of((0, a_tick()), (1, a_tick()), SQUARE_OFF, CLOSE, (DAY, a_tick())), product=Product.CNC)

    for offset in (2, 3, 4):
        arm.tick(offset)

    assert len(arm.updates()) == 2


@pytest.mark.parametrize(
    ("contract", "spot", "price", "charged"),
    [
        (FUTURE, 1_512_300, "15123.00", False),
        (FUTURE, None, "15010.00", False),
        (CALL, 1_512_300, "123.00", True),
        (CALL, 1_490_000, "0", False),
        (CALL, None, "15010.00", True),
    ],
)
def test_a_contract_is_settled_on_its_last_day_by_its_underlying_or_its_own_last_price(
    contract: Instrument, spot: int | None, price: str, charged: bool
) -> None:
    tick = a_tick(1_500_000, instrument=contract.id)
    log = log_of(
        (0, tick),
        (1, tick),
        (2, a_tick(1_501_000, instrument=contract.id)),
        3 if spot is None else (3, a_tick(spot, instrument=INDEX.id)),
        CLOSE,
        CLOSE + 1,
    )
    arm = held(log, contract.id, Product.NRML)

    for offset in range(2, 6):
        arm.tick(offset)

    decided, settled = arm.updates()[2:]
    assert (decided.role, decided.state, settled.state) == (Role.SETTLEMENT, OrderState.WORKING, OrderState.FILLED)
    assert settled.fill is not None
    assert (settled.fill.price, settled.fill.side, settled.fill.quantity) == (Decimal(price), Side.SELL, 5)
    assert bool(settled.fill.charged) is charged
    assert [end.sequence for end in arm.day_ends()] == [settled.sequence + 1]


def test_a_contract_of_a_later_day_is_kept() -> None:
    yesterday = -DAY
    tick = a_tick(1_500_000, instrument=FUTURE.id)
    arm = Arm(log_of((yesterday, tick), (yesterday + 1, tick), yesterday + CLOSE))
    arm.tick(0)
    arm.order(a_validated(0, second=yesterday, instrument=FUTURE.id, product=Product.NRML))

    for offset in (1, 2):
        arm.tick(offset)

    assert [u.role for u in arm.updates()] == [Role.ENTRY, Role.ENTRY]
    assert len(arm.day_ends()) == 1


# Splits


def a_split(sequence: int = 1, new: int = 5) -> bytes:
    return encode(
        Adjusted(
            world="sim",
            namespace="paper",
            instrument=INFY,
            ratio=Ratio(new=new, old=1),
            time=T0 + 2 * SECOND,
            producer="risk",
            sequence=sequence,
        )
    )


def test_a_split_changes_the_position_and_ends_the_orders_on_the_old_share() -> None:
    arm = held(log_of((0, a_tick()), (1, a_tick(140_100)), 2, 3))
    arm.order(a_validated(1, 2, order_type=LIMIT, price="1300"), offset=1)

    arm.say(2, a_split(sequence=3))
    arm.say(3, a_split(sequence=3))

    row = orjson.loads(arm.bench.rows[INFY.encode()])
    assert [(u.order_id, u.state, u.reason) for u in arm.updates()][-1] == ("order-2", "EXPIRED", "CORPORATE_ACTION")
    assert (row["positions"]["Momentum"]["quantity"], row["orders"]) == (25, [])


def test_after_a_split_a_silent_share_is_marked_at_what_the_new_one_is_worth() -> None:
    arm = held(log_of((0, a_tick()), (1, a_tick(140_100)), 2, 3))
    arm.say(1, a_split())

    arm.tick(2)

    assert [mark.prices for mark in arm.marks()][-1] == {INFY: Decimal("280.20")}


def test_a_split_that_leaves_nothing_of_a_position_is_followed_by_no_mark() -> None:
    arm = held(log_of((0, a_tick()), (1, a_tick()), 2))
    before = len(arm.marks())

    arm.say(1, a_split().replace(b'"new":5,"old":1', b'"new":1,"old":9'))
    arm.tick(2)

    assert len(arm.marks()) == before
    assert orjson.loads(arm.bench.rows[b"shard/0"])["held"] == []


# The mirror


def test_all_orders_that_end_at_once_leave_the_mirror() -> None:
    arm = Arm([*ticks_log([140_000]), beat(1, end=True)])
    arm.tick(0)
    arm.order(a_validated(0, order_type=LIMIT, price="1399", tickets=60))
    shown = len(arm.context.mirror.values)

    arm.tick(1)

    assert shown == 60
    assert (arm.context.mirror.values, arm.context.mirror.members) == ({}, set())


def test_the_mirror_shows_what_a_working_order_is() -> None:
    arm = Arm(ticks_log([140_000]))
    arm.tick(0)

    arm.order(a_validated(0, order_type=OrderType.SL, price="1402", trigger="1401.5", product=Product.CNC))

    shown = orjson.loads(arm.context.mirror.values["paper:orders:order-0"])
    assert {name: shown[name] for name in ("role", "product", "order_type", "price", "trigger", "filled", "state")} == {
        "role": "ENTRY",
        "product": "CNC",
        "order_type": "SL",
        "price": "1402",
        "trigger": "1401.5",
        "filled": 0,
        "state": "TRIGGER_PENDING",
    }


# Verdicts that cannot be processed


def broken(number: int = 0, **changes: Any) -> bytes:
    """A verdict with two orders and a field that this version does not know."""
    verdict = orjson.loads(encode(a_validated(0, number, side=Side.SELL, tickets=2)))
    return orjson.dumps({**verdict, "novelty": 1, **changes})


@pytest.mark.parametrize("ordered", [True, False])
def test_each_order_of_a_verdict_that_is_dead_lettered_ends_in_one_update(ordered: bool) -> None:
    arm = Arm(ticks_log([140_000]), ordered=ordered)

    arm.say(0, broken())

    assert [letter.value for letter in arm.bench.to(DLQ)] == [
        b"paper.signals.validated@0: not a Validated: novelty: Extra inputs are not permitted"
    ]
    assert [(u.order_id, u.state, u.reason) for u in arm.updates()] == [
        ("order-0", "REJECTED", "DEAD_LETTERED"),
        ("order-0-1", "REJECTED", "DEAD_LETTERED"),
    ]
    (update, _) = arm.updates()
    assert (update.strategy_id, update.instrument, update.side, update.quantity) == ("Momentum", INFY, Side.SELL, 5)
    assert (update.time, update.signal_id is not None) == (T0, True)


def test_a_dead_lettered_verdict_that_comes_twice_ends_its_orders_once() -> None:
    arm = Arm(ticks_log([140_000]))

    arm.say(0, broken())
    arm.bench.restart()
    arm.say(1, broken())

    assert len(arm.bench.to(DLQ)) == 3  # the first one again after the restart, in the same words
    assert [u.order_id for u in arm.said()] == ["order-0", "order-0-1"]


def test_verdicts_after_a_dead_lettered_one_are_handled_and_dead_lettered_as_before() -> None:
    arm = Arm(ticks_log([140_000, 140_000]))
    arm.tick(0)

    arm.say(0, broken(0))
    arm.say(1, encode(a_validated(0, 1)))
    arm.say(2, broken(2))
    arm.tick(1)

    assert [u.order_id for u in arm.said() if u.state.terminal] == [
        "order-0",
        "order-0-1",
        "order-2",
        "order-2-1",
        "order-1",
    ]
    assert [u.sequence for u in arm.said()] == list(range(6))


@pytest.mark.parametrize("point", ["write", "send"])
def test_a_kill_at_a_dead_letter_ends_its_orders_once(point: str) -> None:
    arm = Arm(ticks_log([140_000]))
    arm.bench.kill_at = point
    with pytest.raises(Killed):
        arm.say(0, broken())

    arm.bench.restart()

    assert [u.order_id for u in arm.said()] == ["order-0", "order-0-1"]


def test_of_what_cannot_be_read_an_update_says_nothing() -> None:
    arm = Arm(log_of(7))
    arm.tick(0)
    orders = [{"order_id": "a", "side": "UP", "quantity": -1, "role": [], "product": None}, {"order_id": 7}, "b"]

    arm.say(0, broken(signal=None, tickets=orders, time="noon"))

    (update,) = arm.updates()
    assert (update.order_id, update.strategy_id, update.instrument, update.signal_id) == ("a", "", "", None)
    assert (update.side, update.quantity, update.role, update.product) == (Side.BUY, 0, Role.ENTRY, Product.MIS)
    assert update.time == T0 + 7 * SECOND


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"[]",
        b'{"kind":"validated"}',
        broken(producer="stranger"),
        broken(kind="verdict"),
        broken(sequence="x"),
        broken(tickets=None),
        broken(tickets=[]),
    ],
)
def test_nothing_is_said_where_it_is_not_known_whose_orders_end(value: bytes) -> None:
    arm = Arm(ticks_log([140_000]))

    arm.say(0, value)

    assert len(arm.bench.to(DLQ)) == 1
    assert arm.updates() == []


def test_a_tick_record_that_cannot_be_decoded_ends_no_order() -> None:
    arm = Arm([broken()])

    arm.tick(0)

    assert len(arm.bench.to(DLQ)) == 1
    assert arm.updates() == []
    assert TICKS in arm.bench.to(DLQ)[0].value.decode()


@pytest.mark.parametrize("ordered", [False, True])
def test_a_verdict_that_comes_under_a_halt_places_no_order_and_ends(ordered: bool) -> None:
    arm = Arm(ticks_log([140_000, 140_100]), ordered=ordered)
    halt = Level(world="sim", scope="paper", setting="mode", value="HALTED", who="me", at=0, reason="enough")
    arm.context.levels.apply("paper.control", level_key("paper", "mode"), encode(halt))

    arm.order(a_validated(cause=0))
    for offset in range(2):
        arm.tick(offset)
    arm.risk_beat(1, T0 + 2 * SECOND)

    (ended,) = arm.updates()
    assert (ended.state, ended.reason, ended.filled) == (OrderState.CANCELLED, Reason.ARM_HALTED, 0)
