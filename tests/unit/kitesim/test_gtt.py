"""Triggers that wait at the broker, by the unmodified client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from kiteconnect import KiteConnect
from kiteconnect.exceptions import GeneralException, InputException

from tests.unit.builders import T0
from tests.unit.kitesim.bench import LATENCY, Bench, a_bench


def order(side: str, price: float, quantity: int = 10, product: str = "MIS") -> dict[str, Any]:
    return {"transaction_type": side, "quantity": quantity, "order_type": "LIMIT", "product": product, "price": price}


def single(kite: KiteConnect, trigger: float, side: str = "BUY", price: float = 1500, **fields: Any) -> int:
    placed = kite.place_gtt("single", "INFY", "NSE", [trigger], 1500, [order(side, price, **fields)])
    return int(placed["trigger_id"])


@pytest.mark.parametrize(("trigger", "price"), [(1490, 149_000), (1510, 151_000)])
def test_a_trigger_is_reached_from_the_side_where_the_price_was(
    bench: Bench, kite: KiteConnect, trigger: float, price: int
) -> None:
    number = single(kite, trigger, price=1520)
    bench.tick(150_000, at=3000, volume=3000)
    assert kite.get_gtt(number)["status"] == "active"

    bench.tick(price, at=4000, volume=4000)
    bench.tick(price, at=5000, volume=5000)

    gtt = kite.get_gtt(number)
    assert gtt["status"] == "triggered"
    (result,) = [leg["result"] for leg in gtt["orders"]]
    assert (result["order_result"]["status"], result["triggered_at"]) == ("success", trigger)
    (placed,) = kite.orders()
    assert (placed["order_id"], placed["status"], placed["meta"]) == (
        result["order_result"]["order_id"],
        "COMPLETE",
        {"gtt": number},
    )


@pytest.mark.parametrize(("price", "leg"), [(148_900, 0), (152_100, 1)])
def test_one_of_two_legs_is_placed(bench: Bench, kite: KiteConnect, price: int, leg: int) -> None:
    legs = [order("SELL", 1485, 1), order("SELL", 1520, 2)]
    number = kite.place_gtt("two-leg", "INFY", "NSE", [1490, 1520], 1500, legs)["trigger_id"]

    bench.tick(price, at=3000, volume=3000)

    results = [one["result"] is not None for one in kite.get_gtt(number)["orders"]]
    assert results == [leg == 0, leg == 1]
    assert [row["quantity"] for row in kite.orders()] == [leg + 1]


def test_an_order_of_a_trigger_may_be_rejected(bench: Bench, kite: KiteConnect) -> None:
    number = single(kite, 1490, side="SELL", product="CNC")

    bench.tick(149_000, at=3000)

    result = kite.get_gtt(number)["orders"][0]["result"]["order_result"]
    assert result["status"] == "failed"
    assert "Insufficient stock holding" in result["rejection_reason"]


def test_a_trigger_can_be_modified_and_deleted(bench: Bench, kite: KiteConnect) -> None:
    number = single(kite, 1490)
    again = kite.modify_gtt(number, "single", "INFY", "NSE", [1480], 1500, [order("BUY", 1480, 20)])
    assert again == {"trigger_id": number}
    bench.tick(149_000, at=3000)
    (shown,) = kite.get_gtts()
    assert (shown["status"], shown["condition"]["trigger_values"], shown["orders"][0]["quantity"]) == (
        "active",
        [1480],
        20,
    )

    kite.delete_gtt(number)
    bench.tick(147_000, at=4000)

    assert kite.get_gtts() == kite.orders() == []
    with pytest.raises(GeneralException, match="does not exist"):
        kite.get_gtt(number)


@pytest.mark.parametrize(
    ("kind", "triggers", "orders", "message"),
    [
        ("single", [1500], [order("BUY", 1500)], "differ from the last price"),
        ("single", [1490.03], [order("BUY", 1500)], "tick size"),
        ("single", [1490], [order("BUY", 1500), order("BUY", 1500)], "has 1 trigger"),
        ("single", [1490], [{**order("BUY", 1500), "order_type": "MARKET"}], "LIMIT"),
        ("two-leg", [1510, 1520], [order("BUY", 1500)] * 2, "between the trigger values"),
    ],
)
def test_a_trigger_that_makes_no_sense_is_refused(
    kite: KiteConnect, kind: str, triggers: list[float], orders: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(InputException, match=message):
        kite.place_gtt(kind, "INFY", "NSE", triggers, 1500, orders)


def test_triggers_wait_through_a_restart(tmp_path: Path) -> None:
    with a_bench(tmp_path) as bench:
        bench.tick(150_000, at=1000)
        kite = bench.client()
        number = single(kite, 1490)
        kite.reqsession.close()
    with a_bench(tmp_path) as bench:
        kite = bench.client()
        bench.tick(149_000, at=2000)

        assert kite.get_gtt(number)["status"] == "triggered"
        assert single(kite, 1480) == number + 1
        kite.reqsession.close()


def test_a_trigger_is_reached_only_by_prices_after_its_latency(bench: Bench, kite: KiteConnect) -> None:
    bench.tick(150_000, at=2000)
    kite.reqsession.headers["X-Panda-Time"] = str(T0 + 2900)
    number = single(kite, 1490)

    bench.tick(149_000, at=2900 + LATENCY - 1)
    before = kite.get_gtt(number)
    bench.tick(149_000, at=2900 + LATENCY)

    assert (before["status"], before["created_at"]) == ("active", "2021-06-08 09:15:02")
    assert kite.get_gtt(number)["status"] == "triggered"


def test_a_change_of_a_trigger_acts_after_its_latency(bench: Bench, kite: KiteConnect) -> None:
    bench.tick(150_000, at=2000)
    number = single(kite, 1490)
    bench.tick(150_000, at=2500)
    kite.reqsession.headers["X-Panda-Time"] = str(T0 + 2900)
    kite.modify_gtt(number, "single", "INFY", "NSE", [1480], 1500, [order("BUY", 1480)])

    bench.advance(2900 + LATENCY - 1)
    before = kite.get_gtt(number)["condition"]["trigger_values"]
    bench.tick(149_000, at=2900 + LATENCY)

    after = kite.get_gtt(number)
    assert (before, after["condition"]["trigger_values"], after["status"]) == ([1490], [1480], "active")


def test_a_trigger_may_be_reached_before_its_deletion_acts(bench: Bench, kite: KiteConnect) -> None:
    bench.tick(150_000, at=2000)
    number = single(kite, 1490)
    bench.tick(150_000, at=2500)
    assert kite.delete_gtt(number) == kite.delete_gtt(number) == {"trigger_id": number}

    bench.tick(149_000, at=2500 + LATENCY - 1)

    assert kite.get_gtt(number)["status"] == "triggered"
    with pytest.raises(InputException, match="is triggered"):
        kite.delete_gtt(number)


def test_whatever_happens_to_a_trigger_is_a_change_of_the_book(bench: Bench, kite: KiteConnect) -> None:
    versions = [bench.advance(2000)["version"]]
    number = single(kite, 1490)
    versions.append(bench.advance(2000 + LATENCY)["version"])
    kite.delete_gtt(number)
    versions.append(bench.advance(2000 + 2 * LATENCY)["version"])

    assert versions == sorted(set(versions))


def test_a_trigger_may_be_there_although_no_answer_came(bench: Bench, kite: KiteConnect) -> None:
    fault = {"kind": "error_5xx_after", "count": 1}
    requests.post(f"{bench.url}/sim/faults", json=fault, timeout=5).raise_for_status()

    with pytest.raises(GeneralException, match="went wrong"):
        single(kite, 1490)

    assert [row["status"] for row in kite.get_gtts()] == ["active"]
