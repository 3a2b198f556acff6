"""Random orders on real ticks: the desk gives each what a plain account of it tells, tick by tick.

`make orders` tries 100,000 on all shares of the session.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.recording import SESSION
from tests.orders.tape import Tape, read_tapes
from tests.orders.trial import try_share

_SHARES = 9
"""Three with last prices alone, three with best prices, three with order books; each three have all queue models."""
_ORDERS = 1_112
"""On each share: 10,000 on all of them."""
_SINCE = "14:00"
"""The end of the day squares off and closes, and an order that has less time left is told sooner."""


@pytest.fixture(scope="module")
def tapes(shared_data: Path) -> list[Tape]:
    return read_tapes(shared_data / SESSION, _SHARES, _SINCE)


@pytest.mark.parametrize("number", range(_SHARES))
def test_random_orders_get_what_a_plain_account_of_the_ticks_gives_them(tapes: list[Tape], number: int) -> None:
    counts = try_share(tapes[number], orders=_ORDERS, seed=1)

    assert not counts.violations, counts.violations[0]
    assert counts.fills > _ORDERS
