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


def trade(number: int, side: str, quantity: int, price: str) -> list[Entry]:
    """All records of one signal that was filled; at the same offset in each topic."""
    signal: dict[str, Any] = {"kind": "signal", "signal_id": f"s{number}", "strategy_id": "A"}
    signal |= {"producer": "brain/0", "sequence": number}
    order = {"kind": "order", "order_id": f"o{number}", "producer": "execution/0"}
    fill = {
        "fill_id": f"f{number}",
        "order_id": f"o{number}",
        "strategy_id": "A",
        "instrument": "NSE:INFY",
        "side": side,
        "quantity": quantity,
        "price": price,
        "charges": "1.00",
    }
    verdict = {"kind": "validated", "signal": signal, "order_id": f"o{number}", "quantity": quantity}
    first = number * 2
    return [
        entry("signals.raw", number, **signal),
        entry("signals.validated", number, **verdict, producer="risk", sequence=number),
        entry("orders.updates", first, **order, state="WORKING", fill=None, sequence=first),
        entry("orders.updates", first + 1, **order, state="FILLED", fill=fill, sequence=first + 1),
        entry("orders.filled", number, kind="fill", fill=fill, producer="execution/0", sequence=first + 1),
    ]


SOUND = [*trade(0, "BUY", 10, "100.00"), *trade(1, "BUY", 10, "110.00"), *trade(2, "SELL", 15, "120.00")]
BOOK = ArmBook(
    capital=Decimal("5000"),
    cash=Decimal("4697.00"),
    charges=Decimal("3.00"),
    realised=Decimal("225.000000"),
    fills=3,
    positions={"NSE:INFY": 5},
)


ACCOUNT = ArmAccount(signals=3, validated=3, rejected=0, cash=Decimal("4697.00"))


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
    [("signals.raw", 0), ("signals.validated", 0), ("orders.updates", 0), ("orders.updates", 1), ("orders.filled", 0)],
)
def test_one_fact_under_two_sequences_is_doubled(topic: str, number: int) -> None:
    assert kinds(check_log([*SOUND, changed(pick(topic, number), sequence=50)])) == {Kind.DOUBLED}


@pytest.mark.parametrize(
    ("topic", "number", "field"),
    [
        ("signals.raw", 0, "side"),
        ("signals.validated", 0, "rules"),
        ("orders.updates", 0, "time"),
        ("orders.filled", 0, "time"),
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


def test_a_fill_that_is_booked_twice_is_doubled() -> None:
    twice = replace(BOOK, fills=4, cash=Decimal("3696.00"), charges=Decimal("4.00"), positions={"NSE:INFY": 15})

    assert kinds(check_books(SOUND, {"A": twice})) == {Kind.DOUBLED}
    assert kinds(compare(SOUND, SOUND, {"A": BOOK}, {"A": twice})) == {Kind.DIFFERENT}


def test_shares_that_are_sold_twice_are_doubled() -> None:
    log = [*SOUND, *trade(3, "SELL", 10, "100.00")]

    assert Kind.DOUBLED in kinds(check_books(log, {}))


@pytest.mark.parametrize(
    "books",
    [
        {},
        {"A": replace(BOOK, fills=2)},
        {"A": replace(BOOK, cash=Decimal("4697.01"))},
        {"A": replace(BOOK, charges=Decimal("2.99"))},
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
