"""Indicators: equal to their definition over irregular ticks, and nothing but functions of what they are given."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.indicators import Ema, Spread, ema, spread

half_lives = st.floats(0.5, 3600)
values = st.floats(1, 1e7)


@st.composite
def series(draw) -> list[tuple[float, int]]:
    """Values at strictly rising times, milliseconds."""
    gaps = draw(st.lists(st.integers(1, 600_000), min_size=1, max_size=30))
    times = [sum(gaps[: count + 1]) for count in range(len(gaps))]
    return [(draw(values), time) for time in times]


def weights(times: list[int], half_life_s: float) -> list[float]:
    """The weight of each tick by definition: its share of the time before it, halved every half-life after it."""
    kept = [0.5 ** ((after - before) / 1000 / half_life_s) for before, after in pairwise(times)]
    found = [1.0]
    for share in kept:
        found = [weight * share for weight in found] + [1 - share]
    return found


def folded(function, ticks, half_life_s):
    state = None
    for value, time in ticks:
        state = function(state, value, time, half_life_s)
    return state


@given(series(), half_lives)
def test_the_average_is_the_weighted_mean(ticks, half_life):
    shares = weights([time for _, time in ticks], half_life)
    expected = sum(share * value for share, (value, _) in zip(shares, ticks, strict=True))

    assert folded(ema, ticks, half_life).value == pytest.approx(expected, rel=1e-9)


@given(series(), half_lives)
def test_the_spread_is_the_weighted_mean_and_variance(ticks, half_life):
    shares = weights([time for _, time in ticks], half_life)
    mean = sum(share * value for share, (value, _) in zip(shares, ticks, strict=True))
    variance = sum(share * (value - mean) ** 2 for share, (value, _) in zip(shares, ticks, strict=True))

    state = folded(spread, ticks, half_life)

    assert state.mean == pytest.approx(mean, rel=1e-9)
    assert state.variance == pytest.approx(variance, rel=1e-6, abs=mean**2 * 1e-12)


def test_after_one_half_life_the_average_is_half_way():
    assert ema(Ema(100.0, 0), 200.0, 60_000, half_life_s=60) == Ema(150.0, 60_000)


@given(values, values, st.integers(1, 10**6), st.integers(1, 10**6), half_lives)
def test_a_repeated_price_changes_nothing_but_the_time(first, then, gap, more, half_life):
    start = ema(None, first, 0, half_life)

    at_once = ema(start, then, gap + more, half_life)
    in_two = ema(ema(start, then, gap, half_life), then, gap + more, half_life)

    assert in_two.value == pytest.approx(at_once.value, abs=1e-12 * max(first, then))
    assert in_two.time == at_once.time


@given(series(), half_lives)
def test_averages_stay_within_their_values_and_variance_above_zero(ticks, half_life):
    lowest, highest = min(value for value, _ in ticks), max(value for value, _ in ticks)
    state = folded(spread, ticks, half_life)

    assert lowest * (1 - 1e-9) <= folded(ema, ticks, half_life).value <= highest * (1 + 1e-9)
    assert lowest * (1 - 1e-9) <= state.mean <= highest * (1 + 1e-9)
    assert state.variance >= 0


@pytest.mark.parametrize("time", [5000, 4000])
def test_a_second_tick_of_the_same_moment_changes_nothing(time):
    assert ema(Ema(100.0, 5000), 200.0, time, half_life_s=1) == Ema(100.0, 5000)
    assert spread(Spread(100.0, 4.0, 5000), 200.0, time, half_life_s=1) == Spread(100.0, 4.0, 5000)


def test_after_a_night_the_first_price_counts_alone():
    assert ema(Ema(100.0, 0), 110.0, 63_900_000, half_life_s=60).value == pytest.approx(110.0)
