"""The judge of the crash harness finds what it is there for: each test plants one mistake in a sound log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tests.chaos.compare import ArmAccount, ArmBook, Entry, Kind, check_account, check_books, check_log, compare


def entry(topic: str, offset: int, **event: Any) -> Entry:
    made = Entry.of(topic, 0, offset, json.dumps(event).encode())
    assert made is not None
    return made


def trade(number: int, side: str, quantity: int, price: str, role: str = "ENTRY", **terms: Any) -> list[Entry]:
    """All records of one signal that was filled; at the same offset in each topic."""
    signal: dict[str, Any] = {"kind": "signal", "signal_id": f"s{number}", "strategy_id": "A"}
    signal |= {"producer": "brain/0", "sequence": number}
    order = {
        "kind": "order",
        "order_id": f"o{number}",
        "signal_id": f"s{number}",
        "parent": None,
        "reason": None,
        "producer": "execution/0",
    }
    fill = {
        "fill_id": f"f{number}",
        "order_id": f"o{number}",
        "strategy_id": "A",
        "instrument": "NSE:INFY",
        "side": side,
        "role": role,
        "product": "MIS",
        "quantity": quantity,
        "price": price,
        "margined": False,
        "charges": {"brokerage": "0.75", "gst": "0.25"},
        **terms,
    }
    verdict = {"kind": "validated", "signal": signal, "tickets": [{"order_id": f"o{number}", "quantity": quantity}]}
    first = number * 2
    return [
        entry("signals.raw", number, **signal),
        entry("signals.validated", number, **verdict, producer="risk", sequence=number),
        entry("orders.updates", first, **order, state="WORKING", fill=None, sequence=first),
        entry("orders.updates", first + 1, **order, state="FILLED", fill=fill, sequence=first + 1),
        entry("orders.filled", number, kind="fill", fill=fill, producer="execution/0", sequence=first + 1),
    ]


def note(amount: str, **charges: str) -> Entry:
    """A contract note that risk has posted to the strategy."""
    booking = {"booking_id": "b", "strategy_id": "A", "kind": "CONTRACT_NOTE", "amount": amount, "charges": charges}
    return entry("orders.filled", 50, kind="booking", booking=booking, producer="risk", sequence=50)


SOUND = [
    *trade(0, "BUY", 10, "100.00"),
    *trade(1, "BUY", 10, "110.00"),
    *trade(2, "SELL", 15, "120.00", "EXIT"),
    note("-0.40", stt="0.50", stamp="-0.10"),
]
BOOK = ArmBook(
    capital=Decimal("5000"),
    cash=Decimal("4696.60"),
    charges=Decimal("3.40"),
    realised=Decimal("225.000000"),
    fills=3,
    bookings=1,
    positions={"NSE:INFY": 5},
)


ACCOUNT = ArmAccount(signals=3, validated=3, rejected=0, cash=Decimal("4696.60"))


def changed(one: Entry, **fields: Any) -> Entry:
    """The record with other contents, behind all others of its topic."""
    return entry(one.topic, 100, **{**one.event, **fields})


def pick(topic: str, number: int) -> Entry:
    return [one for one in SOUND if one.topic == topic][number]


def without(log: Sequence[Entry], one: Entry) -> list[Entry]:
    return [other for other in log if other is not one]


def kinds(findings: Sequence[Any]) -> set[Kind]:
    return {finding.kind for finding in findings}


def test_a_sound_log_and_its_book_have_nothing_wrong() -> None:
    assert check_log(SOUND) == []
    assert check_books(SOUND, {"A": BOOK}) == []
    assert check_account(SOUND, ACCOUNT, {"A": BOOK}) == []
    assert compare(SOUND, SOUND, {"A": BOOK}, {"A": BOOK}) == []


@pytest.mark.parametrize("one", SOUND, ids=lambda one: one.place)
def test_a_record_that_is_said_again_changes_nothing(one: Entry) -> None:
    log = [*SOUND, replace(one, offset=100)]

    assert check_log(log) == []
    assert check_books(log, {"A": BOOK}) == []
    assert compare(SOUND, log, {"A": BOOK}, {"A": BOOK}) == []


@pytest.mark.parametrize("one", SOUND, ids=lambda one: one.place)
def test_a_lost_record_is_found_in_the_comparison(one: Entry) -> None:
    assert kinds(compare(SOUND, without(SOUND, one), {"A": BOOK}, {"A": BOOK})) == {Kind.LOST}


@pytest.mark.parametrize(
    ("topic", "number"),
    [("signals.raw", 1), ("signals.validated", 1), ("orders.updates", 3), ("orders.filled", 1)],
)
def test_a_lost_record_is_found_in_the_log_itself(topic: str, number: int) -> None:
    assert kinds(check_log(without(SOUND, pick(topic, number)))) == {Kind.LOST}


def test_a_record_that_is_said_first_behind_a_later_one_is_lost() -> None:
    late = pick("orders.filled", 1)

    assert kinds(check_log([*without(SOUND, late), replace(late, offset=100)])) == {Kind.LOST}


@pytest.mark.parametrize(
    ("topic", "number"),
    [
        ("signals.raw", 0),
        ("signals.validated", 0),
        ("orders.updates", 0),
        ("orders.updates", 1),
        ("orders.filled", 0),
        ("orders.filled", 3),
    ],
)
def test_one_fact_under_two_sequences_is_doubled(topic: str, number: int) -> None:
    assert kinds(check_log([*SOUND, changed(pick(topic, number), sequence=60)])) == {Kind.DOUBLED}


@pytest.mark.parametrize(
    ("topic", "number", "field"),
    [
        ("signals.raw", 0, "side"),
        ("signals.validated", 0, "rules"),
        ("orders.updates", 0, "time"),
        ("orders.filled", 0, "time"),
        ("orders.filled", 3, "time"),
    ],
)
def test_one_sequence_with_two_contents_is_conflicting(topic: str, number: int, field: str) -> None:
    other = changed(pick(topic, number), **{field: "other"})

    assert kinds(check_log([*SOUND, other])) == {Kind.CONFLICTING}
    assert kinds(compare(SOUND, [other, *SOUND], {"A": BOOK}, {"A": BOOK})) == {Kind.DIFFERENT}


def test_a_signal_that_is_validated_and_rejected_is_conflicting() -> None:
    validated = pick("signals.validated", 0)
    rejected = entry("signals.rejected", 0, **{**validated.event, "kind": "rejected", "sequence": 50})

    assert kinds(check_log([*SOUND, rejected])) == {Kind.CONFLICTING}


def test_an_order_that_ends_twice_is_conflicting() -> None:
    expired = changed(pick("orders.updates", 1), state="EXPIRED", fill=None, sequence=50)

    assert Kind.CONFLICTING in kinds(check_log([*SOUND, expired]))


def test_an_order_that_the_arm_decided_by_itself_needs_no_verdict_but_an_end() -> None:
    closing = trade(3, "SELL", 5, "100.00", "SQUARE_OFF")[2:]
    own = [changed(one, signal_id=None) if one.topic == "orders.updates" else one for one in closing]

    assert check_log([*SOUND, *own]) == []
    assert kinds(check_log([*SOUND, own[0]])) == {Kind.LOST}


def test_an_order_of_a_signal_without_a_verdict_is_lost() -> None:
    assert kinds(check_log([*SOUND, *trade(3, "BUY", 1, "100.00")[2:]])) == {Kind.LOST}


def test_every_order_of_a_verdict_must_end() -> None:
    two = [{"order_id": "o0", "quantity": 10}, {"order_id": "o9", "quantity": 10}]
    sliced = changed(pick("signals.validated", 0), tickets=two)

    assert kinds(check_log([sliced, *without(SOUND, pick("signals.validated", 0))])) == {Kind.LOST}


def test_a_fill_that_is_booked_twice_is_doubled() -> None:
    twice = replace(BOOK, fills=4, cash=Decimal("3695.60"), charges=Decimal("4.40"), positions={"NSE:INFY": 15})

    assert kinds(check_books(SOUND, {"A": twice})) == {Kind.DOUBLED}
    assert kinds(compare(SOUND, SOUND, {"A": BOOK}, {"A": twice})) == {Kind.DIFFERENT}


def test_an_exit_that_sells_more_than_is_held_is_doubled() -> None:
    assert kinds(check_books([*SOUND, *trade(3, "SELL", 10, "100.00", "EXIT")], {"A": BOOK})) >= {Kind.DOUBLED}


def test_shares_sold_for_delivery_that_are_not_held_are_doubled() -> None:
    log = [*SOUND, *trade(3, "SELL", 10, "100.00", product="CNC")]

    assert kinds(check_books(log, {"A": BOOK})) >= {Kind.DOUBLED}


def test_a_short_position_earns_when_it_is_bought_back_for_less() -> None:
    log = [*trade(0, "SELL", 10, "100.00"), *trade(1, "SELL", 10, "110.00"), *trade(2, "BUY", 15, "95.00", "EXIT")]
    short = replace(
        BOOK,
        cash=Decimal("5672.00"),
        charges=Decimal("3.00"),
        realised=Decimal("150.000000"),
        bookings=0,
        positions={"NSE:INFY": -5},
    )

    assert check_books(log, {"A": short}) == []


def test_only_the_profit_of_a_future_is_paid() -> None:
    log = [
        *trade(0, "BUY", 10, "100.00", margined=True, product="NRML"),
        *trade(1, "SELL", 15, "104.00", margined=True, product="NRML"),
    ]
    book = replace(
        BOOK,
        cash=Decimal("5038.00"),
        charges=Decimal("2.00"),
        realised=Decimal("40.000000"),
        fills=2,
        bookings=0,
        positions={"NSE:INFY": -5},
    )

    assert check_books(log, {"A": book}) == []


def test_a_contract_note_that_does_not_add_up_is_doubled() -> None:
    log = [*without(SOUND, SOUND[-1]), note("-0.40", stt="0.50")]

    assert kinds(check_books(log, {"A": BOOK})) >= {Kind.DOUBLED}


@pytest.mark.parametrize(
    "books",
    [
        {},
        {"A": replace(BOOK, fills=2)},
        {"A": replace(BOOK, bookings=0)},
        {"A": replace(BOOK, cash=Decimal("4696.61"))},
        {"A": replace(BOOK, charges=Decimal("3.39"))},
        {"A": replace(BOOK, realised=Decimal("225.02"))},
        {"A": replace(BOOK, positions={})},
    ],
)
def test_a_book_that_lacks_something_of_its_log_is_found(books: dict[str, ArmBook]) -> None:
    assert kinds(check_books(SOUND, books)) == {Kind.LOST}


@pytest.mark.parametrize(
    ("account", "kind"),
    [
        (replace(ACCOUNT, signals=4, rejected=1), Kind.DOUBLED),
        (replace(ACCOUNT, signals=2), Kind.LOST),
        (replace(ACCOUNT, validated=2), Kind.LOST),
        (replace(ACCOUNT, cash=Decimal("5000")), Kind.LOST),
        (None, Kind.LOST),
    ],
)
def test_an_account_that_differs_from_its_log_is_found(account: ArmAccount | None, kind: Kind) -> None:
    assert kinds(check_account(SOUND, account, {"A": BOOK})) == {kind}


def test_a_record_that_the_undisturbed_run_has_not_is_different() -> None:
    more = trade(3, "BUY", 1, "100.00")

    assert kinds(compare(SOUND, [*SOUND, *more], {"A": BOOK}, {"A": BOOK})) == {Kind.DIFFERENT}


def test_beats_are_not_compared() -> None:
    assert Entry.of("signals.raw", 0, 0, b'{"kind": "beat", "producer": "brain/0", "time": 1}') is None
