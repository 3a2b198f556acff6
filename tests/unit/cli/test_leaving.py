"""What would stay at a broker: live arms that are at no simulator, with positions or orders."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from panda_streams.cli.leaving import left_behind
from tests.unit.gateway import records
from tests.unit.gateway.records import NOW, arm, book, raw


def behind(endpoint: str | None, *, positions: int = 1) -> str:
    link = None if endpoint is None else json.dumps({"endpoint": endpoint, "at": NOW})
    live = arm(portfolios={"M": book(namespace="zerodha", positions=positions)}, positions={})
    return left_behind(records.state(raw(arms={"paper": arm(), "zerodha": replace(live, link=link)})))


def test_open_positions_at_a_real_broker_are_told() -> None:
    assert behind("production").startswith("zerodha (production) has 1 open position and ")


@pytest.mark.parametrize("endpoint", ["simulator", None])
def test_a_simulator_and_an_arm_that_never_ran_leave_nothing(endpoint: str | None) -> None:
    assert behind(endpoint) == ""


def test_a_flat_account_leaves_nothing() -> None:
    assert behind("production", positions=0) == ""
