"""Waits on this machine for the browser that comes back from Kite's login, with the request token in its address."""

from __future__ import annotations

import re
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from panda_streams.errors import PandaError, SettingsError

__all__ = ["PATH", "REQUEST_TOKEN", "Callback"]

PATH = "/kite/callback"
REQUEST_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
_BY_HAND = "log in again, or pass the request token of the address that the browser shows with --token"
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Kite login</title>
<p>{text}</p></html>"""


class Callback:
    """A page on 127.0.0.1 that takes one request token; a context manager.

    `state` was sent along with the login: what comes back with another one was not asked for, and with `strict` also
    what comes back with none. So no other page can have this process log in to an account of its choice.
    """

    def __init__(self, port: int, state: str, *, strict: bool) -> None:
        self._state = state
        self._strict = strict
        self._token = ""
        self._refused = ""
        try:
            self._server = HTTPServer(("127.0.0.1", port), self._handler())
        except OSError as error:
            raise SettingsError(
                f"the browser cannot come back to port {port}: {error.strerror}",
                fix="end what uses that port (another `panda kite login`?), or pass the request token with --token",
            ) from None

    def __enter__(self) -> Callback:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    def wait(self, timeout_s: float) -> str:
        """The request token; raises PandaError if the login failed or nobody has come by then."""
        deadline = time.monotonic() + timeout_s
        while not self._token and not self._refused:
            self._server.timeout = deadline - time.monotonic()
            if self._server.timeout <= 0:
                raise PandaError(f"nobody has logged in within {timeout_s:g} s", fix=_BY_HAND)
            self._server.handle_request()
        if self._refused:
            raise PandaError(f"Kite's login has not succeeded: {self._refused}", fix=_BY_HAND)
        return self._token

    def _take(self, address: str) -> tuple[int, str]:
        """Status and text for the browser that came with an address."""
        parts = urlsplit(address)
        if parts.path != PATH:
            return 404, "There is nothing here."
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        state, token = query.get("state", ""), query.get("request_token", "")
        if state != self._state and (state or self._strict):
            return 403, "This login was not begun by the panda kite login that is waiting."
        if query.get("status", "success") != "success" or not REQUEST_TOKEN.fullmatch(token):
            self._refused = query.get("status", "") if query.get("status", "").isalnum() else "no request token came"
            return 400, "The login has not succeeded; the terminal says how to go on."
        self._token = token
        return 200, "Kite has logged you in. The terminal goes on; this page can be closed."

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take = self._take

        class Handler(BaseHTTPRequestHandler):
            timeout = 5
            """Seconds: a browser may open a connection beforehand and send nothing on it."""

            def do_GET(self) -> None:
                status, text = take(self.path)
                body = _PAGE.format(text=text).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Cache-Control", "no-store")
                self.send_header("Referrer-Policy", "no-referrer")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: the address holds the request token."""

        return Handler
