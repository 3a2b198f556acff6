"""What hypothesis tells a desk: orders and ticks close together, so that they meet, markets and protections."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from panda_streams.domain.matching import QueueModel
from panda_streams.domain.protection import Protection
from panda_streams.domain.signals import Side, Validity
from panda_streams.domain.ticks import Depth, DepthLevel
from tests.unit.domain.desks import a_venue

STRATEGIES = ["Momentum", "Reversion"]
PRICES = st.integers(-6, 6).map(lambda steps: 10_000 + 5 * steps)
"""Close together, so that orders meet ticks and one another."""
WAITS = st.sampled_from([0, 1, 200, 300, 1_000, 60_000])

sides = st.sampled_from(Side)
quantities = st.integers(1, 20)
rupees = PRICES.map(lambda paise: f"{paise / 100:.2f}")


@st.composite
def terms(draw: st.DrawFn) -> dict[str, Any]:
    """The prices, validity and legs of an order; the expiry counts from the time at which it is live."""
    kind = draw(st.sampled_from(["MARKET", "LIMIT", "SL", "SL-M"]))
    validity = draw(st.sampled_from(Validity))
    return {
        "limit": draw(rupees) if kind in ("LIMIT", "SL") else None,
        "trigger": draw(rupees) if kind in ("SL", "SL-M") else None,
        "validity": validity,
        "works": draw(st.sampled_from([200, 1_000, 60_000])) if validity is Validity.TTL else None,
        "target": draw(st.none() | rupees.map(Decimal)),
        "stop": draw(st.none() | rupees.map(Decimal)),
    }


@st.composite
def sights(draw: st.DrawFn) -> tuple[int, dict[str, int], Depth | None, int | None]:
    """Last price, best prices, order book, and what has traded."""
    traded = draw(st.none() | st.integers(0, 60))
    if draw(st.booleans()):
        return draw(PRICES), {}, None, traded
    bid, spread = draw(PRICES), draw(st.integers(1, 3)) * 5
    best = {"bid": bid, "ask": bid + spread}
    if draw(st.booleans()):
        return draw(PRICES), best, None, traded
    shares = st.integers(0, 15)
    bids = tuple(DepthLevel(bid - 5 * step, draw(shares)) for step in range(draw(st.integers(1, 3))))
    asks = tuple(DepthLevel(bid + spread + 5 * step, draw(shares)) for step in range(draw(st.integers(1, 3))))
    return draw(PRICES), best, Depth(bids, asks), traded


venues = st.builds(
    a_venue,
    latency_ms=st.sampled_from([0, 300]),
    latency_spread_ms=st.sampled_from([0, 200]),
    slippage=st.sampled_from([Decimal(0), Decimal("0.0005")]),
    participation=st.sampled_from([Decimal("0.25"), Decimal(1)]),
    queue=st.sampled_from(QueueModel),
)


protections = st.dictionaries(
    st.sampled_from(STRATEGIES),
    st.builds(
        Protection,
        stop_loss=st.none() | st.just(Decimal("0.002")),
        trailing_stop=st.none() | st.just(Decimal("0.001")),
        target=st.none() | st.just(Decimal("0.002")),
        time_exit_minutes=st.none() | st.just(1),
    ),
)
