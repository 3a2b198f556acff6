"""What becomes of an order, told by the unmodified client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kiteconnect import KiteConnect
from kiteconnect.exceptions import GeneralException, InputException, OrderException

from tests.unit.builders import CALL, T0
from tests.unit.kitesim.bench import DEPTH, LATENCY, Bench, a_bench, placed, statuses

ARRIVAL = ["PUT ORDER REQ RECEIVED", "VALIDATION PENDING", "OPEN PENDING", "OPEN"]
SIX_HOURS = 6 * 3_600_000
CLOSE = SIX_HOURS + 15 * 60_000
"""15:30, after the opening."""


def row(kite: KiteConnect, order_id: str) -> dict[str, Any]:
    return next(order for order in kite.orders() if order["order_id"] == order_id)


def test_an_order_at_the_market_is_a_limit_order_at_its_protection_and_takes_what_is_on_offer(
    bench: Bench, kite: KiteConnect
) -> None:
    order_id = placed(kite, quantity=50, market_protection=1, tag="abc123")

    assert row(kite, order_id)["status"] == "OPEN PENDING"
    bench.tick(150_010, at=3000, volume=3000, depth=DEPTH)

    order = row(kite, order_id)
    assert (order["status"], order["order_type"], order["price"], order["tag"]) == ("COMPLETE", "LIMIT", 1515, "abc123")
    assert [(fill["quantity"], fill["average_price"]) for fill in kite.order_trades(order_id)] == [
        (20, 1500.05),
        (30, 1500.1),
    ]
    assert order["average_price"] == pytest.approx(1500.08)
    assert statuses(kite, order_id) == [*ARRIVAL, "OPEN", "COMPLETE"]


def test_an_order_at_the_market_never_pays_more_than_its_protection(bench: Bench, kite: KiteConnect) -> None:
    order_id = placed(kite, quantity=10, market_protection=1)

    bench.tick(152_000, at=3000, volume=3000)
    assert row(kite, order_id)["status"] == "OPEN"
    bench.tick(151_400, at=4000, volume=4000)

    assert [fill["average_price"] for fill in kite.order_trades(order_id)] == [1514]


def test_an_order_takes_its_share_of_what_trades_and_waits_for_the_rest(bench: Bench, kite: KiteConnect) -> None:
    order_id = placed(kite, quantity=80)

    bench.tick(150_000, at=3000, volume=2100)
    assert (row(kite, order_id)["filled_quantity"], row(kite, order_id)["pending_quantity"]) == (50, 30)
    bench.tick(150_000, at=4000, volume=2300)

    assert [fill["quantity"] for fill in kite.order_trades(order_id)] == [50, 30]
    assert len({fill["trade_id"] for fill in kite.trades()}) == 2


def test_an_order_is_at_the_exchange_only_after_its_latency(bench: Bench, kite: KiteConnect) -> None:
    kite.reqsession.headers["X-Panda-Time"] = str(T0 + 2900)
    order_id = placed(kite, price=1500.5)

    bench.tick(149_000, at=2900 + LATENCY - 1, volume=3000)
    assert row(kite, order_id)["status"] == "OPEN PENDING"
    bench.tick(149_000, at=2900 + LATENCY, volume=4000)

    assert row(kite, order_id)["status"] == "COMPLETE"
    assert str(row(kite, order_id)["exchange_timestamp"]) == "2021-06-08 09:15:03"


def test_a_cause_that_is_older_than_the_clock_counts_as_now(bench: Bench, kite: KiteConnect) -> None:
    kite.reqsession.headers["X-Panda-Time"] = str(T0 + 10)
    order_id = placed(kite)

    assert bench.advance(2000 + LATENCY - 1)["time"] == T0 + 2000 + LATENCY - 1
    assert row(kite, order_id)["status"] == "OPEN PENDING"
    bench.advance(2000 + LATENCY)
    assert row(kite, order_id)["status"] == "OPEN"


def test_a_limit_order_waits_for_the_market_to_trade_beyond_its_price(bench: Bench, kite: KiteConnect) -> None:
    order_id = placed(kite, price=1499)

    bench.tick(149_900, at=3000, volume=3000, depth=DEPTH)
    bench.tick(149_900, at=4000, volume=4000)
    assert row(kite, order_id)["filled_quantity"] == 0
    bench.tick(149_890, at=5000, volume=5000)

    assert [fill["average_price"] for fill in kite.order_trades(order_id)] == [1499]


def test_a_modification_acts_once_it_is_at_the_exchange(bench: Bench, kite: KiteConnect) -> None:
    order_id = placed(kite, price=1490)
    bench.advance(2500)

    assert kite.modify_order("regular", order_id, price=1501, quantity=20) == order_id
    assert row(kite, order_id)["status"] == "MODIFY PENDING"
    assert row(kite, order_id)["price"] == 1490
    bench.tick(150_000, at=3000, volume=3000)

    order = row(kite, order_id)
    assert (order["status"], order["price"], order["filled_quantity"], order["modified"]) == (
        "COMPLETE",
        1501,
        20,
        True,
    )
    assert statuses(kite, order_id) == [
        *ARRIVAL,
        "MODIFY VALIDATION PENDING",
        "MODIFY PENDING",
        "MODIFIED",
        "OPEN",
        "COMPLETE",
    ]


def test_a_limit_order_can_be_sent_to_the_market(bench: Bench, kite: KiteConnect) -> None:
    order_id = placed(kite, price=1490)
    bench.advance(2500)

    kite.modify_order("regular", order_id, order_type="MARKET", market_protection=2)
    bench.tick(150_000, at=3000, volume=3000)

    assert [fill["average_price"] for fill in kite.order_trades(order_id)] == [1500]


def test_a_cancellation_may_come_too_late(bench: Bench, kite: KiteConnect) -> None:
    order_id = placed(kite, price=1499)
    bench.advance(2500)

    kite.cancel_order("regular", order_id)
    assert row(kite, order_id)["status"] == "CANCEL PENDING"
    bench.tick(149_000, at=2550, volume=3000)

    assert row(kite, order_id)["status"] == "COMPLETE"
    with pytest.raises(OrderException, match="cannot be cancelled as it is being processed"):
        kite.cancel_order("regular", order_id)


def test_a_cancelled_order_keeps_what_was_filled(bench: Bench, kite: KiteConnect) -> None:
    order_id = placed(kite, quantity=80)
    bench.tick(150_000, at=3000, volume=2100)

    kite.cancel_order("regular", order_id)
    bench.tick(150_000, at=4000, volume=9000)

    order = row(kite, order_id)
    assert (order["status"], order["filled_quantity"], order["cancelled_quantity"]) == ("CANCELLED", 50, 30)


@pytest.mark.parametrize(
    ("order_type", "price", "expected"), [("SL", 1511, [1510.5]), ("SL-M", None, [1510.5]), ("SL", 1510, [])]
)
def test_a_stop_order_goes_to_the_market_when_its_trigger_is_traded(
    bench: Bench, kite: KiteConnect, order_type: str, price: int | None, expected: list[float]
) -> None:
    prices = {"price": price} if price else {}
    order_id = placed(kite, order_type=order_type, trigger_price=1510, **prices)
    bench.tick(150_990, at=3000, volume=3000)
    assert row(kite, order_id)["status"] == "TRIGGER PENDING"

    bench.tick(151_050, at=4000, volume=4000)

    assert [fill["average_price"] for fill in kite.order_trades(order_id)] == expected
    assert "TRIGGER PENDING" in statuses(kite, order_id)


def test_what_an_ioc_order_does_not_get_at_once_is_cancelled(bench: Bench, kite: KiteConnect) -> None:
    order_id = placed(kite, quantity=80, price=1501, validity="IOC")

    bench.tick(150_000, at=3000, volume=2100)

    order = row(kite, order_id)
    assert (order["status"], order["filled_quantity"]) == ("CANCELLED", 50)


def test_a_ttl_order_ends_after_its_minutes(bench: Bench, kite: KiteConnect) -> None:
    order_id = placed(kite, price=1490, validity="TTL", validity_ttl=2)

    bench.advance(2000 + LATENCY + 120_000 - 1)
    assert row(kite, order_id)["status"] == "OPEN"
    bench.advance(2000 + LATENCY + 120_000)

    assert row(kite, order_id)["status"] == "CANCELLED"
    assert row(kite, order_id)["validity_ttl"] == 2


def test_orders_of_the_day_end_at_the_close(bench: Bench, kite: KiteConnect) -> None:
    bench.advance(CLOSE - 50)
    kite = bench.client()
    waiting, late = placed(kite, price=1490), placed(kite, price=1490)
    bench.advance(CLOSE - 1)
    bench.tick(140_000, at=CLOSE, volume=9000)

    assert row(kite, waiting)["status"] == "REJECTED"
    assert row(kite, late)["status_message"] == "The market is closed."
    assert kite.trades() == []
    with pytest.raises(OrderException, match="Markets are closed"):
        placed(kite)


def test_an_open_order_is_cancelled_at_the_close(bench: Bench, kite: KiteConnect) -> None:
    order_id = placed(kite, price=1490)

    bench.advance(CLOSE)

    assert row(kite, order_id)["status"] == "CANCELLED"


def test_the_legs_of_an_iceberg_follow_each_other(bench: Bench, kite: KiteConnect) -> None:
    order_id = placed(kite, quantity=25, price=1501, variety="iceberg", iceberg_legs=3, iceberg_quantity=10)
    for second in (3, 4, 5):
        bench.tick(150_000, at=1000 * second, volume=1000 * second)

    first, *others = kite.orders()
    assert (first["order_id"], [order["quantity"] for order in (first, *others)]) == (order_id, [10, 10, 5])
    assert [order["parent_order_id"] for order in others] == [order_id, order_id]
    assert others[-1]["meta"]["iceberg"]["leg"] == 3
    assert sum(fill["quantity"] for fill in kite.trades()) == 25
    assert bench.ledger()["counters"]["rate_count"] == 3


def test_autoslice_cuts_above_the_freeze_quantity_and_tells_what_lacks_margin(tmp_path: Path) -> None:
    with a_bench(tmp_path, cash=1_300_000) as bench:
        bench.tick(300_000, at=1000, instrument="NSE:TCS", volume=1000)
        kite = bench.client()

        answer = kite.place_autoslice_order("regular", "NSE", "TCS", "BUY", 2500, "MIS", "LIMIT", price=3000)

        slices = [child.get("order_id") for child in answer["children"]]
        assert answer["order_id"] not in slices
        assert kite.orders()[0]["tags"] == ["autoslice", f"autoslice:{answer['order_id']}"]
        assert [child.get("error", {}).get("error_type") for child in answer["children"]] == [
            None,
            None,
            "MarginException",
        ]
        assert [(order["order_id"], order["quantity"]) for order in kite.orders()] == [
            (one, 1000) for one in slices[:2]
        ]
        kite.reqsession.close()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"quantity": 1001, "price": 3000}, "freeze quantity 1000"),
        ({"quantity": 10, "price": 3300.05}, "circuit limits 2700 to 3300"),
        ({"quantity": 900, "price": 3000, "product": "CNC"}, "Required margin is 2700000.00"),
        ({"quantity": 1, "price": 3000, "product": "CNC", "transaction_type": "SELL"}, "Insufficient stock holding"),
    ],
)
def test_some_orders_get_into_the_book_and_are_rejected_there(
    bench: Bench, kite: KiteConnect, fields: dict[str, Any], message: str
) -> None:
    order = {"variety": "regular", "exchange": "NSE", "tradingsymbol": "TCS", "transaction_type": "BUY"}
    order_id = kite.place_order(**{**order, "product": "MIS", "order_type": "LIMIT", **fields})

    assert statuses(kite, order_id) == ["PUT ORDER REQ RECEIVED", "VALIDATION PENDING", "REJECTED"]
    assert message in row(kite, order_id)["status_message"]
    assert row(kite, order_id)["status_message_raw"].startswith("RMS:")


def test_options_are_traded_in_lots_and_pay_their_premium(bench: Bench, kite: KiteConnect) -> None:
    bench.tick(10_000, at=3000, instrument=CALL.id, volume=1000)
    order = {"exchange": "NFO", "tradingsymbol": CALL.symbol, "product": "NRML"}
    order_id = placed(kite, quantity=50, **order)
    bench.tick(10_000, at=4000, instrument=CALL.id, volume=2000)

    assert row(kite, order_id)["status"] == "COMPLETE"
    assert kite.margins("equity")["utilised"]["option_premium"] == 5000
    with pytest.raises(InputException, match="multiple of 5"):
        placed(kite, quantity=51, **order)


def test_an_order_that_is_not_there_cannot_be_asked_for(kite: KiteConnect) -> None:
    for ask in (kite.order_history, kite.order_trades, lambda name: kite.cancel_order("regular", name)):
        with pytest.raises(GeneralException, match="Couldn't find that"):
            ask("1")


def test_the_order_book_lives_one_day_and_the_ledger_for_ever(bench: Bench, kite: KiteConnect) -> None:
    order_id = placed(kite, product="CNC")
    bench.tick(150_000, at=3000, volume=3000)
    bench.tick(151_000, at=86_400_000 + 1000, volume=10)
    kite = bench.client()

    assert (kite.orders(), kite.trades(), kite.positions()["net"]) == ([], [], [])
    assert [(one["tradingsymbol"], one["quantity"], one["pnl"]) for one in kite.holdings()] == [("INFY", 10, 100)]
    assert [order["order_id"] for order in bench.ledger()["orders"]] == [order_id]
    assert kite.margins("equity")["net"] == 1_000_000 - 15_000
    sold = placed(kite, "SELL", product="CNC")
    bench.tick(151_000, at=86_400_000 + 2000, volume=1000)
    assert row(kite, sold)["status"] == "COMPLETE"
    assert [(one["quantity"], one["used_quantity"]) for one in kite.holdings()] == [(0, 10)]


def test_a_carried_position_is_shown_with_what_it_was_overnight(bench: Bench, kite: KiteConnect) -> None:
    bench.tick(150_000, at=3000, volume=3000)
    placed(kite)
    bench.tick(150_000, at=4000, volume=4000)
    bench.tick(151_000, at=86_400_000 + 1000, volume=10)
    kite = bench.client()

    (net,) = kite.positions()["net"]
    assert (net["overnight_quantity"], net["quantity"], net["pnl"], net["day_buy_quantity"]) == (10, 10, 100, 0)
    assert kite.positions()["day"] == []
