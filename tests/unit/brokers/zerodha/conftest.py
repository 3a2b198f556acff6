"""A Kite of each test's own, and settings that lead to it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from panda_streams.identity import World
from panda_streams.settings import Settings
from tests.servers import free_port_base
from tests.unit.brokers.zerodha.fake_kite import FakeKite, served


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    """Of the simulator, with a key and a secret that no other text holds."""
    for name in os.environ:
        if name.startswith(("PANDA_", "KITE_", "KAFKA_", "REDIS_", "BROKER_")):
            monkeypatch.delenv(name)
    environment = {
        "PANDA_HOME": str(tmp_path / "home"),
        "PANDA_PORT_BASE": str(free_port_base()),
        "KITE_API_KEY": "plantedkey",
        "KITE_API_SECRET": "plantedsecret",
        "PANDA_KITE_TIMEOUT_S": "0.3",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings()


@pytest.fixture
def fake(settings) -> Iterator[FakeKite]:
    with served(settings.ports.kitesim) as kite:
        yield kite


@pytest.fixture
def world() -> World:
    return World("sim")
