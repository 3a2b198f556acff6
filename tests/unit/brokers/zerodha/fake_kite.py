"""A Kite that is told how to answer: over HTTP, from a thread, and also in every way in which an order gets lost."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

JSON = "application/json"
HTML_502 = b"<html><head><title>502 Bad Gateway</title></head><body>cloudflare</body></html>"


@dataclass
class Reply:
    """One answer. `hang` gives none until the server is stopped, `reset` breaks the connection, `cut` sends half."""

    status: int = 200
    body: bytes = b""
    kind: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    reset: bool = False
    cut: bool = False


def success(data: Any) -> Reply:
    return Reply(body=json.dumps({"status": "success", "data": data}).encode())


def failure(status: int, error_type: str, message: str) -> Reply:
    body = {"status": "error", "message": message, "error_type": error_type, "data": None}
    return Reply(status, json.dumps(body).encode())


@dataclass
class Call:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    form: dict[str, str]
    headers: dict[str, str]


class FakeKite:
    """Answers by method and path: with what `answers` says, else 404 in Kite's form."""

    def __init__(self) -> None:
        self.answers: dict[str, Reply] = {}
        self.calls: list[Call] = []
        self.released = threading.Event()
        self.logins = 0
        self.token = ""
        self.refuse_tokens = False

    def count(self, method: str, path: str) -> int:
        return sum((call.method, call.path) == (method, path) for call in self.calls)

    def answer(self, call: Call) -> Reply:
        self.calls.append(call)
        told = self.answers.get(f"{call.method} {call.path}")
        if told is not None:
            return told
        if call.path == "/sim/login":
            return Reply(body=b'{"request_token": "request1"}')
        if (call.method, call.path) == ("POST", "/session/token"):
            self.logins += 1
            self.token = f"accesstoken{self.logins}"
            return success({"user_id": "AB1234", "access_token": self.token, "login_time": "2026-11-26 09:00:00"})
        authorization = call.headers.get("authorization", "")
        if self.logins and not authorization.endswith(f":{self.token}"):
            return failure(403, "TokenException", "Incorrect `api_key` or `access_token`.")
        return failure(404, "GeneralException", "Route not found")


@contextmanager
def served(port: int) -> Iterator[FakeKite]:
    """Serve on a port until the block ends."""
    fake = FakeKite()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            if self.headers.get("Content-Type") == JSON:
                form = json.loads(body)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._send(fake.answer(Call(self.command, parts.path, query, form, headers)))

        do_GET = do_POST = do_PUT = do_DELETE = _any

        def _send(self, reply: Reply) -> None:
            if reply.hang:
                fake.released.wait()
                self.close_connection = True
                return
            if reply.reset:
                # A linger of 0 s sends RST instead of FIN.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
                return
            self.send_response_only(reply.status)
            if "Date" not in reply.headers:
                self.send_header("Date", self.date_time_string())
            if reply.kind:
                self.send_header("Content-Type", reply.kind)
            self.send_header("Content-Length", str(len(reply.body)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body[: len(reply.body) // 2] if reply.cut else reply.body)
            self.close_connection = self.close_connection or reply.cut

        def finish(self) -> None:
            if not self.connection._closed:  # type: ignore[attr-defined]
                super().finish()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        # Not joined at the end: a client that keeps its connection keeps the thread.
        block_on_close = False

    server = Server(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield fake
    finally:
        fake.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
