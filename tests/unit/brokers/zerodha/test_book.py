"""Reading Kite's book: times of India, exact money, states, tags, and what an account holds."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from panda_streams.brokers.zerodha.book import moment, money, read_holdings, read_order, read_trade
from panda_streams.domain.brokerage import BrokerStatus


@pytest.mark.parametrize(
    "value",
    [
        "2023-11-15 12:00:00",
        "2023-11-15T12:00:00+0530",
        "2023-11-15T06:30:00+00:00",
        datetime(2023, 11, 15, 12),  # noqa: DTZ001  as the client gives it
        datetime(2023, 11, 15, 6, 30, tzinfo=UTC),
    ],
)
def test_a_time_without_a_zone_is_indias(value):
    assert moment(value) == int(datetime(2023, 11, 15, 6, 30, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize("value", ["09:16:39", "", None, 1_700_000_000])
def test_what_is_no_time_is_an_error(value):
    with pytest.raises(ValueError):
        moment(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (420.65, "420.65"),
        (0.1 + 0.2, "0.30"),
        (101.35000000000001, "101.35"),
        (72.755, "72.755"),
        (801.78125, "801.78125"),
        (4852, "4852.00"),
        (1e5, "100000.00"),
        ("1402.35", "1402.35"),
        (0, "0.00"),
    ],
)
def test_money_is_exact(value, text):
    assert str(money(value)) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "x", None, True, [1]])
def test_what_is_no_money_is_an_error(value):
    with pytest.raises(ValueError):
        money(value)


def test_every_price_of_a_day_survives_the_float():
    for paise in range(1, 1_000_000, 37):
        price = Decimal(paise) / 100

        assert money(float(price)) == price


def an_order(**fields):
    return {
        "order_id": "1",
        "exchange": "NSE",
        "tradingsymbol": "INFY",
        "transaction_type": "SELL",
        "product": "CNC",
        "order_type": "LIMIT",
        "status": "OPEN",
        "quantity": 10,
        "filled_quantity": 3,
        "price": 1402.35,
        "trigger_price": 0,
        "order_timestamp": "2026-11-26 10:00:00",
        "exchange_update_timestamp": None,
        "exchange_timestamp": None,
        "tag": None,
        **fields,
    }


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("COMPLETE", BrokerStatus.COMPLETE),
        ("CANCELLED", BrokerStatus.CANCELLED),
        ("REJECTED", BrokerStatus.REJECTED),
        ("OPEN", BrokerStatus.OPEN),
        ("TRIGGER PENDING", BrokerStatus.TRIGGER_PENDING),
        ("PUT ORDER REQ RECEIVED", BrokerStatus.PENDING),
        ("CANCEL PENDING", BrokerStatus.PENDING),
        ("CANCELLED AMO", BrokerStatus.PENDING),
        ("SOMETHING NEW", BrokerStatus.PENDING),
    ],
)
def test_a_state_that_is_not_known_counts_as_live(said, status):
    assert read_order(an_order(status=said)).status is status


@pytest.mark.parametrize(
    ("fields", "tag"),
    [
        ({"tag": "PANDA1"}, "PANDA1"),
        ({"tag": None, "tags": ["PANDA1"]}, "PANDA1"),
        ({"tag": "mktp", "tags": ["mktp", "mktp:2.00", "PANDA1"]}, "PANDA1"),
        ({"tag": "", "tags": []}, None),
        ({"tags": None}, None),
    ],
)
def test_the_tag_is_found_wherever_kite_keeps_it(fields, tag):
    assert read_order(an_order(**fields)).tag == tag


def test_the_last_change_is_the_time_of_an_order():
    changed = an_order(exchange_update_timestamp="2026-11-26 10:05:00", exchange_timestamp="2026-11-26 10:01:00")

    assert read_order(changed).time - read_order(an_order()).time == 300_000


@pytest.mark.parametrize(
    "fields",
    [
        {"order_id": 5},
        {"quantity": "10"},
        {"quantity": 1.5},
        {"transaction_type": "HOLD"},
        {"order_timestamp": None},
        {"tradingsymbol": ""},
    ],
)
def test_an_order_in_another_form_is_an_error(fields):
    with pytest.raises((ValueError, KeyError, TypeError)):
        read_order(an_order(**fields))


def test_the_quantity_of_a_trade_has_two_names():
    trade = {
        "trade_id": "7",
        "order_id": "1",
        "exchange": "NSE",
        "tradingsymbol": "INFY",
        "transaction_type": "BUY",
        "product": "MIS",
        "average_price": 1402.35,
        "exchange_timestamp": "2026-11-26 10:00:01",
    }

    assert read_trade({**trade, "quantity": 4}).quantity == read_trade({**trade, "filled": 4}).quantity == 4


def holding(symbol="INFY", **fields):
    return {"exchange": "NSE", "tradingsymbol": symbol, "product": "CNC", "average_price": 100, **fields}


def position(quantity, price=110, product="CNC", symbol="INFY"):
    given = holding(symbol, product=product, quantity=quantity)
    return {**given, "average_price": price}


@pytest.mark.parametrize(
    ("held", "traded", "quantity", "price"),
    [
        ({"quantity": 10, "realised_quantity": 10, "t1_quantity": 0}, [], 10, "100"),
        ({"quantity": 10, "realised_quantity": 10, "t1_quantity": 5}, [], 15, "100"),
        ({"quantity": 15, "realised_quantity": 10, "t1_quantity": 5}, [], 15, "100"),
        ({"quantity": 4, "realised_quantity": 10, "used_quantity": 6}, [position(-6)], 4, "100"),
        ({"quantity": 4, "used_quantity": 6}, [position(-6)], 4, "100"),
        ({"quantity": 10, "realised_quantity": 10}, [position(10)], 20, "105"),
        ({"quantity": 10, "realised_quantity": 10}, [position(-12)], -2, "110"),
    ],
)
def test_holdings_and_the_days_trades_are_what_is_held(held, traded, quantity, price):
    [one] = read_holdings({"net": traded}, [holding(**held)])

    assert (one.instrument, one.product, one.quantity, one.price) == ("NSE:INFY", "CNC", quantity, Decimal(price))


def test_products_are_apart_and_what_is_closed_is_gone():
    net = [position(-5, product="MIS"), position(0, product="NRML"), position(3, symbol="TCS")]

    held = read_holdings({"net": net}, [holding(quantity=5, realised_quantity=5)])

    assert [(one.instrument, one.product, one.quantity) for one in held] == [
        ("NSE:INFY", "CNC", 5),
        ("NSE:INFY", "MIS", -5),
        ("NSE:TCS", "CNC", 3),
    ]
