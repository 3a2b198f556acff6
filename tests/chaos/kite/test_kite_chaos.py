"""Five hundred orders at a broker that answers falsely, late or not at all, while processes die and freeze: what it has
in its ledger in the end is what the arm says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.kite.faults import KINDS
from tests.chaos.kite.harness import torture_kite
from tests.chaos.kite.results import LEAST_AMBIGUOUS
from tests.servers import free_port_base, project_home

pytestmark = pytest.mark.integration

ORDERS = 500


def test_no_order_is_doubled_lost_or_left_unknown_whatever_the_broker_answers(tmp_path: Path) -> None:
    results = torture_kite(
        directory=tmp_path / "chaos",
        jars=project_home().jars,
        port_base=free_port_base(),
        orders=ORDERS,
        seed=1,
        say=print,
    )

    print(results.summary())
    assert results.findings == []
    assert results.unknown == 0
    assert results.orders >= ORDERS
    assert results.share >= LEAST_AMBIGUOUS
    assert set(results.fired) >= set(KINDS)
    # In the session that is taken over each of two workers was suspended for longer than its group waits.
    assert results.died["arm:frozen"] >= 3
    assert results.died["kitesim:random"] >= 1
