"""Indicators over irregular ticks in event time: each a small frozen state and one pure O(1) function.

Weights halve every half-life of event time, however many ticks fall into it: a tick that comes `dt` after the one
before it weighs 1 - 2^(-dt / half-life), as if its price had held since then (EMA_next in Eckner, "Algorithms for
Unevenly Spaced Time Series: Moving Averages and Other Rolling Operators", 2019, section 4). So after a night the
first price counts almost alone, and of several ticks at the same millisecond the first one counts.
"""

from __future__ import annotations

from functools import lru_cache

from msgspec import Struct

__all__ = ["DECAYS_MS", "Ema", "Spread", "decays", "ema", "spread"]

DECAYS_MS = 4096
"""Milliseconds that `decays` goes up to: most ticks of a traded instrument come sooner after the one before."""


@lru_cache(maxsize=64)
def decays(half_life_s: float) -> tuple[float, ...]:
    """What each time from 0 to DECAYS_MS - 1 milliseconds leaves of an average's weight, 2^(-time / half-life).

    For a strategy that keeps several averages of each tick: a power costs it as much as all else that it does to one.
    """
    return tuple(0.5 ** (elapsed / (1000.0 * half_life_s)) for elapsed in range(DECAYS_MS))


class Ema(Struct, frozen=True, gc=False):
    """Exponential moving average at `time` (milliseconds)."""

    value: float
    time: int


def ema(previous: Ema | None, value: float, time: int, half_life_s: float) -> Ema:
    """Take a value into the average; the first value is the average. `half_life_s` must be positive.

    m' = m + a·(x - m) with a = 1 - 2^(-dt / half-life).
    """
    if previous is None:
        return Ema(float(value), time)
    elapsed = time - previous.time
    if elapsed <= 0:
        return previous
    mean = previous.value
    return Ema(mean + (1.0 - 0.5 ** (elapsed / (1000.0 * half_life_s))) * (value - mean), time)


class Spread(Struct, frozen=True, gc=False):
    """Exponentially weighted mean and variance at `time` (milliseconds)."""

    mean: float
    variance: float
    time: int


def spread(previous: Spread | None, value: float, time: int, half_life_s: float) -> Spread:
    """Take a value into mean and variance; after the first value the variance is 0. `half_life_s` must be positive.

    With d = x - m:  m' = m + a·d,  v' = (1 - a)·(v + a·d²)  (Finch, "Incremental calculation of weighted mean and
    variance", 2009, section 9), a as in `ema`.
    """
    if previous is None:
        return Spread(float(value), 0.0, time)
    elapsed = time - previous.time
    if elapsed <= 0:
        return previous
    mean = previous.mean
    kept = 0.5 ** (elapsed / (1000.0 * half_life_s))
    distance = value - mean
    weighed = (1.0 - kept) * distance
    return Spread(mean + weighed, kept * (previous.variance + weighed * distance), time)
