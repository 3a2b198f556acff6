"""What traded between two ticks."""

from __future__ import annotations

import pytest

from panda_streams.domain.ticks import traded_since


@pytest.mark.parametrize(
    ("before", "now", "traded"),
    [(100, 130, 30), (100, 100, 0), (None, 130, 0), (100, None, None), (None, None, None)],
)
def test_what_traded_is_the_growth_of_the_volume_where_it_is_known(
    before: int | None, now: int | None, traded: int | None
) -> None:
    assert traded_since(before, now) == traded


@pytest.mark.parametrize(("before", "now"), [(224_184, 224_181), (9_000_000, 1_200)])
def test_a_volume_that_shrinks_tells_of_no_trade(before: int, now: int) -> None:
    assert traded_since(before, now) == 0
