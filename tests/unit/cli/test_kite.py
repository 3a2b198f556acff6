"""`panda kite` and `panda doctor`: what a person and a script read, and never a secret."""

from __future__ import annotations

import json
import logging
import threading
import traceback
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from click.testing import CliRunner, Result

from panda_streams.brokers.zerodha.client import KiteClient
from panda_streams.brokers.zerodha.connection import open_kite
from panda_streams.brokers.zerodha.login import Sessions, ensure_session
from panda_streams.brokers.zerodha.profile import endpoints
from panda_streams.brokers.zerodha.session import read_session, session_file, write_session
from panda_streams.cli import panda
from panda_streams.domain.brokerage import LoggedOut, Unreachable
from panda_streams.errors import PandaError, ServerUnreachable, SettingsError
from tests.unit.brokers.zerodha.fake_kite import Reply, failure, success
from tests.unit.brokers.zerodha.sessions import a_session
from tests.unit.brokers.zerodha.test_client import an_order

PLANTED = ("plantedkey", "plantedsecret", "plantedtoken", "accesstoken1", "plantedrequest")


def run(*arguments: str, **given) -> Result:
    return CliRunner().invoke(panda, arguments, catch_exceptions=True, **given)


def test_a_passed_request_token_logs_in(settings, world, fake):
    result = run("kite", "login", "--token", "plantedrequest")

    assert (result.exit_code, result.exception) == (0, None)
    assert "logged in as AB1234 at simulator, until" in result.output
    assert fake.calls[-1].form["request_token"] == "plantedrequest"
    assert read_session(settings, world) is not None


def test_the_whole_address_may_be_pasted_and_is_not_shown(settings, fake):
    pasted = "http://127.0.0.1/kite/callback?action=login&request_token=plantedrequest&status=success\n"

    result = run("kite", "login", "--token", input=pasted)

    assert result.exit_code == 0
    assert "plantedrequest" not in result.output
    assert fake.calls[-1].form["request_token"] == "plantedrequest"


def test_what_is_no_request_token_is_refused(fake):
    result = run("kite", "login", "--token", "http://127.0.0.1/")

    assert isinstance(result.exception, SettingsError)
    assert fake.calls == []


def test_the_browser_comes_back_with_the_request_token(settings, fake, monkeypatch):
    came: list[requests.Response] = []

    def browse(address: str) -> None:
        state = parse_qs(parse_qs(urlsplit(address).query)["redirect_params"][0])["state"][0]
        back = f"http://127.0.0.1:{settings.ports.kite_callback}/kite/callback"
        query = {"status": "success", "request_token": "plantedrequest", "state": state}
        browser = threading.Thread(target=lambda: came.append(requests.get(back, query, timeout=5)))
        browser.start()
        browsers.append(browser)

    browsers: list[threading.Thread] = []
    monkeypatch.setattr("webbrowser.open", browse)

    result = run("kite", "login", "--wait", "5")

    browsers[0].join()
    assert (result.exit_code, came[0].status_code) == (0, 200)
    assert fake.calls[-1].form["request_token"] == "plantedrequest"


def test_without_a_browser_the_address_is_printed(settings, monkeypatch):
    monkeypatch.setattr("webbrowser.open", lambda address: pytest.fail("a browser was opened"))

    result = run("kite", "login", "--no-browser", "--wait", "1")

    assert f"log in at http://127.0.0.1:{settings.ports.kitesim}/connect/login?api_key=plantedkey" in result.output
    assert isinstance(result.exception, PandaError)


def test_a_login_says_by_its_exit_code_what_is_wrong(monkeypatch, settings):
    unreachable = run("kite", "login", "--token", "abc").exception
    monkeypatch.setenv("PANDA_KITE_PROFILE", "production")
    not_live = run("kite", "login", "--token", "abc").exception
    monkeypatch.setenv("PANDA_WORLD", "live")
    monkeypatch.delenv("KITE_API_KEY")
    no_app = run("kite", "login", "--token", "abc").exception

    assert [type(error) for error in (unreachable, not_live, no_app)] == [
        ServerUnreachable,
        SettingsError,
        SettingsError,
    ]
    assert "real money" in str(not_live)
    assert "KITE_API_KEY is not set" in str(no_app)


def test_the_status_tells_who_and_until_when(settings, world, fake):
    session = ensure_session(settings, world)
    fake.answers["GET /user/profile"] = success({"user_id": "AB1234"})

    result = run("kite", "status", "--json")

    told = json.loads(result.output)
    assert result.exit_code == 0
    assert (told["profile"], told["state"], told["user"]) == ("simulator", "live", "AB1234")
    assert told["expires_at"] == session.expires_at.isoformat()
    assert told["age_s"] < 60
    assert "AB1234, logged in 0 h 0 min ago, until" in run("kite", "status").output


def test_at_the_simulator_nobody_needs_to_be_logged_in(settings, fake):
    result = run("kite", "status")

    assert result.exit_code == 0
    assert "log in by themselves" in result.output


def test_elsewhere_a_login_is_wanted(monkeypatch, settings):
    monkeypatch.setenv("PANDA_KITE_PROFILE", "sandbox")

    result = run("kite", "status", "--json")

    assert json.loads(result.output)["state"] == "none"
    assert isinstance(result.exception, PandaError)
    assert result.exception.exit_code == 1
    assert result.exception.fix == "panda kite login"


def test_a_kite_that_does_not_answer_has_an_exit_code_of_its_own(settings, world):
    write_session(settings, world, a_session())

    result = run("kite", "status")

    assert isinstance(result.exception, ServerUnreachable)


def test_a_logout_removes_the_session(settings, world, fake):
    ensure_session(settings, world)
    fake.answers["DELETE /session/token"] = success(True)

    result = run("kite", "logout")

    assert (result.exit_code, result.output) == (0, "logged out\n")
    assert not session_file(settings, world).exists()


def test_the_doctor_prints_a_table_and_json(settings, fake, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")

    table, told = run("doctor", "--live", "zerodha"), json.loads(run("doctor", "--live", "zerodha", "--json").output)

    assert table.exit_code == 0
    assert "market protection" in table.output
    assert (told["ok"], told["world"], told["checks"][0]["name"]) == (True, "sim", "profile")
    assert {check["verdict"] for check in told["checks"]} == {"ok", "warn"}


def test_the_doctor_fails_with_a_check(settings):
    result = run("doctor", "--live", "zerodha")

    assert isinstance(result.exception, PandaError)
    assert "fix: start `panda kitesim`" in " ".join(result.output.split())


ECHO = "token plantedkey:plantedtoken plantedsecret api_key=plantedkey&access_token=plantedtoken checksum=abcdef0123"
ENDS = {
    "refused": failure(400, "InputException", f"Invalid: {ECHO}"),
    "a page": Reply(502, ECHO.encode(), "text/html"),
    "no JSON": Reply(200, ECHO.encode()),
    "dead": failure(403, "TokenException", ECHO),
    "too many": failure(429, "NetworkException", ECHO),
    "reset": Reply(reset=True),
    "hang": Reply(hang=True),
    "odd": success({"order_id": ECHO}),
}


@pytest.mark.parametrize("end", ENDS)
def test_no_secret_leaves_in_any_text(settings, world, fake, end, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "urllib3")
    session = a_session()
    write_session(settings, world, session)
    for route in (
        *("POST /orders/regular", "DELETE /orders/regular/1", "GET /orders", "GET /portfolio/positions"),
        *("GET /user/profile", "POST /session/token", "DELETE /session/token", "POST /sim/clock", "POST /sim/login"),
    ):
        fake.answers[route] = ENDS[end]
    if end == "hang":
        # It is waited for longer there.
        fake.answers["POST /sim/clock"] = Reply(reset=True)
    client = KiteClient.from_settings(settings, world)
    kite = open_kite(endpoints(settings), settings.kite_api_key, 1)
    shown: list[object] = [settings, session, client, kite, Sessions(settings, world), endpoints(settings)]
    shown += [client.place(an_order(), 0), client.cancel("1", 0)]
    for action in (lambda: client.book(overnight=True), client.holdings, client.user, lambda: client.advance(1)):
        try:
            shown.append(action())
        except (LoggedOut, Unreachable) as error:
            shown.append("".join(traceback.format_exception(error)))
    client.close()
    kite.reqsession.close()
    write_session(settings, world, session)
    for arguments in (
        *(("kite", "status"), ("kite", "status", "--json"), ("doctor", "--live", "zerodha", "--json")),
        *(("kite", "logout"), ("kite", "login", "--token", "plantedrequest")),
    ):
        result = run(*arguments)
        shown.append(result.output)
        if isinstance(result.exception, PandaError):
            shown.append("".join(traceback.format_exception(result.exception)))

    texts = [form(one) for one in shown for form in (str, repr)] + [caplog.text, *capfd.readouterr()]
    texts += [path.read_text() for path in settings.home.rglob("*") if path.is_file()]
    assert len(fake.calls) > 8
    assert [text for text in texts if any(planted in text for planted in PLANTED)] == []


def test_a_logout_that_is_not_heard_tells_no_token(settings, world):
    write_session(settings, world, a_session())

    result = run("kite", "logout")

    told = "".join(traceback.format_exception(result.exception))
    assert "Kite could not be told" in told
    assert "/session/token?" in told
    assert [planted for planted in PLANTED if planted in told] == []


def test_the_log_of_requests_is_silent_on_tokens_even_at_its_most_verbose(settings, world, fake, caplog):
    ensure_session(settings, world)
    fake.answers["DELETE /session/token"] = success(True)
    with caplog.at_level(logging.DEBUG, "urllib3.connectionpool"):
        run("kite", "logout")

    assert fake.calls[-1].query["access_token"] == "accesstoken1"
    assert "accesstoken1" not in caplog.text
    assert caplog.text
