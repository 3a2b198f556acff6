"""What an account has asked of its broker: sent once under one id, and never guessed about."""

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
    BrokerHolding,
    BrokerOrder,
    BrokerStatus,
    BrokerTrade,
    Known,
    Modification,
    OrderRequest,
)
from panda_streams.domain.calendar import trading_date
from panda_streams.domain.callbook import Call, CallBook, CallKind, CallState, Due, Ended, Heard, Moment
from panda_streams.domain.orders import Product, Reason
from panda_streams.domain.rates import PER_DAY, PER_MINUTE, PER_SECOND, Rates
from panda_streams.domain.signals import OrderType, Side, Validity
from tests.unit.builders import INFY, T0

NOW = Moment(wall=T0, broker=T0)
DAY = 86_400_000
TODAY = trading_date(T0).isoformat()


def later(ms: int) -> Moment:
    return Moment(T0 + ms, T0 + ms)


def a_call(name: str = "one", *, closes: bool = False, **fields: Any) -> Call:
    request = OrderRequest(
        order_id=name,
        tag=f"TAG{name}",
        instrument=INFY,
        side=Side.SELL if closes else Side.BUY,
        quantity=10,
        product=Product.MIS,
        order_type=OrderType.LIMIT,
        validity=Validity.DAY,
        price=Decimal(100),
    )
    return Call(request=request, shard=2, closes=closes, time=T0, **{"day": TODAY, **fields})


def a_book(*calls: Call, **fields: Any) -> CallBook:
    return CallBook(calls={call.request.order_id: call for call in calls}, **fields)


def taken(name: str = "one", broker_id: str = "7", **fields: Any) -> Call:
    return a_call(name, state=CallState.TAKEN, broker_id=broker_id, **fields)


def an_order(broker_id: str = "7", *, tag: str | None = "TAGone", **fields: Any) -> BrokerOrder:
    plain: dict[str, Any] = {
        "instrument": INFY,
        "side": Side.BUY,
        "product": "MIS",
        "order_type": "LIMIT",
        "status": BrokerStatus.OPEN,
        "quantity": 10,
        "filled": 0,
        "price": Decimal(100),
        "time": T0,
    }
    return BrokerOrder(broker_id=broker_id, tag=tag, **{**plain, **fields})


def a_trade(quantity: int, trade_id: str = "1", broker_id: str = "7", side: Side = Side.BUY) -> BrokerTrade:
    return BrokerTrade(
        trade_id=trade_id,
        exchange="NSE",
        broker_id=broker_id,
        instrument=INFY,
        side=side,
        product="MIS",
        quantity=quantity,
        price=Decimal(100),
        time=T0,
    )


def read(
    book: CallBook,
    orders: Iterable[BrokerOrder] = (),
    trades: Iterable[BrokerTrade] = (),
    *,
    now: Moment = NOW,
    known: dict[str, Ended] | None = None,
) -> Heard:
    return callbook.read_book(
        book,
        BrokerBook(orders=tuple(orders), trades=tuple(trades)),
        now,
        asked_at=now.wall,
        absent_after_ms=60_000,
        own=lambda tag: tag is not None and tag.startswith("TAG"),
        remembered=lambda broker_id: (known or {}).get(broker_id),
    )


def knows(heard: Heard) -> list[tuple[str, Known]]:
    return [(name, word.known) for name, _, _, word in heard.words]


def send(book: CallBook, name: str, now: Moment = NOW, kind: CallKind = CallKind.PLACE) -> tuple[CallBook, Due]:
    due = Due(kind, name, book.calls[name])
    return callbook.starting(book, due, now).book, due


# Sending


def test_a_command_that_comes_twice_is_one_call() -> None:
    book = callbook.asked_place(a_book(taken()), a_call())

    assert book.calls["one"].state is CallState.TAKEN


def test_an_order_is_sending_before_it_leaves_and_is_not_due_again() -> None:
    book = a_book(a_call())
    due = callbook.due(book, NOW, entries=True, exits=True)
    assert due is not None

    heard = callbook.starting(book, due, NOW)

    assert knows(heard) == [("one", Known.SENDING)]
    assert callbook.due(heard.book, later(DAY), entries=True, exits=True) is None


def test_what_closes_goes_before_what_opens_and_cancellations_before_both() -> None:
    book = a_book(a_call("entry"), a_call("exit", closes=True), taken("other", cancel=True))
    order = []

    while (due := callbook.due(book, NOW, entries=True, exits=True)) is not None:
        order.append((due.order_id, due.kind))
        book = callbook.starting(book, due, NOW).book

    assert order == [("other", CallKind.CANCEL), ("exit", CallKind.PLACE), ("entry", CallKind.PLACE)]


def test_a_halted_arm_sends_exits_and_drops_entries() -> None:
    book = a_book(a_call("entry"), a_call("exit", closes=True))

    heard = callbook.put_off(book, NOW, halted=True)

    assert [(name, word.reason) for name, _, _, word in heard.words] == [("entry", Reason.ARM_HALTED)]
    due = callbook.due(heard.book, NOW, entries=False, exits=True)
    assert due is not None
    assert due.order_id == "exit"


def test_an_entry_that_is_too_old_is_dropped_and_an_exit_never_is() -> None:
    book = a_book(a_call("entry", until=T0 + 60_000), a_call("exit", closes=True))

    heard = callbook.put_off(book, later(60_001), halted=False)

    assert [(name, word.reason) for name, _, _, word in heard.words] == [("entry", Reason.TOO_LATE)]


def test_what_was_never_sent_is_taken_back_without_a_call() -> None:
    heard = callbook.asked_cancel(a_book(a_call()), "one", T0)

    assert knows(heard) == [("one", Known.DROPPED)]
    assert not heard.book.calls


def test_a_change_of_what_was_never_sent_changes_what_is_sent() -> None:
    book = callbook.asked_change(a_book(a_call()), "one", Modification(price=Decimal(99)), T0, 1)

    assert book.calls["one"].request.price == Decimal(99)
    assert book.calls["one"].change is None


def test_of_two_changes_the_later_one_counts_field_by_field() -> None:
    book = callbook.asked_change(a_book(taken()), "one", Modification(price=Decimal(99), quantity=5), T0, 1)

    book = callbook.asked_change(book, "one", Modification(price=Decimal(98)), T0, 2)

    assert book.calls["one"].change == Modification(price=Decimal(98), quantity=5)


# Answers


@pytest.mark.parametrize(
    ("kind", "state", "known"),
    [
        (AnswerKind.TAKEN, CallState.TAKEN, [("one", Known.TAKEN)]),
        (AnswerKind.UNSURE, CallState.UNKNOWN, [("one", Known.UNKNOWN)]),
        (AnswerKind.THROTTLED, CallState.QUEUED, []),
        (AnswerKind.LOGGED_OUT, CallState.QUEUED, []),
    ],
)
def test_an_answer_says_what_is_known(kind: AnswerKind, state: CallState, known: list[tuple[str, Known]]) -> None:
    book, due = send(a_book(a_call()), "one")

    heard = callbook.answered(book, due, Answer(kind=kind, broker_id="7"), NOW)

    assert heard.book.calls["one"].state is state
    assert knows(heard) == known


def test_a_refused_order_is_over() -> None:
    book, due = send(a_book(a_call()), "one")

    heard = callbook.answered(book, due, Answer(kind=AnswerKind.REFUSED, text="no"), NOW)

    assert knows(heard) == [("one", Known.REFUSED)]
    assert not heard.book.calls


def test_a_call_that_came_too_fast_waits_for_the_next_second() -> None:
    book, due = send(a_book(a_call()), "one")

    book = callbook.answered(book, due, Answer(kind=AnswerKind.THROTTLED), NOW).book

    assert callbook.due(book, later(900), entries=True, exits=True) is None
    assert callbook.due(book, later(1_200), entries=True, exits=True) is not None


def test_what_was_on_its_way_when_its_owner_ended_is_unknown() -> None:
    book, _ = send(a_book(a_call()), "one")

    heard = callbook.restarted(book, NOW)

    assert knows(heard) == [("one", Known.UNKNOWN)]
    assert callbook.due(heard.book, later(DAY), entries=True, exits=True) is None


def test_a_cancellation_is_asked_for_again_until_the_book_shows_it() -> None:
    book, due = send(a_book(taken(cancel=True)), "one", kind=CallKind.CANCEL)
    book = callbook.answered(book, due, Answer(kind=AnswerKind.TAKEN, broker_id="7"), NOW).book

    assert callbook.due(book, later(1_000), entries=True, exits=True) is None
    assert callbook.due(book, later(2_001), entries=True, exits=True) is not None
    assert not read(book, [an_order(status=BrokerStatus.CANCELLED)]).book.calls


def test_cancellations_that_the_broker_is_slow_with_hold_up_no_exit() -> None:
    book = a_book(*(taken(str(n), str(n), cancel=True) for n in range(20)), a_call("exit", closes=True))
    for n in range(20):
        book, _ = send(book, str(n), later(n * 200), CallKind.CANCEL)

    due = callbook.due(book, later(10_000), entries=True, exits=True)

    assert due is not None
    assert due.order_id == "exit"


def test_a_cancellation_is_asked_for_ever_more_rarely() -> None:
    book, asked = a_book(taken(cancel=True)), []
    for at in range(0, 130_000, 1000):
        due = callbook.due(book, later(at), entries=True, exits=True)
        if due is not None:
            asked.append(at // 1000)
            book = callbook.starting(book, due, later(at)).book
            book = callbook.answered(book, due, Answer(kind=AnswerKind.TAKEN, broker_id="7"), later(at)).book

    assert asked == [0, 2, 6, 14, 30, 60, 90, 120]


# The broker's book


def test_an_order_that_was_taken_is_unseen_until_the_book_shows_it() -> None:
    book = a_book(taken())

    hidden, shown = read(book), read(book, [an_order()])

    assert (hidden.book.unseen, shown.book.unseen) == (("one",), ())
    assert hidden.words == ()


def test_the_books_are_in_step_once_the_desks_know_of_each_order_what_the_broker_has() -> None:
    partly = an_order(filled=4)
    found = BrokerBook(orders=(partly,), trades=(a_trade(4),))
    book = read(a_book(taken()), found.orders, found.trades).book

    assert book.in_step(found)
    assert not a_book(taken()).in_step(found)
    assert not book.in_step(BrokerBook(orders=(an_order(filled=6),), trades=(a_trade(4),)))
    assert not book.in_step(BrokerBook(orders=(), trades=()))
    assert a_book(a_call()).in_step(found)


def test_an_unknown_order_is_found_by_its_label() -> None:
    book = a_book(a_call(state=CallState.UNKNOWN))

    heard = read(book, [an_order()])

    assert knows(heard) == [("one", Known.BOOK)]
    assert heard.book.calls["one"].broker_id == "7"


@pytest.mark.parametrize(("ms", "known"), [(59_999, []), (60_000, [("one", Known.ABSENT)])])
def test_an_unknown_order_is_absent_only_by_a_book_that_was_read_late_enough(
    ms: int, known: list[tuple[str, Known]]
) -> None:
    book = a_book(a_call(state=CallState.UNKNOWN, sent_at=T0))

    assert knows(read(book, now=later(ms))) == known


def test_a_book_of_another_day_proves_nothing() -> None:
    book = a_book(a_call(state=CallState.UNKNOWN, sent_at=T0))

    heard = read(book, now=later(DAY))

    assert heard.overdue == ("one",)
    assert "one" in heard.book.calls


def test_what_is_asked_on_a_later_day_makes_no_book_of_that_day_a_proof() -> None:
    book, _ = send(a_book(a_call("one", closes=True)), "one")
    book = callbook.restarted(book, NOW).book

    book = callbook.asked_cancel(book, "one", T0 + DAY).book
    heard = read(book, now=later(DAY + 60_000))

    assert heard.words == ()
    assert heard.overdue == ("one",)


def test_an_order_is_looked_for_in_the_book_of_the_day_on_which_it_was_sent() -> None:
    """It may have waited since the day before."""
    book, due = send(a_book(a_call(closes=True)), "one", later(DAY))
    book = callbook.answered(book, due, Answer(kind=AnswerKind.UNSURE), later(DAY)).book

    assert knows(read(book, now=later(DAY + 60_000))) == [("one", Known.ABSENT)]
    assert read(book, now=later(2 * DAY)).overdue == ("one",)


def test_an_operator_may_say_that_an_unknown_order_never_arrived() -> None:
    book = a_book(a_call(state=CallState.UNKNOWN), taken("other"))

    assert knows(callbook.resolved(book, "one", NOW)) == [("one", Known.ABSENT)]
    assert knows(callbook.resolved(book, "other", NOW)) == []


def test_a_working_order_whose_book_is_gone_has_ended() -> None:
    heard = read(a_book(taken()), now=later(DAY))

    assert [(word.known, word.reason) for *_, word in heard.words] == [(Known.DROPPED, Reason.BOOK_GONE)]


def test_an_order_is_told_of_only_when_something_has_changed() -> None:
    book = read(a_book(taken()), [an_order()]).book

    assert knows(read(book, [an_order()])) == []
    assert knows(read(book, [an_order(filled=4)], [a_trade(4)])) == [("one", Known.BOOK)]


def test_a_fill_is_told_of_once_its_trades_are_there() -> None:
    book = read(a_book(taken()), [an_order()]).book

    assert knows(read(book, [an_order(filled=10, status=BrokerStatus.COMPLETE)], [a_trade(4)])) == []


def test_an_older_book_that_comes_late_takes_nothing_back() -> None:
    done = read(a_book(taken()), [an_order(filled=10, status=BrokerStatus.COMPLETE)], [a_trade(10)])

    heard = read(done.book, [an_order()], known=dict(done.ended))

    assert not heard.words
    assert not heard.strangers
    assert not heard.quarantined


def test_what_the_desks_were_told_adds_up_to_what_the_account_holds() -> None:
    book = read(a_book(taken()), [an_order(filled=4)], [a_trade(4)]).book
    book = read(book, [an_order(filled=10, status=BrokerStatus.COMPLETE)], [a_trade(4), a_trade(6, "2")]).book

    assert book.held == {INFY: 10}


def test_a_change_is_forgotten_once_the_book_shows_it() -> None:
    book = a_book(taken(change=Modification(price=Decimal(99)), asked=1))

    assert read(book, [an_order()]).book.calls["one"].change is not None
    assert read(book, [an_order(price=Decimal(99))]).book.calls["one"].change is None


def a_changed_order(quantity: int, answer: AnswerKind) -> CallBook:
    """An order of ten, of which another quantity was asked for."""
    book = read(a_book(taken(change=Modification(quantity=quantity))), [an_order()]).book
    book, due = send(book, "one", kind=CallKind.MODIFY)
    return callbook.answered(book, due, Answer(kind=answer), NOW).book


def test_another_quantity_is_asked_for_again_until_the_book_shows_it() -> None:
    book = a_changed_order(6, AnswerKind.TAKEN)

    hidden, shown = read(book, [an_order()]).book, read(book, [an_order(quantity=6)]).book

    assert callbook.due(hidden, later(1_000), entries=True, exits=True) is None
    assert callbook.due(hidden, later(2_001), entries=True, exits=True) is not None
    assert callbook.due(shown, later(2_001), entries=True, exits=True) is None


@pytest.mark.parametrize(("quantity", "kinds"), [(6, [CallKind.CANCEL]), (15, [])])
def test_an_order_that_cannot_be_made_smaller_is_cancelled(quantity: int, kinds: list[CallKind]) -> None:
    book = a_changed_order(quantity, AnswerKind.REFUSED)

    due = callbook.due(book, later(2_001), entries=True, exits=True)

    assert ([due.kind] if due is not None else []) == kinds


def asked(book: CallBook, changes: int = 1, **change: Any) -> CallBook:
    return callbook.asked_change(book, "one", Modification(**change), T0, changes)


def changed(book: CallBook, kind: AnswerKind, text: str = "", now: Moment = NOW) -> CallBook:
    """The broker is asked for the change, and answers."""
    book, due = send(book, "one", now, kind=CallKind.MODIFY)
    return callbook.answered(book, due, Answer(kind=kind, text=text), now).book


def a_moved_order(kind: AnswerKind, text: str = "") -> CallBook:
    """An order at 100, of which the desk has asked for 99, after the broker's answer."""
    return changed(asked(read(a_book(taken()), [an_order()]).book, price=Decimal(99)), kind, text)


def terms(heard: Heard) -> list[tuple[int | None, Decimal | None, str]]:
    """What the desk is told: how many of its changes are settled, the price in the book, and the broker's words."""
    return [(word.changes, word.order.price, word.text) for _, _, _, word in heard.words if word.order is not None]


def test_a_desk_is_told_that_its_change_was_refused_and_why() -> None:
    book = a_moved_order(AnswerKind.REFUSED, "Trigger price beyond the last price")

    heard = read(book, [an_order()])

    assert terms(heard) == [(1, Decimal(100), "Trigger price beyond the last price")]
    assert not read(heard.book, [an_order()]).words


def test_a_desk_is_told_once_that_its_change_was_made() -> None:
    heard = read(a_moved_order(AnswerKind.TAKEN), [an_order(price=Decimal(99))])

    assert terms(heard) == [(1, Decimal(99), "")]
    assert not read(heard.book, [an_order(price=Decimal(99))]).words


@pytest.mark.parametrize(("ms", "told"), [(9_999, []), (10_000, [(1, Decimal(100), "RMS: not allowed")])])
def test_a_change_that_was_taken_and_never_shows_was_not_made(ms: int, told: list[tuple[int, Decimal, str]]) -> None:
    book = a_moved_order(AnswerKind.TAKEN)

    assert callbook.due(book, later(60_000), entries=True, exits=True) is None
    assert terms(read(book, [an_order(text="RMS: not allowed")], now=later(ms))) == told


def test_terms_in_the_book_are_no_word_on_a_change_that_is_on_its_way() -> None:
    for book, order in (
        (a_moved_order(AnswerKind.TAKEN), an_order(filled=4)),
        (a_moved_order(AnswerKind.UNSURE), an_order(filled=4)),
        (a_moved_order(AnswerKind.REFUSED), an_order(filled=4, status=BrokerStatus.PENDING)),
    ):
        assert [word.changes for _, _, _, word in read(book, [order], [a_trade(4)]).words] == [None]


def test_a_change_by_hand_is_told() -> None:
    book = read(a_book(taken()), [an_order()]).book

    assert terms(read(book, [an_order(price=Decimal(98))])) == [(0, Decimal(98), "")]


def test_changes_after_refused_ones_wait_ever_longer() -> None:
    book, now = a_book(taken()), T0
    for number, wait in enumerate([2_000, 4_000, 8_000, 16_000, 30_000, 30_000], 1):
        book = changed(asked(book, number, price=Decimal(99)), AnswerKind.REFUSED, now=Moment(now, now))
        again = asked(book, number + 1, price=Decimal(98))
        assert callbook.due(again, Moment(now + wait - 1, now), entries=True, exits=True) is None
        now += wait
        assert callbook.due(again, Moment(now, now), entries=True, exits=True) is not None

    made = changed(asked(book, 9, price=Decimal(90)), AnswerKind.TAKEN)
    assert read(made, [an_order(price=Decimal(90))]).book.calls["one"].refusals == 0


@pytest.mark.parametrize("quantity", [6, 16])
def test_another_quantity_does_not_wait_for_prices_that_were_refused(quantity: int) -> None:
    book = asked(a_moved_order(AnswerKind.REFUSED), 2, quantity=quantity)

    due = callbook.due(book, later(2_000), entries=True, exits=True)

    assert due is not None
    assert due.call.change == Modification(quantity=quantity)


def test_a_smaller_quantity_waits_for_nothing() -> None:
    book = changed(asked(a_book(taken()), quantity=16), AnswerKind.REFUSED)

    assert callbook.due(asked(book, 2, quantity=6), NOW, entries=True, exits=True) is not None


def test_a_smaller_quantity_alone_is_repeated_and_a_price_beside_it_has_its_own_end() -> None:
    book = read(a_book(taken()), [an_order()]).book
    book = changed(asked(book, price=Decimal(99), quantity=6), AnswerKind.TAKEN)

    due = callbook.due(book, later(2_001), entries=True, exits=True)
    shown = read(book, [an_order(quantity=6)], now=later(3_000))
    at_last = read(shown.book, [an_order(quantity=6)], now=later(10_000))

    assert due is not None
    assert due.call.change == Modification(quantity=6)
    assert terms(shown) == []
    assert terms(at_last) == [(1, Decimal(100), "")]


def test_a_larger_quantity_that_never_shows_was_not_made() -> None:
    book = changed(asked(read(a_book(taken()), [an_order()]).book, quantity=16), AnswerKind.TAKEN)

    assert callbook.due(book, later(60_000), entries=True, exits=True) is None
    assert terms(read(book, [an_order()], now=later(10_000))) == [(1, Decimal(100), "")]


def test_a_change_that_is_taken_back_while_it_is_on_its_way_is_asked_for() -> None:
    """The book still shows what is wanted again: that is no answer to it."""
    book = a_moved_order(AnswerKind.TAKEN)

    book = read(asked(book, 2, price=Decimal(100)), [an_order()]).book

    due = callbook.due(book, later(2_001), entries=True, exits=True)
    assert due is not None
    assert due.call.change == Modification(price=Decimal(100))


@pytest.mark.parametrize("kind", [AnswerKind.UNSURE, AnswerKind.THROTTLED])
def test_a_change_that_is_taken_back_in_vain_is_asked_for_again(kind: AnswerKind) -> None:
    """The first change is yet to show, and nobody knows of the second."""
    book = changed(asked(a_moved_order(AnswerKind.TAKEN), 2, price=Decimal(100)), kind)

    book = read(book, [an_order()]).book

    assert book.calls["one"].change == Modification(price=Decimal(100))


def test_a_larger_quantity_that_was_refused_with_a_price_is_asked_for_alone() -> None:
    book = read(a_book(taken()), [an_order()]).book
    book = changed(asked(book, price=Decimal(99), quantity=16), AnswerKind.REFUSED, "price")

    due = callbook.due(book, NOW, entries=True, exits=True)
    shown = read(changed(book, AnswerKind.TAKEN), [an_order(quantity=16)])

    assert due is not None
    assert due.call.change == Modification(quantity=16)
    assert terms(shown) == [(1, Decimal(100), "")]


def test_a_price_does_not_wait_for_a_quantity_that_was_refused() -> None:
    book = changed(asked(a_book(taken()), quantity=16), AnswerKind.REFUSED)

    assert callbook.due(asked(book, 2, price=Decimal(99)), later(2_000), entries=True, exits=True) is not None


def test_a_change_of_an_order_on_its_way_is_in_it_if_it_was_not_taken() -> None:
    book, due = send(a_book(a_call()), "one")
    book = asked(book, quantity=15)
    book = callbook.answered(book, due, Answer(kind=AnswerKind.THROTTLED), NOW).book
    book = asked(book, 2, quantity=12)

    call = book.calls["one"]
    assert (call.request.quantity, call.change, call.changes) == (12, None, 2)


@pytest.mark.parametrize("kind", [AnswerKind.UNSURE, AnswerKind.THROTTLED, AnswerKind.REFUSED, AnswerKind.TAKEN])
def test_a_cancellation_that_was_asked_for_during_a_change_leaves_at_once(kind: AnswerKind) -> None:
    book, due = send(asked(a_book(taken()), price=Decimal(99)), "one", kind=CallKind.MODIFY)
    book = callbook.asked_cancel(book, "one", T0).book
    book = callbook.answered(book, due, Answer(kind=kind), NOW).book

    due = callbook.due(book, NOW, entries=True, exits=True)
    assert due is not None
    assert due.kind is CallKind.CANCEL


def test_a_refusal_is_news_of_the_moment_at_which_it_is_told() -> None:
    [(_, _, _, word)] = read(a_moved_order(AnswerKind.REFUSED), [an_order()], now=later(500)).words

    assert word.time == T0 + 500


def test_a_cancellation_does_not_wait_for_the_change_before_it() -> None:
    book = callbook.asked_cancel(a_moved_order(AnswerKind.REFUSED), "one", T0).book

    due = callbook.due(book, NOW, entries=True, exits=True)

    assert due is not None
    assert due.kind is CallKind.CANCEL


# What is not ours


def test_an_order_with_our_label_that_no_book_explains_is_quarantined_once() -> None:
    heard = read(a_book(), [an_order("9", tag="TAGghost", filled=3)], [a_trade(3, broker_id="9")])

    assert [order.broker_id for order in heard.quarantined] == ["9"]
    assert [stranger.quantity for stranger in heard.strangers] == [3]
    assert not read(heard.book, [an_order("9", tag="TAGghost")], known=dict(heard.ended)).quarantined


def test_an_order_with_our_label_that_ended_without_a_trade_halts_nobody() -> None:
    """Kite keeps orders that it refused in its book, too."""
    heard = read(a_book(), [an_order("9", tag="TAGghost", status=BrokerStatus.REJECTED)])

    assert heard == Heard(a_book())


def test_a_second_order_under_one_label_is_quarantined_once_and_what_it_trades_is_nobodys() -> None:
    book = a_book(taken())

    heard = read(book, [an_order("7"), an_order("8", filled=3)], [a_trade(3, broker_id="8")])
    again = read(heard.book, [an_order("7"), an_order("8", filled=3)], known=dict(heard.ended))

    assert [order.broker_id for order in heard.quarantined] == ["8"]
    assert [stranger.quantity for stranger in heard.strangers] == [3]
    assert not again.quarantined


def test_what_is_traded_by_hand_is_nobodys_and_counted_once() -> None:
    hand = an_order("9", tag=None, side=Side.SELL, filled=5)
    first = read(a_book(), [hand], [a_trade(5, broker_id="9", side=Side.SELL)])
    known = dict(first.ended)

    again = read(first.book, [hand], [a_trade(5, broker_id="9", side=Side.SELL)], known=known)

    assert [stranger.quantity for stranger in first.strangers] == [-5]
    assert first.book.held == {INFY: -5}
    assert not again.strangers


def test_a_fill_of_an_order_that_had_ended_is_nobodys() -> None:
    known = {"7": Ended(order_id="one", filled=4)}

    heard = read(a_book(), [an_order(filled=10)], [a_trade(4), a_trade(6, "2")], known=known)

    assert [stranger.quantity for stranger in heard.strangers] == [6]


def test_what_the_account_holds_beyond_the_books_is_found_once() -> None:
    holding = BrokerHolding(instrument=INFY, product="CNC", quantity=25, price=Decimal(1400))
    book = a_book(held={INFY: 10})

    first = callbook.reconciled(book, [holding], NOW)
    again = callbook.reconciled(first.book, [holding], later(1))

    assert [(found.quantity, found.price) for found in first.strangers] == [(15, Decimal(1400))]
    assert not again.strangers


def test_what_the_books_hold_beyond_the_account_is_found_too() -> None:
    heard = callbook.reconciled(a_book(held={INFY: 10}), [], NOW)

    assert [found.quantity for found in heard.strangers] == [-10]
    assert not heard.book.held


# Limits


def test_entries_leave_a_part_of_each_second_to_what_closes() -> None:
    rates = Rates()
    entries = 0
    while rates.allows(T0, placing=True, reserve=False):
        rates, entries = rates.counted(T0, placing=True), entries + 1
    exits = 0
    while rates.allows(T0, placing=True, reserve=True):
        rates, exits = rates.counted(T0, placing=True), exits + 1

    assert (entries, entries + exits) == (8, PER_SECOND)


def test_no_second_of_any_clock_has_more_calls_than_the_broker_takes() -> None:
    rates, sent = Rates(), []
    for ms in range(0, 20_000, 10):
        if rates.allows(T0 + ms, placing=True, reserve=True):
            rates = rates.counted(T0 + ms, placing=True)
            sent.append(ms)

    for shift in range(0, 1000, 50):
        seconds = [(ms + shift) // 1000 for ms in sent]
        assert max(seconds.count(second) for second in seconds) <= PER_SECOND


def test_a_minute_and_a_day_have_limits_of_their_own() -> None:
    minute = Rates(placed={str(T0 // 1000 - n): 20 for n in range(20)})
    day = Rates(date="2021-06-08", day=PER_DAY)

    assert sum(minute.placed.values()) == PER_MINUTE
    assert not minute.allows(T0, placing=True, reserve=True)
    assert minute.allows(T0, placing=False, reserve=True)
    assert minute.allows(T0 + 61_000, placing=True, reserve=True)
    assert day.spent(T0, reserve=True)
    assert not day.spent(T0 + DAY, reserve=True)


def test_an_order_beyond_the_days_limit_is_dropped_with_its_reason() -> None:
    book = a_book(a_call("entry"), a_call("exit", closes=True), rates=Rates(date="2021-06-08", day=PER_DAY - 100))

    heard = callbook.put_off(book, NOW, halted=False)

    assert [(name, word.reason) for name, _, _, word in heard.words] == [("entry", Reason.BROKER_LIMIT)]
