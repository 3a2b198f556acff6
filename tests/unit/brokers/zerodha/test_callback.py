"""The page to which the browser comes back after a login."""

from __future__ import annotations

import threading

import pytest
import requests

from panda_streams.brokers.zerodha.callback import Callback
from panda_streams.errors import PandaError, SettingsError


@pytest.fixture
def port(settings) -> int:
    return settings.ports.kite_callback


def visited(port: int, *addresses: str, strict: bool = True, wait_s: float = 5) -> tuple[list[int], str]:
    """Let a browser come with one address after the other: what it was answered, and what was waited for."""
    statuses: list[int] = []

    def browse() -> None:
        for address in addresses:
            statuses.append(requests.get(f"http://127.0.0.1:{port}{address}", timeout=5).status_code)

    with Callback(port, "mystate", strict=strict) as callback:
        browser = threading.Thread(target=browse)
        browser.start()
        try:
            return statuses, callback.wait(wait_s)
        finally:
            browser.join()


GOOD = "/kite/callback?action=login&status=success&request_token=aBc_-123"


def test_the_request_token_is_taken_from_the_address(port):
    assert visited(port, f"{GOOD}&state=mystate") == ([200], "aBc_-123")


def test_a_login_that_was_not_begun_here_is_not_taken(port):
    taken = visited(port, "/favicon.ico", f"{GOOD}&state=foreign", GOOD, f"{GOOD}4&state=mystate")

    assert taken == ([404, 403, 403, 200], "aBc_-1234")


def test_where_kite_may_not_send_the_state_back_none_is_wanted(port):
    assert visited(port, f"{GOOD}&state=foreign", GOOD, strict=False) == ([403, 200], "aBc_-123")


@pytest.mark.parametrize(
    "address", ["/kite/callback?state=mystate&status=cancelled", "/kite/callback?state=mystate&request_token=<b>"]
)
def test_a_login_that_failed_says_so(port, address):
    with pytest.raises(PandaError, match=r"(?s)has not succeeded.*--token"):
        visited(port, address)


def test_nobody_waits_for_ever(port):
    with pytest.raises(PandaError, match=r"(?s)nobody has logged in within 0.1 s.*--token"):
        visited(port, wait_s=0.1)


def test_a_port_in_use_is_named_with_the_way_around(port):
    with Callback(port, "one", strict=True), pytest.raises(SettingsError, match=rf"(?s){port}.*--token"):
        Callback(port, "two", strict=True)
