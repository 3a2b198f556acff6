"""Stops that rest at Kite as triggers (GTT): how they are placed, changed, deleted and read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from panda_streams.brokers.zerodha.client import KiteClient
from panda_streams.brokers.zerodha.profile import endpoints
from panda_streams.brokers.zerodha.session import write_session
from panda_streams.domain.brokerage import AnswerKind, BrokerStatus, Modification, OrderRequest
from panda_streams.domain.orders import Product
from panda_streams.domain.signals import OrderType, Side, Validity
from panda_streams.kite import KiteProfile
from tests.unit.brokers.zerodha.fake_kite import HTML_502, Reply, failure, success
from tests.unit.brokers.zerodha.sessions import a_session

TAKEN, REFUSED = AnswerKind.TAKEN, AnswerKind.REFUSED
THROTTLED, UNSURE = AnswerKind.THROTTLED, AnswerKind.UNSURE


def a_stop(**fields: Any) -> OrderRequest:
    given = {
        "order_id": "ours",
        "tag": "PANDA1234",
        "instrument": "NSE:M&M",
        "side": Side.SELL,
        "quantity": 10,
        "product": Product.CNC,
        "order_type": OrderType.SL,
        "validity": Validity.DAY,
        "price": Decimal("1374.30"),
        "trigger": Decimal("1402.35"),
        "overnight": True,
        "last_price": Decimal("1416.50"),
    }
    return OrderRequest(**{**given, **fields})


def a_row(number: int = 77, status: str = "active", result: Any = None, **order: Any) -> dict[str, Any]:
    """A trigger as Kite lists it."""
    where = {"exchange": "NSE", "tradingsymbol": "M&M"}
    plain = {"transaction_type": "SELL", "quantity": 10, "price": 1374.3, "product": "CNC", "order_type": "LIMIT"}
    return {
        "id": number,
        "type": "single",
        "status": status,
        "created_at": "2026-11-25 10:00:00",
        "updated_at": "2026-11-26 09:15:02",
        "condition": {**where, "last_price": 1416.5, "trigger_values": [1402.35]},
        "orders": [{**where, **plain, **order, "result": result}],
        "meta": {},
    }


def placed(order_id: str, status: str = "success", reason: str = "") -> dict[str, Any]:
    return {"order_result": {"status": status, "order_id": order_id, "rejection_reason": reason}}


@pytest.fixture
def client(settings, world, fake) -> Iterator[KiteClient]:
    fake.answers["GET /orders"] = fake.answers["GET /trades"] = success([])
    made = KiteClient.from_settings(settings, world)
    yield made
    made.close()


def listed(client: KiteClient, fake: Any, *rows: dict[str, Any]) -> Any:
    """What the client makes of a list of triggers."""
    fake.answers["GET /gtt/triggers"] = success(list(rows))
    return client.book(overnight=True).triggers


def place(client: KiteClient, fake: Any, reply: Reply, **fields: Any) -> Any:
    fake.answers["POST /gtt/triggers"] = reply
    return client.place(a_stop(**fields), at=1_700_000_000_123)


def said(fake: Any) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
    form = fake.calls[-1].form
    return form["type"], json.loads(form["condition"]), json.loads(form["orders"])


# Placing


def test_a_stop_that_rests_overnight_is_a_trigger_with_a_limit_order(client, fake):
    answer = place(client, fake, success({"trigger_id": 77}))

    where = {"exchange": "NSE", "tradingsymbol": "M&M"}
    condition = {**where, "trigger_values": [1402.35], "last_price": 1416.5}
    order = {"transaction_type": "SELL", "quantity": 10, "order_type": "LIMIT", "product": "CNC", "price": 1374.3}
    assert (answer.kind, answer.broker_id) == (TAKEN, "gtt:77")
    assert said(fake) == ("single", condition, [{**where, **order}])
    assert fake.calls[-1].headers["x-panda-time"] == "1700000000123"
    assert fake.count("POST", "/orders/regular") == 0


ENDS = {
    "no answer in time": (Reply(hang=True), UNSURE),
    "the connection breaks": (Reply(reset=True), UNSURE),
    "a gateway's page": (Reply(502, HTML_502, "text/html"), UNSURE),
    "an error of the back end": (failure(500, "GeneralException", "Something went wrong"), UNSURE),
    "a 400 that is a timeout": (failure(400, "OrderException", "Order request timed out."), UNSURE),
    "a success without an id": (success({}), UNSURE),
    "an id that is a text": (success({"trigger_id": "77"}), UNSURE),
    "an order's id": (success({"order_id": "77"}), UNSURE),
    "a trigger too close": (failure(400, "InputException", "Trigger should be 0.25% off the last price"), REFUSED),
    "too many": (failure(429, "NetworkException", "Too many requests"), THROTTLED),
    "a token that has ended": (failure(403, "TokenException", "Token has expired"), AnswerKind.LOGGED_OUT),
}


@pytest.mark.parametrize("end", ENDS)
def test_only_what_is_proved_is_refused(client, fake, end):
    reply, kind = ENDS[end]

    answer = place(client, fake, reply)

    assert (answer.kind, answer.broker_id) == (kind, None)
    assert answer.text
    assert fake.count("POST", "/gtt/triggers") == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"last_price": None},
        {"last_price": Decimal("1402.35")},
        {"last_price": Decimal(1400)},
        {"side": Side.BUY},
    ],
)
def test_a_trigger_that_would_wait_for_the_other_direction_is_not_sent(client, fake, fields):
    answer = place(client, fake, success({"trigger_id": 77}), **fields)

    assert (answer.kind, answer.text[:8]) == (REFUSED, "not sent")
    assert fake.count("POST", "/gtt/triggers") == 0


def test_the_sandbox_has_no_triggers_and_is_asked_for_none(settings, world, fake, monkeypatch):
    root = endpoints(settings).api_root
    sandbox = settings.model_copy(update={"kite_profile": KiteProfile.SANDBOX})
    here = replace(endpoints(sandbox), api_root=root)
    monkeypatch.setattr("panda_streams.brokers.zerodha.client.endpoints", lambda _: here)
    write_session(sandbox, world, a_session(KiteProfile.SANDBOX))
    fake.answers["GET /oms/orders"] = fake.answers["GET /oms/trades"] = success([])
    client = KiteClient.from_settings(sandbox, world)

    answer, book = client.place(a_stop(), at=5), client.book(overnight=True)

    client.close()
    assert (answer.kind, book.triggers) == (REFUSED, ())
    assert [call.path for call in fake.calls] == ["/oms/orders", "/oms/trades"]


# Reading


@pytest.mark.parametrize(
    ("status", "result", "expected"),
    [
        ("active", None, (BrokerStatus.TRIGGER_PENDING, None, "")),
        ("a state of tomorrow", None, (BrokerStatus.TRIGGER_PENDING, None, "")),
        ("triggered", None, (BrokerStatus.OPEN, None, "")),
        ("triggered", placed("20421"), (BrokerStatus.OPEN, "20421", "")),
        ("triggered", placed("20421", "failed", "No shares"), (BrokerStatus.OPEN, "20421", "No shares")),
        ("triggered", placed("", "failed", "No shares"), (BrokerStatus.REJECTED, None, "No shares")),
        ("rejected", None, (BrokerStatus.REJECTED, None, "")),
        *((status, None, (BrokerStatus.CANCELLED, None, "")) for status in ("cancelled", "deleted", "expired")),
        ("disabled", None, (BrokerStatus.CANCELLED, None, "")),
    ],
)
def test_a_trigger_has_the_state_that_kite_says(client, fake, status, result, expected):
    [trigger] = listed(client, fake, a_row(status=status, result=result))

    assert (trigger.status, trigger.placed, trigger.text) == expected


def test_a_trigger_says_all_that_it_is(client, fake):
    [trigger] = listed(client, fake, a_row())

    assert (trigger.broker_id, trigger.instrument, trigger.side, trigger.product) == (
        "gtt:77",
        "NSE:M&M",
        Side.SELL,
        "CNC",
    )
    assert (trigger.quantity, trigger.price, trigger.trigger, trigger.last_price) == (
        10,
        Decimal("1374.30"),
        Decimal("1402.35"),
        Decimal("1416.50"),
    )
    assert trigger.time - trigger.created == 83_702_000


def test_triggers_are_read_only_if_the_account_may_have_any(client, fake):
    assert client.book(overnight=False).triggers is None
    assert fake.count("GET", "/gtt/triggers") == 0


def test_the_official_sample_of_triggers_is_read(client, fake, shared_data):
    sample = json.loads((shared_data / "kiteconnect-mocks" / "gtt_get_orders.json").read_text())["data"]

    [trigger] = listed(client, fake, *sample)

    assert (trigger.broker_id, trigger.trigger, trigger.price) == ("gtt:112127", Decimal(702), Decimal("702.50"))


def test_an_order_says_which_trigger_has_placed_it(client, fake):
    order = {
        "order_id": "20421",
        "exchange": "NSE",
        "tradingsymbol": "M&M",
        "transaction_type": "SELL",
        "product": "CNC",
        "order_type": "LIMIT",
        "status": "OPEN",
        "quantity": 10,
        "filled_quantity": 0,
        "order_timestamp": "2026-11-26 09:15:02",
        "tag": None,
        "meta": {"gtt": 77},
    }
    fake.answers["GET /orders"] = success([order, {**order, "order_id": "20422", "meta": {}}])

    assert [order.placed_by for order in client.book(overnight=False).orders] == ["gtt:77", None]


# Changing


def test_a_change_says_all_terms_again(client, fake):
    listed(client, fake, a_row())
    fake.answers["PUT /gtt/triggers/77"] = success({"trigger_id": 77})

    change = Modification(trigger=Decimal(1410), price=Decimal("1381.80"), last_price=Decimal(1425))
    answer = client.modify("gtt:77", change, at=9)

    _, condition, [order] = said(fake)
    assert (answer.kind, answer.broker_id) == (TAKEN, "gtt:77")
    assert (condition["trigger_values"], condition["last_price"]) == ([1410.0], 1425.0)
    assert (order["price"], order["quantity"], order["product"]) == (1381.8, 10, "CNC")


def test_another_quantity_leaves_the_price_where_it_was(client, fake):
    listed(client, fake, a_row())
    fake.answers["PUT /gtt/triggers/77"] = success({"trigger_id": 77})

    answer = client.modify("gtt:77", Modification(quantity=15, last_price=Decimal(1400)), at=9)

    _, condition, [order] = said(fake)
    assert (answer.kind, condition["last_price"], order["quantity"]) == (TAKEN, 1416.5, 15)


def test_a_change_that_would_turn_the_trigger_around_is_not_sent(client, fake):
    listed(client, fake, a_row())

    answer = client.modify("gtt:77", Modification(trigger=Decimal(1410), last_price=Decimal(1410)), at=9)

    assert (answer.kind, fake.count("PUT", "/gtt/triggers/77")) == (REFUSED, 0)


def test_of_a_trigger_that_has_fired_the_order_is_changed_and_cancelled(client, fake):
    listed(client, fake, a_row(status="triggered", result=placed("20421")))
    fake.answers["PUT /orders/regular/20421"] = success({"order_id": "20421"})
    fake.answers["DELETE /orders/regular/20421"] = success({"order_id": "20421"})

    moved = client.modify("gtt:77", Modification(trigger=Decimal(1410), price=Decimal(1390)), at=9)
    shrunk = client.modify("gtt:77", Modification(quantity=5), at=9)
    form = fake.calls[-1].form
    cancelled = client.cancel("gtt:77", at=9)

    assert [moved.kind, shrunk.kind, cancelled.kind] == [REFUSED, TAKEN, TAKEN]
    assert form == {"variety": "regular", "order_id": "20421", "quantity": "5"}
    assert fake.count("DELETE", "/gtt/triggers/77") == 0


def test_a_trigger_that_was_not_read_is_not_changed(client, fake):
    answer = client.modify("gtt:77", Modification(quantity=5), at=9)

    assert (answer.kind, answer.text[:8], fake.calls) == (THROTTLED, "not sent", [])


def test_a_trigger_that_rests_no_more_is_not_changed(client, fake):
    listed(client, fake, a_row(status="cancelled"))

    assert client.modify("gtt:77", Modification(quantity=5), at=9).kind is REFUSED


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (success({"trigger_id": 77}), TAKEN),
        (success({"trigger_id": 78}), UNSURE),
        (failure(404, "GeneralException", "Trigger does not exist."), REFUSED),
        (failure(400, "InputException", "The trigger is triggered."), REFUSED),
        (failure(500, "GeneralException", "Something went wrong"), UNSURE),
        (Reply(reset=True), UNSURE),
    ],
)
def test_a_deletion_is_taken_refused_or_unsure(client, fake, reply, kind):
    fake.answers["DELETE /gtt/triggers/77"] = reply

    assert client.cancel("gtt:77", at=9).kind is kind
    assert fake.count("DELETE", "/gtt/triggers/77") == 1
