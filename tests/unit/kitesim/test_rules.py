"""What the broker refuses, and how it counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from kiteconnect import KiteConnect
from kiteconnect.exceptions import GeneralException, InputException, NetworkException, OrderException

from panda_streams.kitesim.errors import Refused
from panda_streams.kitesim.front import Throttle
from panda_streams.kitesim.rules import OrderRate
from tests.unit.builders import T0
from tests.unit.kitesim.bench import Bench, a_bench, placed


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"market_protection": 0}, "market_protection"),
        ({"market_protection": 101}, "market_protection"),
        ({"order_type": "SL-M", "trigger_price": 1510, "market_protection": 0}, "market_protection"),
        ({"tag": "a" * 21}, "tag"),
        ({"tag": "with space"}, "tag"),
        ({"price": 1500.03}, "tick size"),
        ({"order_type": "LIMIT"}, "Price is needed"),
        ({"order_type": "SL", "price": 1500}, "Trigger price is needed"),
        ({"order_type": "SL", "price": 1500, "trigger_price": 1501}, "at most the price"),
        ({"quantity": 0}, "positive whole number"),
        ({"tradingsymbol": "NOSUCH"}, "does not exist"),
        ({"tradingsymbol": "NIFTY 50"}, "does not exist"),
        ({"product": "NRML"}, "NRML is not a product"),
        ({"product": "MTF"}, "Invalid `product`"),
        ({"variety": "amo"}, "not served"),
        ({"validity": "TTL"}, "validity_ttl"),
        ({"variety": "iceberg", "price": 1500, "iceberg_legs": 3, "iceberg_quantity": 9}, "iceberg_quantity"),
        ({"price": 1500, "disclosed_quantity": 11}, "Disclosed"),
    ],
)
def test_an_order_that_is_refused_at_once_is_counted_and_gets_no_id(
    bench: Bench, kite: KiteConnect, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputException, match=message):
        placed(kite, **fields)

    assert bench.ledger()["orders"] == []
    assert bench.ledger()["counters"]["refused"] == 1
    assert bench.ledger()["counters"]["rate_count"] == 1


def test_nothing_is_taken_before_the_first_price_and_outside_of_hours(tmp_path: Path) -> None:
    with a_bench(tmp_path) as bench:
        kite = bench.client()
        for headers in ({}, {"X-Panda-Time": str(T0 - 1)}, {"X-Panda-Time": str(T0 + 7 * 3_600_000)}):
            kite.reqsession.headers.update(headers)
            with pytest.raises(OrderException, match="Markets are closed"):
                placed(kite)
        kite.reqsession.close()


def test_an_order_can_be_modified_25_times(bench: Bench, kite: KiteConnect) -> None:
    order_id = placed(kite, price=1490)
    bench.advance(2500)
    for number in range(25):
        kite.modify_order("regular", order_id, price=1480 - number)

    with pytest.raises(OrderException, match="Maximum allowed order modifications exceeded"):
        kite.modify_order("regular", order_id, price=1400)


def test_the_eleventh_order_of_an_event_second_is_one_too_many(bench: Bench, kite: KiteConnect) -> None:
    kite.reqsession.headers["X-Panda-Time"] = str(T0 + 3000)
    for _ in range(10):
        placed(kite, price=1490, quantity=1)

    with pytest.raises(NetworkException, match="Too many requests") as refused:
        placed(kite, price=1490, quantity=1)
    assert refused.value.code == 429
    kite.reqsession.headers["X-Panda-Time"] = str(T0 + 4000)
    placed(kite, price=1490, quantity=1)
    assert len(kite.orders()) == 11


def test_orders_are_limited_by_minute_and_by_day() -> None:
    rate = OrderRate()
    for second in range(40):
        for _ in range(10):
            rate.take(T0 + 1000 * second)
    with pytest.raises(Refused, match="Too many requests"):
        rate.take(T0 + 41_000)

    rate = OrderRate(day=rate.day, count=4999)
    rate.take(T0 + 600_000)
    with pytest.raises(Refused, match="Too many requests"):
        rate.take(T0 + 700_000)
    rate.take(T0 + 86_400_000)


def test_a_key_has_ten_requests_a_second_and_one_for_quotes() -> None:
    now = [100.0]
    throttle = Throttle(on=True, clock=lambda: now[0])
    throttle.take("panda", "quote")
    with pytest.raises(Refused):
        throttle.take("panda", "quote")
    for _ in range(10):
        throttle.take("panda", "else")
    with pytest.raises(Refused):
        throttle.take("panda", "else")
    throttle.take("another", "else")
    now[0] += 1.0
    throttle.take("panda", "else")


@pytest.mark.parametrize(
    "ask",
    [
        lambda kite: kite.mf_orders(),
        lambda kite: kite.mf_sips(),
        lambda kite: kite.get_auction_instruments(),
        lambda kite: kite.trigger_range("BUY", "NSE:INFY"),
        lambda kite: kite.convert_position("NSE", "INFY", "BUY", "day", 1, "MIS", "CNC"),
    ],
)
def test_what_is_left_out_says_so_in_kites_shape(kite: KiteConnect, ask: Any) -> None:
    with pytest.raises(GeneralException, match="is not served by kitesim") as refused:
        ask(kite)
    assert refused.value.code == 501


def test_a_cause_that_is_no_time_is_refused(kite: KiteConnect) -> None:
    kite.reqsession.headers["X-Panda-Time"] = "now"

    with pytest.raises(InputException, match="X-Panda-Time"):
        placed(kite)


def test_an_unknown_route_answers_in_kites_shape(bench: Bench) -> None:
    answer = requests.get(f"{bench.url}/nowhere", timeout=5)

    assert answer.status_code == 404
    assert answer.json() == {
        "status": "error",
        "message": "Route not found",
        "data": None,
        "error_type": "GeneralException",
    }


def test_the_routes_are_served_under_the_sandboxs_prefix_too(bench: Bench, kite: KiteConnect) -> None:
    headers = {"Authorization": f"token panda:{kite.access_token}"}

    assert requests.get(f"{bench.url}/oms/orders", headers=headers, timeout=5).json() == {
        "status": "success",
        "data": [],
    }
