"""What risk books without a fill: the contract note of a day, and what operators want done to the books."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from panda_streams.codec import decode, encode
from panda_streams.domain.bookings import BookingKind
from panda_streams.domain.charges import fill_charges
from panda_streams.domain.contract_note import depository_charge
from panda_streams.domain.corporate_actions import CorporateAction, Ratio
from panda_streams.domain.ledger import Portfolio, apply_booking, apply_fill
from panda_streams.domain.orders import Fill, OrderState, Product
from panda_streams.domain.settlement import Holdings
from panda_streams.domain.signals import Intent, Side
from panda_streams.events import ActionKind, Booked, Completed
from panda_streams.streams.sender import partition_of
from tests.unit.agents.fakes import a_config
from tests.unit.agents.risk_arm import SECOND, RiskArm
from tests.unit.bench import Killed
from tests.unit.builders import FUTURE, INFY, SHARE, T0, a_fill

TUESDAY, WEDNESDAY = date(2021, 6, 8), date(2021, 6, 9)
CLOSE = T0 + 375 * 60 * SECOND
DAY = 86_400_000


def delivering(**fields: Any) -> RiskArm:
    account = {"capital": "100000", "share_of_capital": "0.1", "max_position": 100, "product": "CNC", "btst": True}
    return RiskArm(a_config(brokers=["paper"], accounts={"paper": account}), **fields)


def two_shards() -> RiskArm:
    return RiskArm(shards=2, partition=partition_of(b"paper", 2))


def charged(side: Side, quantity: int, price: str, product: Product = Product.MIS, **fields: Any) -> Fill:
    """A fill with the charges that the paper account is charged."""
    fill = a_fill(side, quantity, price, product=product, **fields)
    charges = fill_charges(SHARE, product, side, quantity, Decimal(price), TUESDAY, Decimal(0))
    return fill.model_copy(update={"charges": charges})


def bought(arm: RiskArm, number: int = 0, *, quantity: int = 10, product: Product = Product.MIS) -> Fill:
    """Say an entry, and its fill by shard 0."""
    arm.signal(number)
    order_id = arm.validated()[-1].tickets[0].order_id
    fill = charged(Side.BUY, quantity, "1000.35", product, number=number, order_id=order_id)
    arm.filled(number, fill)
    return fill


# The contract note


def test_the_note_is_posted_once_all_shards_have_ended_the_day() -> None:
    arm = two_shards()
    fill = bought(arm)

    arm.day_end(1, TUESDAY, time=CLOSE)
    waiting = arm.bookings()
    arm.day_end(0, TUESDAY, time=CLOSE + SECOND, shard=1)

    (note,) = arm.bookings()
    assert waiting == []
    assert (note.kind, note.strategy_id, note.fills, note.time) == (
        BookingKind.CONTRACT_NOTE,
        "Momentum",
        1,
        CLOSE + SECOND,
    )
    assert note.reason == "contract note of 2021-06-08"
    paid = fill.charged - note.amount
    assert paid == paid.quantize(Decimal("0.01"))


def test_a_note_goes_to_the_portfolio_of_its_strategy() -> None:
    arm = RiskArm()
    bought(arm)
    arm.day_end(1, TUESDAY, time=CLOSE)

    (output,) = arm.bench.to("paper.orders.filled")

    booked = decode(Booked, output.value)
    assert (output.key, booked.producer) == (b"Momentum", "risk")
    assert booked.sequence == arm.validated()[-1].sequence + 1


def test_a_day_end_that_is_said_again_posts_nothing_more() -> None:
    arm = RiskArm()
    bought(arm)
    arm.day_end(1, TUESDAY, time=CLOSE)

    arm.day_end(1, TUESDAY, time=CLOSE)
    arm.day_end(2, TUESDAY, time=CLOSE + SECOND)

    assert len(arm.bookings()) == 1


@pytest.mark.parametrize("point", ["write", "send"])
def test_a_kill_neither_loses_nor_doubles_a_note(point: str) -> None:
    arm = RiskArm()
    bought(arm)
    arm.bench.kill_at = point
    with pytest.raises(Killed):
        arm.day_end(1, TUESDAY, time=CLOSE)

    arm.bench.restart()
    arm.day_end(2, WEDNESDAY, time=CLOSE + DAY)

    assert len({booking.booking_id for booking in arm.bookings()}) == 1


def test_a_day_without_trades_posts_nothing() -> None:
    arm = RiskArm()
    bought(arm)
    arm.day_end(1, TUESDAY, time=CLOSE)

    arm.day_end(2, WEDNESDAY, time=CLOSE + DAY)

    assert len(arm.bookings()) == 1


def test_each_day_has_a_note_of_its_own() -> None:
    arm = RiskArm()
    bought(arm)
    arm.day_end(1, TUESDAY, time=CLOSE)
    arm.filled(2, charged(Side.SELL, 10, "1010.10", number=1, time=T0 + DAY))

    arm.day_end(3, WEDNESDAY, time=CLOSE + DAY)

    assert [(note.fills, note.reason[-10:]) for note in arm.bookings()] == [(1, "2021-06-08"), (2, "2021-06-09")]
    assert len({note.booking_id for note in arm.bookings()}) == 2


def test_fills_of_a_day_that_one_shard_has_not_ended_are_left_for_the_note_of_that_day() -> None:
    arm = two_shards()
    bought(arm)
    arm.day_end(1, TUESDAY, time=CLOSE)
    arm.filled(2, charged(Side.SELL, 10, "1010.10", number=1, time=T0 + DAY))

    arm.day_end(0, TUESDAY, time=CLOSE, shard=1)
    first = arm.bookings()
    for shard in (0, 1):
        arm.day_end(3, WEDNESDAY, time=CLOSE + DAY, shard=shard)

    assert [note.reason[-10:] for note in first] == ["2021-06-08"]
    assert [note.reason[-10:] for note in arm.bookings()] == ["2021-06-08", "2021-06-09"]


def test_a_day_that_had_no_end_has_its_note_with_the_next_ones() -> None:
    arm = RiskArm()
    bought(arm)
    arm.filled(1, charged(Side.SELL, 10, "1010.10", number=1, time=T0 + DAY))

    arm.day_end(2, WEDNESDAY, time=CLOSE + DAY)

    assert [note.reason[-10:] for note in arm.bookings()] == ["2021-06-08", "2021-06-09"]


def test_a_fill_that_is_heard_of_after_its_days_note_goes_into_the_next_one() -> None:
    arm = RiskArm()
    bought(arm)
    arm.day_end(1, TUESDAY, time=CLOSE)
    bought(arm, 2)

    arm.day_end(3, WEDNESDAY, time=CLOSE + DAY)

    assert [note.reason for note in arm.bookings()] == [
        "contract note of 2021-06-08",
        "contract note of 2021-06-09",
    ]
    assert len({note.booking_id for note in arm.bookings()}) == 2


def test_the_depository_is_paid_for_what_was_sold_from_delivery() -> None:
    arm = delivering()
    bought(arm, product=Product.CNC)
    arm.filled(1, charged(Side.SELL, 10, "1001", Product.CNC, number=1))

    arm.day_end(2, TUESDAY, time=CLOSE)

    (note,) = arm.bookings()
    assert note.charges["dp"] == depository_charge(TUESDAY)


def test_cash_after_the_note_is_that_of_the_strategys_portfolio() -> None:
    arm = RiskArm()
    fill = bought(arm)
    arm.day_end(1, TUESDAY, time=CLOSE)

    book = apply_fill(Portfolio.open("Momentum", Decimal(100_000)), fill)
    for booking in arm.bookings():
        book = apply_booking(book, booking)

    assert arm.book().cash == book.cash


def test_shares_are_settled_at_the_end_of_the_second_day() -> None:
    arm = delivering()
    bought(arm, product=Product.CNC)

    held = []
    for number, on in enumerate([TUESDAY, WEDNESDAY]):
        arm.day_end(number + 1, on, time=CLOSE + number * DAY)
        held.append(arm.book().holdings[INFY])

    assert held == [Holdings(pending={"2021-06-08": 10}), Holdings(settled=10)]


# Deposits, withdrawals, resets


def test_a_deposit_is_cash_and_is_booked() -> None:
    arm = RiskArm()
    bought(arm)

    said = arm.act(ActionKind.DEPOSIT, amount="500.50", strategy_id="Momentum")

    (booking,) = arm.bookings()
    assert (said.action_id, said.done) == ("a1", True)
    assert said.detail == f"Momentum now has {arm.book().cash:f} in cash"
    assert (booking.kind, booking.amount, booking.fills) == (BookingKind.DEPOSIT, Decimal("500.50"), 1)
    assert booking.reason == "because (me)"


def test_a_deposit_opens_the_book_with_the_configured_capital() -> None:
    arm = RiskArm()

    arm.act(ActionKind.DEPOSIT, amount="500", strategy_id="Momentum")

    assert arm.book().cash == 100_500


def test_an_action_that_comes_twice_is_done_once() -> None:
    arm = RiskArm()

    for _ in range(2):
        arm.act(ActionKind.DEPOSIT, amount="500", strategy_id="Momentum")
    arm.act(ActionKind.DEPOSIT, "a2", amount="1", strategy_id="Momentum")

    assert [said.action_id for said in arm.completed()] == ["a1", "a2"]
    assert arm.book().cash == 100_501


@pytest.mark.parametrize("point", ["write", "send"])
def test_a_kill_neither_loses_nor_doubles_an_action(point: str) -> None:
    arm = RiskArm()
    arm.bench.kill_at = point
    with pytest.raises(Killed):
        arm.act(ActionKind.DEPOSIT, amount="500", strategy_id="Momentum")

    arm.bench.restart()
    arm.act(ActionKind.DEPOSIT, amount="500", strategy_id="Momentum")

    assert arm.book().cash == 100_500
    assert len({booking.booking_id for booking in arm.bookings()}) == 1
    assert {said.action_id for said in arm.completed()} == {"a1"}


@pytest.mark.parametrize(("amount", "done"), [("89000", True), ("89000.01", False)])
def test_free_money_is_withdrawn_and_no_more(amount: str, done: bool) -> None:
    arm = RiskArm()
    arm.signal(0, price="1100")
    arm.act(ActionKind.WITHDRAW, "a0", amount="1100", strategy_id="Momentum")

    said = arm.act(ActionKind.WITHDRAW, amount=amount, strategy_id="Momentum")

    assert said.done is done
    if not done:
        assert said.detail == "Momentum has 89000 free: withdraw at most that"
        assert len(arm.bookings()) == 1


def test_what_a_short_position_ties_up_is_not_free() -> None:
    arm = RiskArm()
    arm.signal(0)
    arm.filled(0, a_fill(Side.SELL, 10, "1000", order_id=arm.validated()[0].tickets[0].order_id))

    said = arm.act(ActionKind.WITHDRAW, amount="90000.01", strategy_id="Momentum")

    assert said.detail == "Momentum has 90000 free: withdraw at most that"


def test_a_reset_begins_the_book_with_its_capital() -> None:
    arm = RiskArm()
    bought(arm)
    arm.filled(1, charged(Side.SELL, 10, "1010", number=1))

    said = arm.act(ActionKind.RESET, amount="5000", strategy_id="Momentum")

    (booking,) = arm.bookings()
    assert (said.done, arm.book().cash) == (True, 5000)
    assert (booking.kind, booking.amount, booking.fills) == (BookingKind.RESET, 5000, 2)


def test_a_strategy_with_positions_is_not_reset() -> None:
    arm = RiskArm()
    bought(arm)

    said = arm.act(ActionKind.RESET, amount="5000", strategy_id="Momentum")

    assert (said.done, said.detail) == (False, "Momentum still has 10 NSE:INFY: pause it and close them first")


def test_a_strategy_with_orders_in_flight_is_not_reset() -> None:
    arm = RiskArm()
    arm.signal(0)

    said = arm.act(ActionKind.RESET, amount="5000", strategy_id="Momentum")

    assert (said.done, said.detail) == (False, "Momentum still has 1 orders: pause it and close them first")


@pytest.mark.parametrize(
    ("what", "fields", "detail"),
    [
        (ActionKind.DEPOSIT, {"amount": "0", "strategy_id": "Momentum"}, "give an amount above 0"),
        (ActionKind.WITHDRAW, {"amount": "0", "strategy_id": "Momentum"}, "give an amount above 0"),
        (ActionKind.DEPOSIT, {"strategy_id": "Momentum"}, "needs a strategy and an amount"),
        (ActionKind.RESET, {"amount": "1"}, "needs a strategy and an amount"),
        (
            ActionKind.DEPOSIT,
            {"amount": "1", "strategy_id": "Momentm"},
            "Momentm has neither an account nor a book here",
        ),
        (ActionKind.DEPOSIT, {"amount": "1", "strategy_id": "Momentum", "world": "live"}, "for the world live"),
        (ActionKind.SPLIT, {"instrument": "NSE:NONE"}, "NSE:NONE is not in the list of instruments"),
        (ActionKind.SPLIT, {"instrument": FUTURE.id}, "only shares are split"),
        (ActionKind.BONUS, {"instrument": INFY}, "needs an instrument, a ratio and a price"),
        (
            ActionKind.BONUS,
            {"instrument": INFY, "ratio": Ratio(new=1, old=1), "price": Decimal(1)},
            "a bonus gives more shares than before, found 1 for 1",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_to_do(what: ActionKind, fields: dict[str, Any], detail: str) -> None:
    arm = RiskArm()

    said = arm.act(what, **fields)

    assert not said.done
    assert detail in said.detail
    assert (arm.bookings(), arm.account().books) == ([], {})


def test_money_of_a_strategy_that_is_configured_no_more_can_be_withdrawn() -> None:
    arm = RiskArm()
    arm.act(ActionKind.DEPOSIT, "a0", amount="1", strategy_id="Momentum")
    arm.context.strategies.clear()

    assert arm.act(ActionKind.WITHDRAW, amount="100001", strategy_id="Momentum").done


# Splits and bonus issues


def split(arm: RiskArm, new: int, old: int, what: ActionKind = ActionKind.SPLIT, action_id: str = "a1") -> Completed:
    ratio = Ratio(new=new, old=old)
    return arm.act(what, action_id, instrument=INFY, ratio=ratio, price=Decimal(1000))


@pytest.mark.parametrize("what", [ActionKind.SPLIT, ActionKind.BONUS])
def test_a_split_changes_positions_and_holdings_and_is_told_to_the_shard(what: ActionKind) -> None:
    arm = delivering()
    bought(arm, product=Product.CNC)
    arm.set_mode("paper", "HALTED")

    said = split(arm, 5, 2, what)

    (booking,) = arm.bookings()
    (adjusted,) = arm.adjusted()
    assert (said.done, said.detail) == (True, "NSE:INFY, 5 for 2: 1 books changed")
    assert (booking.action, booking.ratio, booking.fills) == (CorporateAction(what), Ratio(new=5, old=2), 1)
    assert (adjusted.instrument, adjusted.ratio) == (INFY, Ratio(new=5, old=2))
    assert arm.book().positions == {INFY: 25}
    assert arm.book().holdings == {INFY: Holdings(pending={"2021-06-08": 25})}
    assert arm.bench.to("paper.signals.validated")[-1].partition == arm.shards.shards(INFY)[0]


def test_the_part_of_a_share_is_paid_out_as_the_ledger_pays_it() -> None:
    arm = RiskArm()
    fill = bought(arm, quantity=3)
    arm.set_mode("paper", "HALTED")
    split(arm, 3, 2)

    book = apply_booking(apply_fill(Portfolio.open("Momentum", Decimal(100_000)), fill), arm.bookings()[0])

    assert arm.book().positions == {INFY: 4}
    assert (arm.book().cash, 4) == (book.cash, book.positions[INFY].quantity)


def test_a_position_that_a_split_leaves_nothing_of_ties_nothing_up_and_binds_no_product() -> None:
    arm = RiskArm()
    arm.signal(0)
    order_id = arm.validated()[0].tickets[0].order_id
    arm.filled(0, a_fill(Side.SELL, 1, "1000", order_id=order_id))
    arm.set_mode("paper", "HALTED")

    split(arm, 1, 2)

    book = arm.book()
    assert (book.positions, book.blocked, book.product) == ({}, {}, None)


def test_a_split_of_what_nobody_holds_tells_nobody() -> None:
    arm = RiskArm()
    arm.set_mode("paper", "HALTED")

    said = split(arm, 5, 1)

    assert (said.done, said.detail) == (True, "NSE:INFY, 5 for 1: 0 books changed")
    assert (arm.bookings(), arm.adjusted()) == ([], [])


def test_a_split_needs_a_halted_arm() -> None:
    arm = RiskArm()
    bought(arm)

    said = split(arm, 5, 1)

    assert not said.done
    assert "`panda halt` the arm first" in said.detail
    assert arm.book().positions == {INFY: 10}


def test_a_split_waits_for_orders_on_the_share() -> None:
    arm = RiskArm()
    bought(arm)
    arm.signal(1, Intent.EXIT)
    arm.set_mode("paper", "HALTED")

    refused = split(arm, 5, 1)
    arm.update(1, arm.validated()[-1].tickets[0].order_id, OrderState.EXPIRED, None)
    done = split(arm, 5, 1, action_id="a2")

    assert (refused.done, refused.detail) == (
        False,
        "orders on NSE:INFY are working: cancel them or wait for their end",
    )
    assert (done.done, arm.book().positions) == (True, {INFY: 50})


def test_a_split_that_comes_twice_is_done_once() -> None:
    arm = RiskArm()
    bought(arm)
    arm.set_mode("paper", "HALTED")

    for _ in range(2):
        split(arm, 5, 1)

    assert arm.book().positions == {INFY: 50}
    assert len(arm.adjusted()) == 1


# How actions come in


def test_an_action_waits_for_no_beat_and_what_became_of_it_is_no_action() -> None:
    arm = RiskArm(ordered=True)
    arm.signal(0, time=T0 + SECOND)

    said = arm.act(ActionKind.DEPOSIT, amount="500", strategy_id="Momentum")
    arm.deliver("audit", encode(said))

    assert said.done
    assert arm.validated() == []
    assert arm.completed() == [said]
