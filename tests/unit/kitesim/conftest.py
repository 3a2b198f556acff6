"""A running kitesim for each test that asks for one, with a market that has opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kiteconnect import KiteConnect

from tests.unit.kitesim.bench import Bench, a_bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """INFY has traded at 1500.00, a thousand shares, one and two seconds after the opening."""
    with a_bench(tmp_path) as bench:
        bench.tick(150_000, at=1000, volume=1000)
        bench.tick(150_000, at=2000, volume=2000)
        yield bench


@pytest.fixture
def kite(bench: Bench) -> Iterator[KiteConnect]:
    """The unmodified client, logged in."""
    client = bench.client()
    yield client
    client.reqsession.close()
