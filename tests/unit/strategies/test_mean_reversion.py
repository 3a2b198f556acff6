"""Mean reversion: buys far below the mean, and sells at the mean, in time or at the stop."""

from __future__ import annotations

import pytest

from panda_streams.domain.signals import Intent
from panda_streams.domain.ticks import Tick
from strategies.config import StrategyConfig
from strategies.mean_reversion import MeanReversion

_START = 1_623_000_000_000
_CALM = [100_000, 100_010] * 30
"""A minute around 100005, with a sigma of about 5."""


def mean_reversion(**params: float) -> MeanReversion:
    defaults = {
        "half_life_s": 30,
        "entry_sigmas": 2,
        "min_deviation_bps": 5,
        "stop_sigmas": 4,
        "max_hold_s": 60,
        "warmup_s": 30,
        "cooldown_s": 10,
    }
    return MeanReversion(
        StrategyConfig.model_validate(
            {
                "strategy_id": "Reversion_1",
                "strategy": "mean_reversion",
                "watches": ["NSE:NIFTY 50"],
                "trades": ["NSE:INFY"],
                "params": defaults | params,
                "accounts": {"paper": {"capital": 1000, "share_of_capital": "0.1", "max_position": 10}},
            }
        )
    )


def said(
    strategy: MeanReversion, prices: list[int], instrument: str = "NSE:INFY", pause: tuple[int, int] = (0, 0)
) -> list[tuple[int, Intent]]:
    """(index, intent) of each decision at one price a second; `pause` is (index, seconds of silence before it)."""
    state, found = strategy.initial(), []
    for index, price in enumerate(prices):
        second = index + (pause[1] if index >= pause[0] else 0)
        tick = Tick(instrument, price, None, None, None, None, _START + 1000 * second, index)
        state, decisions = strategy.step(state, tick)
        found += [(index, decision.intent) for decision in decisions]
    return found


def test_a_fall_far_below_the_mean_is_bought_and_sold_back_at_it():
    decisions = said(mean_reversion(), [*_CALM, 99_940, 99_950, 100_010])

    assert decisions == [(60, Intent.ENTRY), (62, Intent.EXIT)]


def test_a_fall_of_less_than_the_least_deviation_is_noise():
    # 40 below the mean: eight sigmas, but less than 5 basis points.
    assert said(mean_reversion(), [*_CALM, 99_965]) == []


def test_a_fall_of_less_than_the_entry_sigmas_is_noise():
    wild = [99_000, 101_000] * 30

    assert said(mean_reversion(min_deviation_bps=0), [*wild, 99_000]) == []
    assert said(mean_reversion(min_deviation_bps=0, entry_sigmas=0.5), [*wild, 99_000])[0][1] is Intent.ENTRY


def test_a_rise_is_not_bought():
    assert said(mean_reversion(), [*_CALM, 100_100, 100_300]) == []


def test_a_purchase_that_falls_through_its_stop_is_given_up():
    decisions = said(mean_reversion(), [*_CALM, 99_940, 99_910, 99_900])

    assert decisions == [(60, Intent.ENTRY), (62, Intent.EXIT)]


def test_a_fall_through_the_stop_at_once_is_not_bought():
    assert said(mean_reversion(), [*_CALM, 99_800]) == []


def test_a_purchase_is_held_no_longer_than_allowed():
    decisions = said(mean_reversion(max_hold_s=20, half_life_s=3600), [*_CALM, *[99_940] * 25])

    assert decisions[:2] == [(60, Intent.ENTRY), (80, Intent.EXIT)]


def test_the_next_purchase_waits_for_the_cooldown_and_the_sale_does_not():
    falls = [*_CALM, 99_940, 100_010, *[99_940] * 15]

    decisions = said(mean_reversion(half_life_s=3600, cooldown_s=10), falls)

    assert decisions == [(60, Intent.ENTRY), (61, Intent.EXIT), (71, Intent.ENTRY)]


def test_nothing_is_bought_before_the_warm_up_is_over():
    assert said(mean_reversion(warmup_s=61), [*_CALM, 99_940]) == []
    assert said(mean_reversion(warmup_s=60), [*_CALM, 99_940]) == [(60, Intent.ENTRY)]


def test_a_silence_begins_a_new_warm_up():
    assert said(mean_reversion(), [*_CALM, 99_940], pause=(60, 3600)) == []


@pytest.mark.parametrize("instrument", ["NSE:NIFTY 50"])
def test_what_is_only_watched_is_not_bought(instrument):
    assert said(mean_reversion(), [*_CALM, 99_940], instrument) == []
