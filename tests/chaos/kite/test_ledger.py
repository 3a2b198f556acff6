"""The judge of the Zerodha arm finds what it is there for: each test plants one mistake in what agrees."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest

from panda_streams.domain.signals import identify
from tests.chaos.compare import ArmBook, Entry, Finding, Kind
from tests.chaos.kite.ledger import (
    BrokerLedger,
    asked_orders,
    check_closing,
    check_ledger,
    check_positions,
    once_unknown,
)

INFY = "NSE:INFY"


def entry(topic: str, offset: int, **event: Any) -> Entry:
    made = Entry.of(topic, 0, offset, json.dumps(event).encode())
    assert made is not None
    return made


def command(number: int) -> Entry:
    event = {"kind": "command", "what": "PLACE", "order_id": f"o{number}", "request": {"tag": f"T{number}"}}
    return entry("broker.commands", number, **event, producer="execution/0", sequence=number)


def update(sequence: int, number: int, state: str, filled: int = 0, **fields: Any) -> Entry:
    event = {
        "kind": "order",
        "order_id": f"o{number}",
        "strategy_id": "A",
        "instrument": INFY,
        "role": "ENTRY",
        "state": state,
        "filled": filled,
        "fill": None,
        "broker_id": None,
        **fields,
    }
    return entry("orders.updates", sequence, **event, producer="execution/0", sequence=sequence)


def a_fill(number: int, quantity: int, price: str = "100.05", side: str = "BUY") -> dict[str, Any]:
    fill_id = identify("fill", "NSE", f"t{number}", f"b{number}")
    return {"fill_id": fill_id, "order_id": f"o{number}", "side": side, "quantity": quantity, "price": price}


def filled(sequence: int, number: int, quantity: int, side: str = "BUY", role: str = "ENTRY") -> list[Entry]:
    """The last update of an order that traded at once, and the fill on its way to the book."""
    fill = a_fill(number, quantity, side=side)
    last = update(sequence, number, "FILLED", quantity, fill=fill, broker_id=f"b{number}", role=role)
    return [last, entry("orders.filled", sequence, kind="fill", fill=fill, producer="execution/0", sequence=sequence)]


def an_order(number: int, quantity: int, **fields: Any) -> dict[str, Any]:
    order = {"order_id": f"b{number}", "tag": f"T{number}", "status": "COMPLETE", "filled_quantity": quantity}
    return {**order, **fields}


def a_trade(number: int, traded: int, **fields: Any) -> dict[str, Any]:
    return {
        "exchange": "NSE",
        "tradingsymbol": "INFY",
        "trade_id": f"t{number}",
        "order_id": f"b{number}",
        "transaction_type": "BUY",
        "quantity": traded,
        "average_price": 100.05,
        **fields,
    }


COMMANDS = [command(0), command(1), command(2)]
LOG = [
    update(0, 0, "INTENT"),
    update(1, 0, "UNKNOWN"),
    *filled(2, 0, 10),
    update(3, 1, "ABSENT"),
    update(4, 2, "CANCELLED", broker_id="b2"),
]
LEDGER = BrokerLedger([an_order(0, 10), an_order(2, 0, status="CANCELLED")], [a_trade(0, 10)])


def judge(
    log: Sequence[Entry] = LOG,
    orders: Sequence[Mapping[str, Any]] = LEDGER.orders,
    trades: Sequence[Mapping[str, Any]] = LEDGER.trades,
) -> list[Finding]:
    return check_ledger(log, asked_orders(COMMANDS), BrokerLedger(orders, trades))


def kinds(findings: Sequence[Finding]) -> set[Kind]:
    return {finding.kind for finding in findings}


def without(log: Sequence[Entry], topic: str, sequence: int) -> list[Entry]:
    return [one for one in log if (one.topic, one.event["sequence"]) != (topic, sequence)]


def test_what_agrees_has_nothing_wrong() -> None:
    assert judge() == []
    assert judge([*LOG, *LOG]) == []
    assert once_unknown(LOG) == {"o0"}


def test_two_orders_under_one_label_are_one_too_many() -> None:
    assert kinds(judge(orders=[*LEDGER.orders, an_order(0, 10, order_id="b9")])) == {Kind.DOUBLED}


def test_an_order_that_nobody_asked_for_is_found() -> None:
    assert kinds(judge(orders=[*LEDGER.orders, an_order(7, 0)])) == {Kind.DIFFERENT}


@pytest.mark.parametrize("state", ["UNKNOWN", "WORKING", "SENDING"])
def test_an_order_without_an_end_is_lost(state: str) -> None:
    assert kinds(judge([*LOG, update(5, 2, state, broker_id="b2")])) == {Kind.LOST}


def test_an_order_of_which_nothing_was_said_is_lost() -> None:
    assert kinds(judge(without(LOG, "orders.updates", 4))) == {Kind.LOST}


def test_an_order_that_the_broker_has_and_the_arm_takes_for_absent_is_lost() -> None:
    assert kinds(judge(orders=[*LEDGER.orders, an_order(1, 0, status="OPEN")])) == {Kind.LOST}


def test_an_order_that_the_broker_once_had_must_be_in_its_ledger() -> None:
    assert kinds(judge(orders=LEDGER.orders[:1])) == {Kind.LOST}


def test_a_filled_quantity_must_be_that_of_the_broker() -> None:
    assert kinds(judge(orders=[an_order(0, 10), an_order(2, 4, status="CANCELLED")])) == {Kind.DIFFERENT}


def test_a_trade_without_a_fill_is_lost() -> None:
    assert kinds(judge(without(LOG, "orders.filled", 2))) == {Kind.LOST}


def test_a_fill_without_a_trade_is_one_too_many() -> None:
    assert kinds(judge(trades=[])) == {Kind.DOUBLED}


@pytest.mark.parametrize("wrong", [{"quantity": 9}, {"average_price": 100.1}, {"transaction_type": "SELL"}])
def test_a_fill_must_be_its_trade_in_every_respect(wrong: dict[str, Any]) -> None:
    assert kinds(judge(trades=[a_trade(0, 10, **wrong)])) == {Kind.DIFFERENT}


def test_the_books_together_must_hold_what_the_trades_leave() -> None:
    def book(**held: int) -> ArmBook:
        nothing = Decimal(0)
        positions = {f"NSE:{name}": quantity for name, quantity in held.items()}
        return ArmBook(nothing, nothing, nothing, nothing, 0, 0, positions)

    assert check_positions({"A": book(INFY=15), "B": book(INFY=-5)}, LEDGER) == []
    assert kinds(check_positions({"A": book(INFY=15)}, LEDGER)) == {Kind.DIFFERENT}
    assert kinds(check_positions({"A": book(INFY=10, TCS=1)}, LEDGER)) == {Kind.DIFFERENT}


def test_what_closes_more_than_there_is_has_doubled() -> None:
    exit_twice = [*filled(1, 1, 10, "SELL", "EXIT"), *filled(3, 2, 10, "SELL", "EXIT")]

    assert check_closing([*filled(0, 0, 10), *exit_twice[:2]]) == []
    assert kinds(check_closing([*filled(0, 0, 10), *exit_twice])) == {Kind.DOUBLED}


def test_only_an_entry_that_was_faster_excuses_an_exit_that_opens() -> None:
    exit_sent = update(1, 2, "WORKING", role="EXIT")
    faster = [*filled(0, 0, 10), exit_sent, *filled(2, 1, 20, "SELL"), *filled(4, 2, 10, "SELL", "EXIT")]
    before = [*filled(0, 0, 10), *filled(2, 1, 20, "SELL"), update(3, 2, "WORKING", role="EXIT")]

    assert check_closing(faster) == []
    assert kinds(check_closing([*before, *filled(4, 2, 10, "SELL", "EXIT")])) == {Kind.DOUBLED}
