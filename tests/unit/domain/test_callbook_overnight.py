"""Calls that rest with the broker itself: no label is kept with them, and their list does not end with the day."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest

from panda_streams.domain import callbook
from panda_streams.domain.brokerage import (
    Answer,
    AnswerKind,
    BrokerBook,
    BrokerOrder,
    BrokerStatus,
    BrokerTrade,
    BrokerTrigger,
    Known,
    Modification,
    OrderRequest,
)
from panda_streams.domain.callbook import Call, CallBook, CallKind, CallState, Due, Ended, Heard, Moment
from panda_streams.domain.orders import Product, Reason
from panda_streams.domain.rates import PER_DAY, Rates
from panda_streams.domain.signals import OrderType, Side, Validity
from tests.unit.builders import INFY, T0

NOW = Moment(wall=T0, broker=T0)
DAY = 86_400_000


def later(ms: int) -> Moment:
    return Moment(T0 + ms, T0 + ms)


def a_stop(name: str = "stop", **fields: Any) -> Call:
    request = OrderRequest(
        order_id=name,
        tag=f"TAG{name}",
        instrument=INFY,
        side=Side.SELL,
        quantity=10,
        product=Product.CNC,
        order_type=OrderType.SL,
        validity=Validity.DAY,
        price=Decimal("97.00"),
        trigger=Decimal("99.00"),
        overnight=True,
        last_price=Decimal(100),
    )
    return Call(request=request, shard=2, closes=True, time=T0, since=T0, **fields)


def unknown(name: str = "stop", **fields: Any) -> Call:
    return a_stop(name, state=CallState.UNKNOWN, sent_at=T0, **fields)


def resting(name: str = "stop", broker_id: str = "gtt:7", **fields: Any) -> Call:
    plain = {
        "state": CallState.TAKEN,
        "sent_at": T0,
        "told": (BrokerStatus.TRIGGER_PENDING.value, 0, 0),
        "terms": (10, Decimal(97), Decimal(99)),
    }
    return a_stop(name, broker_id=broker_id, **{**plain, **fields})


def a_book(*calls: Call, **fields: Any) -> CallBook:
    return CallBook(calls={call.request.order_id: call for call in calls}, **fields)


def a_trigger(broker_id: str = "gtt:7", **fields: Any) -> BrokerTrigger:
    plain: dict[str, Any] = {
        "instrument": INFY,
        "side": Side.SELL,
        "product": "CNC",
        "quantity": 10,
        "price": Decimal(97),
        "trigger": Decimal(99),
        "last_price": Decimal(100),
        "status": BrokerStatus.TRIGGER_PENDING,
        "created": T0,
        "time": T0,
    }
    return BrokerTrigger(broker_id=broker_id, **{**plain, **fields})


def fired(broker_id: str = "gtt:7", placed: str | None = "X", **fields: Any) -> BrokerTrigger:
    return a_trigger(broker_id, status=BrokerStatus.OPEN, placed=placed, **fields)


def an_order(broker_id: str = "X", **fields: Any) -> BrokerOrder:
    plain: dict[str, Any] = {
        "instrument": INFY,
        "side": Side.SELL,
        "product": "CNC",
        "order_type": "LIMIT",
        "status": BrokerStatus.OPEN,
        "quantity": 10,
        "filled": 0,
        "price": Decimal(97),
        "time": T0,
    }
    return BrokerOrder(broker_id=broker_id, tag=None, **{**plain, **fields})


def a_trade(quantity: int, trade_id: str = "1", broker_id: str = "X") -> BrokerTrade:
    return BrokerTrade(
        trade_id=trade_id,
        exchange="NSE",
        broker_id=broker_id,
        instrument=INFY,
        side=Side.SELL,
        product="CNC",
        quantity=quantity,
        price=Decimal(98),
        time=T0,
    )


def read(
    book: CallBook,
    triggers: Iterable[BrokerTrigger] | None = (),
    orders: Iterable[BrokerOrder] = (),
    trades: Iterable[BrokerTrade] = (),
    *,
    now: Moment = NOW,
    known: dict[str, Ended] | None = None,
) -> Heard:
    found = BrokerBook(
        orders=tuple(orders), trades=tuple(trades), triggers=None if triggers is None else tuple(triggers)
    )
    return callbook.read_book(
        book,
        found,
        now,
        asked_at=now.wall,
        absent_after_ms=60_000,
        own=lambda tag: tag is not None and tag.startswith("TAG"),
        remembered=lambda broker_id: (known or {}).get(broker_id),
    )


def knows(heard: Heard) -> list[tuple[str, Known, Reason | None]]:
    return [(name, word.known, word.reason) for name, _, _, word in heard.words]


def status(heard: Heard) -> BrokerStatus:
    [(_, _, _, word)] = heard.words
    assert word.order is not None
    return word.order.status


# Which one it is


def test_an_unknown_stop_is_found_by_what_it_says() -> None:
    heard = read(a_book(unknown()), [a_trigger()])

    assert (status(heard), heard.book.calls["stop"].broker_id) == (BrokerStatus.TRIGGER_PENDING, "gtt:7")


@pytest.mark.parametrize(
    "other",
    [
        {"quantity": 9},
        {"trigger": Decimal("98.95")},
        {"price": Decimal("96.95")},
        {"side": Side.BUY},
        {"instrument": "NSE:TCS"},
        {"created": T0 - 60_001},
    ],
)
def test_another_trigger_is_not_taken_for_it_and_harms_nobody(other: dict[str, Any]) -> None:
    heard = read(a_book(unknown()), [a_trigger(**other)])

    assert heard == Heard(a_book(unknown()))


def test_one_that_has_ended_is_not_taken_for_its_like() -> None:
    known = {"gtt:7": Ended(order_id="before", filled=0)}

    heard = read(a_book(unknown()), [a_trigger(status=BrokerStatus.CANCELLED), a_trigger("gtt:8")], known=known)

    assert heard.book.calls["stop"].broker_id == "gtt:8"


def test_two_alike_are_told_apart() -> None:
    heard = read(a_book(unknown("one"), resting("two")), [a_trigger("gtt:7"), a_trigger("gtt:8")])

    assert {name: call.broker_id for name, call in heard.book.calls.items()} == {"one": "gtt:8", "two": "gtt:7"}


def test_one_that_was_never_sent_is_not_found() -> None:
    heard = read(a_book(a_stop()), [a_trigger()])

    assert heard.book.calls["stop"].state is CallState.QUEUED


def test_it_is_known_by_its_id_whatever_it_has_become() -> None:
    change = Modification(trigger=Decimal(101), price=Decimal(99), quantity=12)
    book = a_book(resting(change=change, asked=1))

    kept = read(book, [a_trigger()])
    done = read(book, [a_trigger(trigger=Decimal(101), price=Decimal(99), quantity=12)])

    assert kept.book.calls["stop"].change == change
    assert done.book.calls["stop"].change is None


# When it fires


def test_the_order_that_it_places_is_its_own() -> None:
    heard = read(
        a_book(resting(), held={INFY: 10}),
        [fired()],
        [an_order(filled=10, status=BrokerStatus.COMPLETE)],
        [a_trade(4), a_trade(6, "2")],
    )

    [(name, _, _, word)] = heard.words
    assert word.order is not None
    assert (name, word.broker_id, word.order.status, word.order.trigger) == (
        "stop",
        "gtt:7",
        BrokerStatus.COMPLETE,
        Decimal(99),
    )
    assert [(trade.broker_id, trade.quantity) for trade in word.trades] == [("X", 4), ("X", 6)]
    assert (heard.strangers, heard.book.calls, heard.book.held) == ((), {}, {})


def test_an_order_may_say_itself_which_trigger_has_placed_it() -> None:
    heard = read(a_book(resting()), [a_trigger()], [an_order(filled=4, placed_by="gtt:7")], [a_trade(4)])

    assert status(heard) is BrokerStatus.OPEN
    assert not heard.strangers


def test_an_order_that_may_be_its_own_is_nobodys_before_the_list_has_told() -> None:
    orders, trades = [an_order(filled=4)], [a_trade(4)]

    first = read(a_book(resting()), [a_trigger()], orders, trades)
    second = read(first.book, [fired()], orders, trades)

    assert (first.strangers, knows(first)) == ((), [])
    assert status(second) is BrokerStatus.OPEN


def test_an_order_that_cannot_be_its_own_is_nobodys() -> None:
    heard = read(a_book(resting()), [a_trigger()], [an_order(price=Decimal(98), filled=4)], [a_trade(4)])

    assert [stranger.quantity for stranger in heard.strangers] == [-4]


def test_its_order_is_nobody_elses_once_it_has_ended_and_triggers_are_asked_for_no_more() -> None:
    orders, trades = [an_order(filled=10, status=BrokerStatus.COMPLETE)], [a_trade(10)]
    done = read(a_book(resting()), [fired()], orders, trades)

    again = read(done.book, None, orders, trades, known=dict(done.ended))

    assert (again.strangers, again.words, again.quarantined) == ((), (), ())


def test_what_a_trigger_of_others_places_is_nobodys() -> None:
    heard = read(
        a_book(resting()), [a_trigger(), fired("gtt:9", "Y")], [an_order("Y", filled=5)], [a_trade(5, "3", "Y")]
    )

    assert [stranger.quantity for stranger in heard.strangers] == [-5]


def test_an_order_that_the_book_does_not_show_yet_is_waited_for() -> None:
    book = read(a_book(resting()), [fired()]).book
    assert book.unseen == ("stop",)

    heard = read(book, [fired()], [an_order(filled=4)], [a_trade(4)])

    assert status(heard) is BrokerStatus.OPEN
    assert heard.book.unseen == ()


def test_an_order_of_an_earlier_day_has_ended_and_its_trades_are_found_in_what_is_held() -> None:
    book = a_book(resting(told=(BrokerStatus.OPEN.value, 4, 1)), held={INFY: 6})

    first = read(book, [fired()], now=later(DAY))
    second = read(first.book, [fired()], now=later(DAY + 2_000))

    assert knows(first) == []
    assert knows(second) == [("stop", Known.DROPPED, Reason.BOOK_GONE)]
    assert second.book.held == {INFY: 6}


def test_one_whose_order_was_refused_is_rejected_in_the_brokers_words() -> None:
    heard = read(a_book(resting()), [a_trigger(status=BrokerStatus.REJECTED, text="Insufficient stock holding")])

    assert (status(heard), heard.words[0][3].text) == (BrokerStatus.REJECTED, "Insufficient stock holding")
    assert not heard.book.calls


# When it is gone


def test_it_outlives_its_day() -> None:
    heard = read(a_book(resting()), [a_trigger()], now=later(5 * DAY))

    assert (knows(heard), "stop" in heard.book.calls) == ([], True)


@pytest.mark.parametrize(("cancel", "reason"), [(True, None), (False, Reason.BROKER_CANCELLED)])
def test_one_that_is_listed_no_more_is_gone(cancel: bool, reason: Reason | None) -> None:
    heard = read(a_book(resting(cancel=cancel)), [])

    assert knows(heard) == [("stop", Known.DROPPED, reason)]
    assert dict(heard.ended) == {"gtt:7": Ended(order_id="stop", filled=0)}


def test_one_that_is_listed_as_deleted_is_cancelled() -> None:
    assert status(read(a_book(resting(cancel=True)), [a_trigger(status=BrokerStatus.CANCELLED)])) is (
        BrokerStatus.CANCELLED
    )


def test_one_that_was_not_listed_yet_is_waited_for() -> None:
    book = a_book(resting(told=None))

    assert knows(read(book, now=later(59_999))) == []
    assert knows(read(book, now=later(60_000))) == [("stop", Known.DROPPED, Reason.BROKER_CANCELLED)]


@pytest.mark.parametrize("days", [0, 3])
def test_an_unknown_one_is_absent_once_a_list_was_read_late_enough_on_whatever_day(days: int) -> None:
    heard = read(a_book(unknown()), now=later(60_000 + days * DAY))

    assert knows(heard) == [("stop", Known.ABSENT, None)]
    assert not heard.overdue


def test_a_book_without_the_list_proves_nothing() -> None:
    book = a_book(unknown("one"), resting("two"))

    assert read(book, None, now=later(DAY)) == Heard(book)


# Limits


def test_it_counts_as_a_call_and_not_as_an_order() -> None:
    full = Rates(date="2021-06-08", day=PER_DAY)
    book = a_book(a_stop(), rates=full)
    due = callbook.due(book, NOW, entries=True, exits=True)
    assert due is not None
    assert not callbook.put_off(book, NOW, halted=False).words

    rates = callbook.starting(book, due, NOW).book.rates

    assert (len(rates.recent), rates.day, rates.placed) == (1, PER_DAY, {})


def test_a_change_of_one_that_was_never_sent_changes_what_is_sent_and_found() -> None:
    book = callbook.asked_change(
        a_book(a_stop()), "stop", Modification(trigger=Decimal(101), price=Decimal(99), last_price=Decimal(103)), T0, 1
    )
    request = book.calls["stop"].request
    assert (request.trigger, request.price, request.last_price) == (Decimal(101), Decimal(99), Decimal(103))
    due = Due(CallKind.PLACE, "stop", book.calls["stop"])
    book = callbook.starting(book, due, NOW).book

    book = callbook.answered(book, due, Answer(kind=AnswerKind.UNSURE), NOW).book

    assert status(read(book, [a_trigger(trigger=Decimal(101), price=Decimal(99))])) is BrokerStatus.TRIGGER_PENDING


def test_a_smaller_quantity_is_asked_for_until_the_list_shows_it() -> None:
    change = Modification(quantity=8)
    book = a_book(resting(change=change, asked=1))
    due = Due(CallKind.MODIFY, "stop", book.calls["stop"])

    book = callbook.answered(book, due, Answer(kind=AnswerKind.TAKEN, broker_id="gtt:7"), NOW).book

    assert read(book, [a_trigger()]).book.calls["stop"].change == change
    assert read(book, [a_trigger(quantity=8)]).book.calls["stop"].change is None
