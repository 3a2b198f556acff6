"""Logins, by the unmodified client."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from kiteconnect import KiteConnect
from kiteconnect.exceptions import InputException, TokenException

from panda_streams.kitesim.sessions import ends_at
from tests.unit.builders import T0
from tests.unit.kitesim.bench import SECRET, Bench

HOUR = 3_600_000


def test_the_login_page_leads_back_with_a_request_token(bench: Bench) -> None:
    page = f"{bench.url}/connect/login?api_key=panda&v=3"
    answer = requests.get(page, allow_redirects=False, timeout=5)
    assert answer.status_code == 302
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/kite/callback\?.*", answer.headers["Location"])
    answer = requests.get(f"{page}&redirect=http://127.0.0.1:1/back", allow_redirects=False, timeout=5)
    where = urlsplit(answer.headers["Location"])
    query = {name: values[0] for name, values in parse_qs(where.query).items()}
    assert (where.path, query["action"], query["status"]) == ("/back", "login", "success")

    kite = KiteConnect("panda", root=bench.url)
    session = kite.generate_session(query["request_token"], SECRET)

    assert (session["user_id"], str(session["login_time"])) == ("PS0001", "2021-06-08 09:15:02")
    assert kite.profile()["user_id"] == "PS0001"
    with pytest.raises(TokenException, match="invalid or has expired"):
        kite.generate_session(query["request_token"], SECRET)
    kite.reqsession.close()


def test_a_wrong_secret_is_refused(bench: Bench) -> None:
    token = requests.post(f"{bench.url}/sim/login", json={"api_key": "panda"}, timeout=5).json()["request_token"]
    kite = KiteConnect("panda", root=bench.url)

    with pytest.raises(TokenException, match="checksum"):
        kite.generate_session(token, "another secret")
    kite.reqsession.close()


def test_a_new_login_kills_the_token_before_it_and_no_other_keys(bench: Bench, kite: KiteConnect) -> None:
    other, again = bench.client("other"), bench.client()
    ended: list[int] = []
    kite.set_session_expiry_hook(lambda: ended.append(1))

    with pytest.raises(TokenException):
        kite.profile()
    assert ended == [1]
    assert other.profile() == again.profile()
    for one in (other, again):
        one.reqsession.close()


def test_a_token_dies_at_six_in_the_morning_of_the_event_clock(bench: Bench, kite: KiteConnect) -> None:
    bench.advance(20 * HOUR + 44 * 60_000)
    kite.orders()
    bench.advance(20 * HOUR + 45 * 60_000)

    with pytest.raises(TokenException, match="Incorrect"):
        kite.orders()
    assert ends_at(T0) == T0 + 20 * HOUR + 45 * 60_000 == ends_at(ends_at(T0) - 1)
    assert ends_at(ends_at(T0)) == ends_at(T0) + 24 * HOUR


def test_a_logout_ends_the_token(bench: Bench, kite: KiteConnect) -> None:
    assert kite.invalidate_access_token() is True

    with pytest.raises(TokenException):
        kite.profile()


def test_a_call_without_a_login_is_an_error_of_input(bench: Bench) -> None:
    kite = KiteConnect("panda", root=bench.url)

    with pytest.raises(InputException, match="api_key"):
        kite.profile()
    kite.reqsession.close()
