"""Every official sample answer that kitesim serves, compared field by field: the same keys, the same types."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from kiteconnect import KiteConnect

from panda_streams.kitesim.orders import BookOrder
from tests.unit.builders import CALL
from tests.unit.kitesim.bench import DEPTH, SECRET, Bench, placed

NOT_SERVED = {
    "alerts_create.json",
    "alerts_create_ato.json",
    "alerts_delete.json",
    "alerts_get.json",
    "alerts_get_one.json",
    "alerts_history.json",
    "alerts_modify.json",
    "auctions_list.json",
    "convert_position.json",
    "full_profile.json",
    "holdings_auth.json",
    "holdings_compact.json",
    "holdings_summary.json",
    "mf_holdings.json",
    "mf_instruments.csv",
    "mf_order_cancel.json",
    "mf_order_response.json",
    "mf_orders.json",
    "mf_orders_info.json",
    "mf_sip_cancel.json",
    "mf_sip_info.json",
    "mf_sip_modify.json",
    "mf_sip_place.json",
    "mf_sips.json",
    "trigger_range.json",
}
ELSEWHERE = {
    "instruments_all.csv",
    "instruments_nse.csv",
    "postback.json",
    "ticker_full.json",
    "ticker_full.packet",
    "ticker_ltp.json",
    "ticker_quote.json",
    "ticker_quote.packet",
}
"""Compared below, or in test_frames.py."""

NEWER = {
    "account_id",
    "auction_number",
    "exchange_update_timestamp",
    "guid",
    "market_protection",
    "meta",
    "status_message_raw",
    "tags",
    "validity_ttl",
}
"""Fields of an order that today's documentation has and some of the samples, of 2017 to 2021, have not."""


@pytest.fixture
def traded(bench: Bench, kite: KiteConnect) -> Bench:
    """An account with every kind of thing in it: orders that traded, wait and are modified, triggers, and holdings."""
    placed(kite, product="CNC")
    bench.tick(150_000, at=3000, volume=3000)
    bench.tick(150_000, at=86_400_000 + 1000, volume=10)
    bench.tick(150_500, at=86_400_000 + 2000, volume=1000, depth=DEPTH)
    bench.tick(10_000, at=86_400_000 + 2000, volume=1000, instrument=CALL.id)
    return bench


Ask = Callable[[Bench, KiteConnect], Any]


def get(path: str, **params: Any) -> Ask:
    return lambda bench, kite: call(bench, kite, "GET", path, params=params)


def call(bench: Bench, kite: KiteConnect, method: str, path: str, **more: Any) -> Any:
    headers = {"Authorization": f"token panda:{kite.access_token}"}
    answer = requests.request(method, f"{bench.url}{path}", headers=headers, timeout=5, **more)
    assert answer.headers["Content-Type"].startswith("application/json")
    return answer.json()


def an_order(**fields: Any) -> dict[str, Any]:
    base = {"exchange": "NSE", "tradingsymbol": "INFY", "transaction_type": "BUY", "quantity": 1, "product": "MIS"}
    return {**base, "order_type": "LIMIT", "price": 1490, **fields}


def place(bench: Bench, kite: KiteConnect) -> Any:
    return call(bench, kite, "POST", "/orders/regular", data=an_order())


def filled(bench: Bench, kite: KiteConnect) -> str:
    order_id = placed(kite, tag="sample")
    bench.tick(150_500, at=86_400_000 + 3000, volume=5000)
    return order_id


def modified(bench: Bench, kite: KiteConnect) -> Any:
    order_id = placed(kite, price=1490)
    return call(bench, kite, "PUT", f"/orders/regular/{order_id}", data={"price": 1480})


def cancelled(bench: Bench, kite: KiteConnect) -> Any:
    return call(bench, kite, "DELETE", f"/orders/regular/{placed(kite, price=1490)}")


def sliced(bench: Bench, kite: KiteConnect) -> Any:
    bench.tick(300_000, at=86_400_000 + 2500, instrument="NSE:TCS", volume=1000)
    order = an_order(tradingsymbol="TCS", quantity=2500, price=3000, autoslice="true")
    return call(bench, kite, "POST", "/orders/regular", data=order)


def session(bench: Bench, kite: KiteConnect) -> Any:
    token = requests.post(f"{bench.url}/sim/login", json={"api_key": "panda"}, timeout=5).json()["request_token"]
    checksum = hashlib.sha256(f"panda{token}{SECRET}".encode()).hexdigest()
    fields = {"api_key": "panda", "request_token": token, "checksum": checksum}
    return call(bench, kite, "POST", "/session/token", data=fields)


def logout(bench: Bench, kite: KiteConnect) -> Any:
    return call(bench, kite, "DELETE", "/session/token", params={"api_key": "panda", "access_token": kite.access_token})


def a_gtt(bench: Bench, kite: KiteConnect, *, reached: bool = False) -> int:
    order = {"transaction_type": "SELL", "quantity": 1, "order_type": "LIMIT", "product": "CNC", "price": 1400}
    trigger = kite.place_gtt("two-leg", "INFY", "NSE", [1490, 1510], 1505, [order, order])["trigger_id"]
    if reached:
        bench.tick(151_000, at=86_400_000 + 4000, volume=9000)
    return int(trigger)


def of_gtt(method: str) -> Ask:
    condition = {"exchange": "NSE", "tradingsymbol": "INFY", "trigger_values": [1480], "last_price": 1505}
    order = {"transaction_type": "BUY", "quantity": 1, "order_type": "LIMIT", "product": "CNC", "price": 1480}
    fields = {"type": "single", "condition": json.dumps(condition), "orders": json.dumps([order])}

    def ask(bench: Bench, kite: KiteConnect) -> Any:
        path = "/gtt/triggers" if method == "POST" else f"/gtt/triggers/{a_gtt(bench, kite)}"
        return call(bench, kite, method, path, data=fields if method != "DELETE" else None)

    return ask


def reckoned(path: str, *orders: dict[str, Any]) -> Ask:
    return lambda bench, kite: call(bench, kite, "POST", path, json=list(orders))


def candles(oi: int) -> Ask:
    def ask(bench: Bench, kite: KiteConnect) -> Any:
        token = kite.ltp("NSE:INFY")["NSE:INFY"]["instrument_token"]
        params = {"from": "2021-06-08 09:00:00", "to": "2021-06-09 15:30:00", "oi": oi}
        return call(bench, kite, "GET", f"/instruments/historical/{token}/minute", params=params)

    return ask


def whole_history(bench: Bench, kite: KiteConnect) -> Any:
    order_id = placed(kite, price=1490)
    kite.modify_order("regular", order_id, price=1505)
    bench.tick(150_000, at=86_400_000 + 3000, volume=5000)
    return call(bench, kite, "GET", f"/orders/{order_id}")


OPTION = an_order(exchange="NFO", tradingsymbol=CALL.symbol, product="NRML", quantity=50, price=100)

SERVED: dict[str, Ask] = {
    "autoslice_response.json": sliced,
    "basket_margins.json": reckoned("/margins/basket", {**OPTION, "transaction_type": "SELL"}, OPTION),
    "generate_session.json": session,
    "gtt_delete_order.json": of_gtt("DELETE"),
    "gtt_get_order.json": lambda bench, kite: call(
        bench, kite, "GET", f"/gtt/triggers/{a_gtt(bench, kite, reached=True)}"
    ),
    "gtt_get_orders.json": lambda bench, kite: (a_gtt(bench, kite, reached=True), get("/gtt/triggers")(bench, kite))[1],
    "gtt_modify_order.json": of_gtt("PUT"),
    "gtt_place_order.json": of_gtt("POST"),
    "historical_minute.json": candles(0),
    "historical_oi.json": candles(1),
    "holdings.json": get("/portfolio/holdings"),
    "ltp.json": get("/quote/ltp", i="NSE:INFY"),
    "margin_commodity.json": get("/user/margins/commodity"),
    "margins.json": get("/user/margins"),
    "margins_equity.json": get("/user/margins/equity"),
    "ohlc.json": get("/quote/ohlc", i="NSE:INFY"),
    "order_cancel.json": cancelled,
    "order_info.json": whole_history,
    "order_margins.json": reckoned("/margins/orders", an_order()),
    "order_modify.json": modified,
    "order_response.json": place,
    "order_trades.json": lambda bench, kite: get(f"/orders/{filled(bench, kite)}/trades")(bench, kite),
    "orders.json": lambda bench, kite: (filled(bench, kite), get("/orders")(bench, kite))[1],
    "positions.json": lambda bench, kite: (filled(bench, kite), get("/portfolio/positions")(bench, kite))[1],
    "profile.json": get("/user/profile"),
    "quote.json": get("/quote", i="NSE:INFY"),
    "session_logout.json": logout,
    "trades.json": lambda bench, kite: (filled(bench, kite), get("/trades")(bench, kite))[1],
    "virtual_contract_note.json": reckoned("/charges/orders", {**an_order(), "order_id": "1", "average_price": 1500}),
}


def differences(ours: Any, theirs: Any, place: str = "") -> list[str]:
    """Where an answer has other keys or types than a sample; null goes with everything, and so does a list of
    another length. What an order has more than an old sample is no difference."""
    if ours is None or theirs is None:
        return []
    if isinstance(ours, dict) and isinstance(theirs, dict):
        more = ours.keys() - theirs.keys() - (NEWER if "order_type" in theirs else set())
        found = [f"{place}: {name} is not in the sample" for name in sorted(more)]
        found += [f"{place}: {name} is missing" for name in sorted(theirs.keys() - ours.keys())]
        for name in ours.keys() & theirs.keys():
            found += differences(ours[name], theirs[name], f"{place}.{name}")
        return found
    if isinstance(ours, list) and isinstance(theirs, list):
        if place.endswith(".candles"):
            widths = {len(row) for row in ours}
            assert widths == {len(theirs[0])}
        return [text for row in ours for text in _nearest(row, theirs, place)] if theirs else []
    if isinstance(ours, bool) or isinstance(theirs, bool):
        same = type(ours) is type(theirs)
    elif isinstance(ours, int | float) and isinstance(theirs, int | float):
        same = True
    else:
        same = type(ours) is type(theirs)
    return [] if same else [f"{place}: {type(ours).__name__} {ours!r}, the sample has {theirs!r}"]


def _nearest(row: Any, samples: list[Any], place: str) -> list[str]:
    """The differences from the sample row that is most like it: children of an order are an id or an error."""
    return min((differences(row, sample, f"{place}[]") for sample in samples), key=len)


def test_each_sample_is_either_served_or_named_as_left_out(shared_data: Path) -> None:
    files = {path.name for path in (shared_data / "kiteconnect-mocks").iterdir()} - {"README.md"}

    assert files == NOT_SERVED | ELSEWHERE | SERVED.keys()
    assert not SERVED.keys() & NOT_SERVED


@pytest.mark.parametrize("name", sorted(SERVED))
def test_an_answer_has_the_samples_keys_and_types(traded: Bench, name: str, shared_data: Path) -> None:
    sample = json.loads((shared_data / "kiteconnect-mocks" / name).read_text())
    kite = traded.client()

    ours = SERVED[name](traded, kite)

    assert ours["data"], "an empty answer would be like every sample"
    assert differences(ours, sample) == []
    kite.reqsession.close()


def test_the_dump_has_the_samples_columns(bench: Bench, shared_data: Path) -> None:
    for path, name in (("/instruments", "instruments_all.csv"), ("/instruments/NSE", "instruments_nse.csv")):
        answer = requests.get(f"{bench.url}{path}", timeout=5)
        head = (shared_data / "kiteconnect-mocks" / name).read_text().splitlines()[0]

        assert answer.headers["Content-Type"].startswith("text/csv")
        assert answer.text.splitlines()[0] == head
        assert len(answer.text.splitlines()) == (6 if path == "/instruments" else 4)


def test_an_update_of_the_websocket_has_the_postbacks_keys(bench: Bench, kite: KiteConnect, shared_data: Path) -> None:
    sample = json.loads((shared_data / "kiteconnect-mocks" / "postback.json").read_text())
    placed(kite)
    order: BookOrder = bench.inside(lambda: next(iter(bench.kitesim.engine.broker.orders.values())))

    ours = bench.kitesim.ticker.shape(order)

    assert differences(ours, sample) == [": modified is not in the sample"]


def test_the_comparison_finds_what_differs() -> None:
    sample = {"a": 1, "b": [{"c": "x"}], "order_type": "LIMIT"}

    assert differences({"a": 2.5, "b": [{"c": None}], "order_type": "SL", "guid": ""}, sample) == []
    assert set(differences({"a": "1", "b": [{"d": 1}], "order_type": "SL"}, sample)) == {
        ".a: str '1', the sample has 1",
        ".b[]: d is not in the sample",
        ".b[]: c is missing",
    }
