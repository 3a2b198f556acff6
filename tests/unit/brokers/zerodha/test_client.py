"""The Kite client: what is known after each way in which a call can end, and how Kite's book is read."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import hypothesis
import pytest
from hypothesis import strategies as st

from panda_streams.brokers.zerodha.client import KiteClient
from panda_streams.brokers.zerodha.profile import endpoints
from panda_streams.brokers.zerodha.session import INDIA, read_session, write_session
from panda_streams.domain.brokerage import (
    AnswerKind,
    BrokerStatus,
    LoggedOut,
    Modification,
    OrderRequest,
    Progress,
    Unreachable,
)
from panda_streams.domain.orders import Product
from panda_streams.domain.signals import OrderType, Side, Validity
from panda_streams.kite import KiteProfile
from tests.properties import examples
from tests.unit.brokers.zerodha.fake_kite import HTML_502, Reply, failure, success
from tests.unit.brokers.zerodha.sessions import a_session

TAKEN, REFUSED = AnswerKind.TAKEN, AnswerKind.REFUSED
THROTTLED, UNSURE, LOGGED_OUT = AnswerKind.THROTTLED, AnswerKind.UNSURE, AnswerKind.LOGGED_OUT

TIMED_OUT = "Order request timed out. Please check the order book and confirm before placing again."
NO_MARGIN = "Insufficient funds. Required margin is 95417.84. Check the orderbook for open orders."


def an_order(**fields) -> OrderRequest:
    given = {
        "order_id": "ours",
        "tag": "PANDA1234",
        "instrument": "NSE:M&M",
        "side": Side.BUY,
        "quantity": 10,
        "product": Product.MIS,
        "order_type": OrderType.LIMIT,
        "validity": Validity.DAY,
        "price": Decimal("1402.35"),
    }
    return OrderRequest(**{**given, **fields})


@pytest.fixture
def client(settings, world) -> Iterator[KiteClient]:
    made = KiteClient.from_settings(settings, world)
    yield made
    made.close()


def place(client, fake, reply, **fields):
    fake.answers["POST /orders/regular"] = reply
    return client.place(an_order(**fields), at=1_700_000_000_123)


def test_a_clean_order_id_is_taken(client, fake):
    answer = place(client, fake, success({"order_id": "2042130686722629633"}))

    assert (answer.kind, answer.broker_id, answer.text) == (TAKEN, "2042130686722629633", "")


@pytest.mark.parametrize(
    ("seconds", "known"),
    [
        ([0, 1, 1], TAKEN),
        ([0, 15], THROTTLED),  # before the first byte
        ([0, 1, 15], UNSURE),  # between its head and its fields
    ],
)
def test_a_call_that_was_held_up_on_its_way_out_does_not_leave(client, fake, monkeypatch, seconds, known):
    passing = iter(seconds)
    monkeypatch.setattr("panda_streams.brokers.zerodha.client.boot_time", lambda: next(passing))

    answer = place(client, fake, success({"order_id": "1"}))

    assert answer.kind is known
    assert known is not THROTTLED or fake.count("POST", "/orders/regular") == 0


ENDS = {
    "no answer in time, though it was taken": (Reply(hang=True), UNSURE),
    "the connection breaks": (Reply(reset=True), UNSURE),
    "the answer breaks off": (replace(success({"order_id": "1"}), cut=True), UNSURE),
    "a gateway's page": (Reply(502, HTML_502, "text/html"), UNSURE),
    "a page that says 400": (Reply(400, HTML_502, "text/html"), UNSURE),
    "a page that says 200": (Reply(200, HTML_502, "text/html"), UNSURE),
    "no content type": (Reply(200, b"{}", ""), UNSURE),
    "a gateway's timeout in Kite's form": (failure(504, "NetworkException", "Gateway timed out"), UNSURE),
    "an error of the back end": (failure(500, "OrderException", "Some error"), UNSURE),
    "an error of unknown class": (failure(500, "GeneralException", "Something went wrong"), UNSURE),
    "a back end that is down": (failure(502, "DataException", "Unknown response"), UNSURE),
    "a 400 that is a timeout": (failure(400, "OrderException", TIMED_OUT), UNSURE),
    "a 400 of the network": (failure(400, "NetworkException", "OMS is unreachable"), UNSURE),
    "a 400 of no class": (failure(400, "GeneralException", "Something went wrong"), UNSURE),
    "a 408": (failure(408, "InputException", "Request took too long"), UNSURE),
    "a refusal with status 200": (failure(200, "InputException", "Invalid quantity"), UNSURE),
    "an error without its type": (Reply(400, b'{"status": "error", "message": "x"}'), UNSURE),
    "JSON that is none": (Reply(200, b'{"status": "succ'), UNSURE),
    "JSON that is too deep": (Reply(200, b"[" * 100_000), UNSURE),
    "JSON that is a list": (Reply(200, b"[]"), UNSURE),
    "a success without data": (Reply(200, b'{"status": "success"}'), UNSURE),
    "a success without an id": (success({}), UNSURE),
    "an id that is null": (success({"order_id": None}), UNSURE),
    "an empty id": (success({"order_id": ""}), UNSURE),
    "an id that is a number": (success({"order_id": 12345}), UNSURE),
    "slices instead of an order": (success([{"order_id": "1"}, {"error": "x"}]), UNSURE),
    "an id with an odd status": (replace(success({"order_id": "1"}), status=500), UNSURE),
    "a redirect": (Reply(307, b"", "text/html", {"Location": "/orders/regular"}), UNSURE),
    "a wrong parameter": (failure(400, "InputException", "Invalid quantity"), REFUSED),
    "a refusal of the order": (failure(400, "OrderException", "Price is outside the circuit"), REFUSED),
    "no margin": (failure(400, "MarginException", NO_MARGIN), REFUSED),
    "no shares": (failure(400, "HoldingException", "Holding quantity: 0"), REFUSED),
    "shares that are not authorised": (failure(428, "HoldingException", "Authorise at CDSL"), REFUSED),
    "an address that is not registered": (failure(403, "PermissionException", "IP is not allowed"), REFUSED),
    "too many": (failure(429, "NetworkException", "Too many requests"), THROTTLED),
    "too many, as a page": (Reply(429, b"<html></html>", "text/html"), THROTTLED),
    "a token that has ended": (failure(403, "TokenException", "Token is invalid or has expired."), LOGGED_OUT),
    "a timeout that names the token": (failure(408, "TokenException", "Token is invalid or has expired."), UNSURE),
    "a 403 of another class": (failure(403, "UserException", "Blocked"), LOGGED_OUT),
    "a header that is wrong": (failure(400, "InputException", "Invalid `api_key` or `access_token`."), LOGGED_OUT),
}


@pytest.mark.parametrize("end", ENDS)
def test_only_what_is_proved_is_refused(client, fake, end):
    reply, kind = ENDS[end]

    answer = place(client, fake, reply)

    assert (answer.kind, answer.broker_id) == (kind, None)
    assert answer.text
    assert fake.count("POST", "/orders/regular") == 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["order_id", "x"]), inner, max_size=2),
    max_leaves=4,
)
_BODIES = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["success", "error"]) | _JSON,
        "data": st.just({"order_id": "77"}) | _JSON,
        "message": st.sampled_from(["Invalid", TIMED_OUT, NO_MARGIN]) | _JSON,
        "error_type": st.sampled_from(["InputException", "TokenException", "OrderException", "DataException"]) | _JSON,
    },
)


@hypothesis.settings(max_examples=examples(150), suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(
    status=st.sampled_from([200, 201, 400, 403, 404, 408, 418, 428, 429, 500, 502, 503, 504]), body=_BODIES | _JSON
)
def test_whatever_kite_says_there_is_an_answer_and_no_more_than_is_proved(client, fake, status, body):
    answer = place(client, fake, Reply(status, json.dumps(body).encode()))

    match answer.kind:
        case AnswerKind.TAKEN:
            assert (status, body["data"]["order_id"]) == (200, answer.broker_id)
        case AnswerKind.THROTTLED:
            assert status == 429
        case AnswerKind.REFUSED | AnswerKind.LOGGED_OUT:
            assert status in (400, 403, 404, 428)
            assert body["status"] == "error"
            assert body["message"] != TIMED_OUT


def test_what_was_never_sent_may_be_sent_again(client, fake, settings, world):
    with pytest.raises(Unreachable):
        client.user()
    settings = settings.model_copy(update={"port_base": settings.port_base + 1})
    elsewhere = KiteClient(settings, _Fixed(read_session(settings, world)))

    answer = elsewhere.place(an_order(), at=0)

    elsewhere.close()
    assert (answer.kind, answer.text[:8]) == (THROTTLED, "not sent")


class _Fixed:
    def __init__(self, session) -> None:
        self._session = session

    def current(self):
        return self._session

    def died(self, session) -> None:
        raise AssertionError("it lives")


def test_a_simulator_that_does_not_run_gets_no_order(client):
    answer = client.place(an_order(), at=0)

    assert (answer.kind, "panda kitesim" in answer.text) == (THROTTLED, True)


def test_an_order_says_all_that_it_is(client, fake):
    place(client, fake, success({"order_id": "1"}), validity=Validity.TTL, ttl_minutes=5, trigger=Decimal("1E+3"))

    call = fake.calls[-1]
    assert call.form == {
        "variety": "regular",
        "exchange": "NSE",
        "tradingsymbol": "M&M",
        "transaction_type": "BUY",
        "quantity": "10",
        "product": "MIS",
        "order_type": "LIMIT",
        "price": "1402.35",
        "validity": "TTL",
        "validity_ttl": "5",
        "trigger_price": "1000",
        "tag": "PANDA1234",
    }
    assert call.headers["authorization"] == "token plantedkey:accesstoken1"
    assert call.headers["x-panda-time"] == "1700000000123"


@pytest.mark.parametrize("order_type", [OrderType.MARKET, OrderType.SL_M])
def test_an_order_at_the_market_carries_its_protection(client, fake, order_type):
    place(client, fake, success({"order_id": "1"}), order_type=order_type, price=None, market_protection=Decimal("2.5"))

    assert fake.calls[-1].form["market_protection"] == "2.5"


def test_an_order_at_the_market_without_protection_is_not_sent(client, fake):
    answer = place(client, fake, success({"order_id": "1"}), order_type=OrderType.MARKET, price=None)
    changed = client.modify("1", Modification(order_type=OrderType.MARKET), at=0)

    assert (answer.kind, changed.kind, fake.calls) == (REFUSED, REFUSED, [])
    assert "market_protection" in answer.text


def test_a_modification_says_only_what_changes(client, fake):
    fake.answers["PUT /orders/regular/77"] = success({"order_id": "77"})

    answer = client.modify("77", Modification(price=Decimal("101.5"), quantity=5), at=9)

    assert (answer.kind, answer.broker_id) == (TAKEN, "77")
    assert fake.calls[-1].form == {"variety": "regular", "order_id": "77", "price": "101.5", "quantity": "5"}
    assert fake.calls[-1].headers["x-panda-time"] == "9"


def test_a_cancellation_is_taken_or_refused(client, fake):
    fake.answers["DELETE /orders/regular/77"] = success({"order_id": "77"})
    fake.answers["DELETE /orders/regular/78"] = failure(400, "OrderException", "Order is already COMPLETE")
    fake.answers["DELETE /orders/regular/79"] = failure(404, "GeneralException", "Couldn't find that `order_id`.")
    fake.answers["DELETE /orders/regular/80"] = success({"order_id": "81"})
    fake.answers["DELETE /orders/regular/81"] = failure(500, "OrderException", "Order is already COMPLETE")

    answers = [client.cancel(order, at=0) for order in ("77", "78", "79", "80", "81")]

    assert [answer.kind for answer in answers] == [TAKEN, REFUSED, REFUSED, UNSURE, UNSURE]
    assert answers[1].text == "Order is already COMPLETE"


def test_a_dead_token_of_the_simulator_is_replaced_by_one_login(client, fake):
    assert place(client, fake, success({"order_id": "1"})).kind is TAKEN
    assert place(client, fake, failure(403, "TokenException", "Token has expired")).kind is LOGGED_OUT

    assert place(client, fake, success({"order_id": "2"})).kind is TAKEN
    assert (fake.logins, fake.calls[-1].headers["authorization"]) == (2, "token plantedkey:accesstoken2")


def test_a_new_login_is_taken_up_at_once(client, fake, settings, world):
    place(client, fake, success({"order_id": "1"}))
    session = read_session(settings, world)

    write_session(settings, world, replace(session, access_token=type(session.access_token)("another")))
    place(client, fake, success({"order_id": "2"}))

    assert fake.calls[-1].headers["authorization"] == "token plantedkey:another"


def test_the_questions_raise_what_is_the_matter(client, fake):
    fake.answers["GET /orders"] = Reply(502, HTML_502, "text/html")
    with pytest.raises(Unreachable, match="no answer"):
        client.book(overnight=False)
    fake.answers["GET /orders"] = failure(403, "TokenException", "Token is invalid")
    with pytest.raises(LoggedOut, match="Token is invalid"):
        client.book(overnight=False)
    fake.answers["GET /orders"] = success([{"order_id": "1"}])
    with pytest.raises(Unreachable):
        client.book(overnight=False)


def sample(shared_data, name):
    return json.loads((shared_data / "kiteconnect-mocks" / f"{name}.json").read_text())["data"]


def test_the_official_samples_of_the_book_are_read(client, fake, shared_data):
    fake.answers["GET /orders"] = success(sample(shared_data, "orders"))
    fake.answers["GET /trades"] = success(sample(shared_data, "trades"))

    book = client.book(overnight=False)

    first = book.orders[1]
    assert (first.broker_id, first.instrument, first.status) == ("300000000000000", "NSE:IOC", BrokerStatus.COMPLETE)
    assert (first.price, first.trigger, first.filled) == (Decimal("109.4"), None, 1)
    assert first.time == ms(2021, 5, 31, 15, 20, 28)
    assert book.orders[0].time == ms(2021, 5, 31, 9, 18, 58)
    assert book.orders[3].text.startswith("Insufficient funds")
    trade = book.trades[0]
    assert (trade.trade_id, trade.exchange, trade.broker_id, trade.price) == (
        "10000000",
        "NSE",
        "200000000000000",
        Decimal("420.65"),
    )
    assert trade.time == ms(2021, 5, 31, 9, 16, 39)
    assert book.trades[1].price == Decimal("72.755")


def test_the_official_samples_of_the_portfolio_are_read(client, fake, shared_data):
    fake.answers["GET /portfolio/positions"] = success(sample(shared_data, "positions"))
    fake.answers["GET /portfolio/holdings"] = success(sample(shared_data, "holdings"))

    held = [(one.instrument, one.product, one.quantity, one.price) for one in client.holdings()]

    assert held == [
        ("BSE:SBIN", "CNC", 16, Decimal("801.78125")),
        ("MCX:LEADMINI17DECFUT", "NRML", 1, Decimal("161.05")),
        ("NSE:AARON", "CNC", 1, Decimal("161")),
        ("NSE:AARON", "MTF", 1000, Decimal("100")),
    ]


def ms(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=INDIA).timestamp() * 1000)


def test_the_sandbox_hears_no_event_time_and_has_routes_of_its_own(settings, world, fake, monkeypatch):
    root = endpoints(settings).api_root
    sandbox = settings.model_copy(update={"kite_profile": KiteProfile.SANDBOX})
    here = replace(endpoints(sandbox), api_root=root)
    monkeypatch.setattr("panda_streams.brokers.zerodha.client.endpoints", lambda _: here)
    write_session(sandbox, world, a_session(KiteProfile.SANDBOX))
    client = KiteClient.from_settings(sandbox, world)
    fake.answers["POST /oms/orders/regular"] = success({"order_id": "1"})
    before = time.time_ns() // 1_000_000

    answer, progress = client.place(an_order(), at=5), client.advance(until=7)

    client.close()
    assert (answer.kind, len(fake.calls)) == (TAKEN, 1)
    assert "x-panda-time" not in fake.calls[0].headers
    assert before <= progress.time


def test_without_a_login_no_order_is_sent(settings, world):
    sandbox = settings.model_copy(update={"kite_profile": KiteProfile.SANDBOX})
    client = KiteClient.from_settings(sandbox, world)

    answer = client.place(an_order(), at=0)

    client.close()
    assert (answer.kind, "panda kite login" in answer.text) == (LOGGED_OUT, True)
    with pytest.raises(LoggedOut):
        client.book(overnight=False)


def test_the_simulator_is_asked_to_advance(client, fake):
    fake.answers["POST /sim/clock"] = Reply(body=b'{"time": 5000, "version": 7}')

    assert client.advance(6000) == Progress(time=5000, version=7)
    assert fake.calls[-1].form == {"until": 6000}


def test_a_simulator_that_does_not_advance_is_unreachable(client, fake):
    with pytest.raises(Unreachable, match="did not advance"):
        client.advance(6000)
