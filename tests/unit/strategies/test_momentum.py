"""Momentum: buys on a rise in a rising market, sells on a turn, and waits where it must."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda_streams.domain.signals import Intent
from panda_streams.domain.ticks import Tick
from strategies.config import StrategyConfig
from strategies.indicators import DECAYS_MS, ema
from strategies.momentum import Momentum

_MARKET, _STOCK = "NSE:NIFTY 50", "NSE:INFY"
_START = 1_623_000_000_000


def momentum(**params: float) -> Momentum:
    defaults = {"fast_s": 5, "slow_s": 20, "entry_bps": 2, "exit_bps": 2, "warmup_s": 10, "cooldown_s": 0}
    return Momentum(
        StrategyConfig.model_validate(
            {
                "strategy_id": "Momentum_1",
                "strategy": "momentum",
                "watches": [_MARKET],
                "trades": [_STOCK],
                "params": defaults | params,
                "accounts": {"paper": {"capital": 1000, "share_of_capital": "0.1", "max_position": 10}},
            }
        )
    )


@given(st.lists(st.tuples(st.integers(1, 10**7), st.integers(0, 10**6)), min_size=1))
def test_the_trend_is_two_averages(ticks: list[tuple[int, int]]) -> None:
    strategy = momentum()
    state, fast, slow, time = strategy.initial(), None, None, _START
    for price, gap in ticks:
        time += gap
        state, _ = strategy.step(state, Tick(_STOCK, price, None, None, None, None, time, 0))
        fast, slow = ema(fast, price, time, 5), ema(slow, price, time, 20)

    trend = state[_STOCK]
    assert (trend.fast, trend.slow) == pytest.approx((fast.value, slow.value), rel=1e-9)
    assert trend.time == time


@pytest.mark.parametrize("gap", [0, 1, DECAYS_MS - 1, DECAYS_MS, DECAYS_MS + 1])
def test_the_averages_are_the_same_whether_a_decay_is_looked_up_or_computed(gap: int) -> None:
    strategy = momentum(fast_s=1.5, slow_s=7)
    state = strategy.initial()
    for price, time in ((100_000, _START), (101_000, _START + gap)):
        state, _ = strategy.step(state, Tick(_STOCK, price, None, None, None, None, time, 0))

    fast, slow = (ema(ema(None, 100_000, 0, s), 101_000, gap, s).value for s in (1.5, 7))
    assert (state[_STOCK].fast, state[_STOCK].slow) == pytest.approx((fast, slow), rel=1e-12)


def course(*legs: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """(second, market, stock) of legs of (seconds, market's and stock's change a second), from 100000."""
    found, second, market, stock = [], 0, 100_000, 100_000
    for seconds, market_change, stock_change in legs:
        for _ in range(seconds):
            second, market, stock = second + 1, market + market_change, stock + stock_change
            found.append((second, market, stock))
    return found


def said(strategy: Momentum, prices: list[tuple[int, int, int]]) -> list[tuple[int, Intent]]:
    """(second, intent) of each decision."""
    state, found = strategy.initial(), []
    for second, market, stock in prices:
        for instrument, price in ((_MARKET, market), (_STOCK, stock)):
            tick = Tick(instrument, price, None, None, None, None, _START + 1000 * second, second)
            state, decisions = strategy.step(state, tick)
            found += [(second, decision.intent) for decision in decisions]
    return found


def test_a_rise_in_a_rising_market_is_bought_and_its_turn_sold():
    decisions = said(momentum(), course((30, 10, 20), (30, 10, -20)))

    assert [intent for _, intent in decisions] == [Intent.ENTRY, Intent.EXIT]
    assert decisions[0][0] <= 30 < decisions[1][0]


def test_a_rise_in_a_falling_market_is_not_bought():
    assert said(momentum(), course((60, -10, 20))) == []


def test_a_fall_is_not_bought_whatever_the_market_does():
    assert said(momentum(), course((60, 20, -10))) == []


def test_a_rise_below_the_threshold_is_not_bought():
    assert said(momentum(entry_bps=50), course((60, 10, 2))) == []


def test_a_turn_of_the_market_sells_a_stock_that_still_rises():
    decisions = said(momentum(), course((30, 10, 20), (30, -20, 20)))

    assert [intent for _, intent in decisions] == [Intent.ENTRY, Intent.EXIT]
    assert decisions[1][0] > 30


def test_nothing_is_said_before_the_warm_up_is_over():
    first = said(momentum(warmup_s=25), course((60, 10, 20)))[0]

    assert first == (26, Intent.ENTRY)


def test_a_silence_begins_a_new_warm_up():
    rise = course((20, 10, 20))
    after = [(second + 3600, market, stock) for second, market, stock in rise]

    decisions = said(momentum(warmup_s=19.5), [*rise, *after])

    assert decisions == []


def test_signals_of_one_instrument_keep_their_distance():
    waves = course(*[(8, 10, 40), (8, 10, -40)] * 10)

    close = [second for second, _ in said(momentum(warmup_s=0), waves)]
    apart = [second for second, _ in said(momentum(warmup_s=0, cooldown_s=30), waves)]

    assert min(after - before for before, after in pairwise(close)) < 30
    assert len(apart) > 2
    assert min(after - before for before, after in pairwise(apart)) >= 30


def test_a_shard_without_a_tick_of_the_market_says_nothing():
    strategy = momentum(warmup_s=0)
    state = strategy.initial()
    for second, _, stock in course((60, 0, 50)):
        state, decisions = strategy.step(state, Tick(_STOCK, stock, None, None, None, None, _START + second * 1000, 0))
        assert decisions == ()
