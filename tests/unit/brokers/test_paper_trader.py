"""The paper trader: fills whole at the best information that the tick has, never better than the market."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from panda_streams.brokers.paper import PaperTrader
from panda_streams.domain.instruments import Instrument, InstrumentKind
from panda_streams.domain.orders import Order
from panda_streams.domain.signals import Side
from panda_streams.domain.ticks import Depth, DepthLevel, Tick, TickRef
from panda_streams.settings import Settings

_INFY = Instrument(exchange="NSE", symbol="INFY", kind=InstrumentKind.EQUITY)
_TRADER = PaperTrader(latency_ms=500, slippage=Decimal("0.0001"), charge_rate=Decimal("0.0005"))

sides = st.sampled_from(Side)
quantities = st.integers(1, 10_000)
prices = st.integers(1, 10_000_000)


def order(side: Side, quantity: int) -> Order:
    return Order(
        order_id="o",
        signal_id="s",
        strategy_id="S",
        instrument=_INFY.id,
        side=side,
        quantity=quantity,
        cause=TickRef(source="s", run="r", row=0, shard=0, offset=0, time=1000),
        live_at=1500,
    )


def tick(price: int, bid: int | None = None, ask: int | None = None) -> Tick:
    return Tick(_INFY.id, price, None, None, bid, ask, 1500, 1)


@st.composite
def depths(draw) -> Depth:
    """A book of one to five levels a side, best first, whose last level may hold any quantity."""
    middle = draw(st.integers(1000, 1_000_000))
    asks, bids = (sorted(draw(st.sets(st.integers(1, 999), min_size=1, max_size=5))) for _ in range(2))
    shares = st.integers(0, 5000)
    return Depth(
        tuple(DepthLevel(middle - step, draw(shares)) for step in bids),
        tuple(DepthLevel(middle + step, draw(shares)) for step in asks),
    )


def test_a_book_is_walked_level_by_level():
    depth = Depth((DepthLevel(9990, 5),), (DepthLevel(10000, 10), DepthLevel(10010, 20), DepthLevel(10030, 500)))

    trades = _TRADER.match(order(Side.BUY, 45), _INFY, tick(9995), depth)

    assert [(trade.quantity, trade.price) for trade in trades] == [
        (10, Decimal("100.00")),
        (20, Decimal("100.10")),
        (15, Decimal("100.30")),
    ]


@given(depths(), sides, quantities)
def test_an_order_is_filled_whole_and_never_better_than_the_best_level(depth, side, quantity):
    trades = _TRADER.match(order(side, quantity), _INFY, tick(1), depth)

    assert sum(trade.quantity for trade in trades) == quantity
    assert all(trade.quantity > 0 for trade in trades)
    walked = [trade.price if side is Side.BUY else -trade.price for trade in trades]
    best = Decimal(depth.asks[0].price if side is Side.BUY else -depth.bids[0].price) / 100
    assert walked == sorted(walked)
    assert walked[0] >= best


@given(depths(), sides, quantities)
def test_no_level_but_the_last_gives_more_than_it_has(depth, side, quantity):
    levels = depth.asks if side is Side.BUY else depth.bids
    trades = _TRADER.match(order(side, quantity), _INFY, tick(1), depth)

    held = {Decimal(level.price) / 100: level.quantity for level in levels[:-1]}
    assert all(trade.quantity <= held.get(trade.price, quantity) for trade in trades)


@given(prices, sides, quantities)
def test_without_depth_the_best_bid_or_ask_is_taken(price, side, quantity):
    [trade] = _TRADER.match(order(side, quantity), _INFY, tick(price, bid=price - 1, ask=price + 1), None)

    assert trade.quantity == quantity
    assert trade.price == Decimal(price + 1 if side is Side.BUY else price - 1) / 100


@given(prices, sides, quantities)
def test_the_last_price_alone_slips_against_the_order_to_a_whole_tick(price, side, quantity):
    [trade] = _TRADER.match(order(side, quantity), _INFY, tick(price), None)

    last = Decimal(price) / 100
    slip = trade.price - last if side is Side.BUY else last - trade.price
    assert last * _TRADER.slippage <= slip < last * _TRADER.slippage + _INFY.tick_size
    assert trade.price % _INFY.tick_size == 0


@given(depths() | st.none(), prices, sides, quantities)
def test_charges_are_the_rate_times_the_turnover_to_the_last_digit(depth, price, side, quantity):
    trades = _TRADER.match(order(side, quantity), _INFY, tick(price), depth)

    charges = sum((trade.charges for trade in trades), Decimal(0))
    assert charges == sum(trade.price * trade.quantity for trade in trades) * Decimal("0.0005")


def test_an_empty_side_of_the_book_falls_back_to_the_last_price():
    depth = Depth(bids=(DepthLevel(9990, 5),), asks=())

    [trade] = _TRADER.match(order(Side.BUY, 5), _INFY, tick(10000), depth)

    assert trade.price == Decimal("100.05")


def test_the_settings_make_the_trader():
    settings = Settings.model_validate({"PANDA_PAPER_LATENCY_MS": 250, "PANDA_PAPER_CHARGE_RATE": "0.001"})

    trader = PaperTrader.from_settings(settings)

    assert (trader.latency_ms, trader.charge_rate) == (250, Decimal("0.001"))
