"""The market simulator: a seeded, endless market of the NSE shares in the instrument list and two indices.

Frame k is a function of (seed, rate) and k alone: no wall clock, no platform's libm (only +, -, *, / and square
roots, which IEEE 754 defines to the bit). A day starts from a state that (seed, day) gives, so that any day can be
entered without computing those before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from math import sqrt
from random import Random

from panda_streams.domain.instruments import Instrument, Instruments
from panda_streams.domain.ticks import Depth, DepthLevel, Tick
from panda_streams.errors import BadInput
from panda_streams.feeds.batching import FRAME_MS, Frame

__all__ = ["FIRST_DAY", "FRAMES_A_DAY", "Simulator", "session_start"]

FIRST_DAY = date(2026, 1, 5)
"""Day 0, a Monday."""
FRAMES_A_DAY = 22_500
"""Seconds from 09:15 to 15:30 Indian time."""
_ROWS_A_FRAME = 10_000
_OPENS_UTC = timedelta(hours=3, minutes=45)  # 09:15 in India, which has no summer time

_INDICES = {"NIFTY 50": None, "NIFTY BANK": frozenset({"HDFCBANK", "ICICIBANK", "KOTAKBANK", "AXISBANK", "SBIN"})}
"""Symbol of each simulated index to its members; None means every simulated share."""

_ANCHOR_DAYS = 10
_ANCHOR_RANGE = 0.10
"""Opening prices wander between anchors of 10 days, at most 10 % from the reference price: no drift to 0."""
_MARKET_SIGMA = 5e-5
_SHARE_SIGMA = 6e-5
"""Standard deviation of a second's return, to which the time of day gives a factor of 0.8 to 2: 0.8 % and 1 % a day."""
_PULL = 1 / 3600
"""A deviation from the day's course decays within about an hour."""
_TREND = (1.0e-5, 2.2e-5)
"""Return a second in a trending regime: 0.06 to 0.13 % a minute."""
_SWING_PULL = 1 / 50
_SWING_SIGMA = 2.2e-4
"""In a swinging regime a share's price swings around its course, by about 0.1 %."""
_MARKET_REGIME_S = (60, 240)
_SHARE_REGIME_S = (60, 300)
"""Shortest and longest regime: strategies that look back a minute or two find something within a few."""


def session_start(day: int) -> int:
    """Event time of the opening of trading day `day`, counted from 0; weekends are no trading days."""
    weeks, weekday = divmod(day, 5)
    opens = datetime.combine(FIRST_DAY + timedelta(days=7 * weeks + weekday), datetime.min.time(), UTC) + _OPENS_UTC
    return int(opens.timestamp()) * 1000


class Simulator:
    """A source of frames, endless, one for every second of every session.

    `rate` is the average number of ticks of an instrument per event second. Raises BadInput if `instruments` has no
    share with a weight and a reference price.
    """

    source = "sim"
    from_first = False

    def __init__(self, instruments: Instruments, seed: int, rate: float) -> None:
        self._shares = [share for share in instruments if share.tradable and share.weight and share.reference_price]
        if not self._shares:
            raise BadInput(
                "no instrument can be simulated",
                fix="give some shares in the file of PANDA_INSTRUMENTS a weight and a reference_price",
            )
        found = [next((one for one in instruments if one.symbol == symbol), None) for symbol in _INDICES]
        self._indices = [index for index in found if index is not None and index.reference_price]
        most = _ROWS_A_FRAME / (rate + 1)
        if len(self._shares) + len(self._indices) > most:
            raise BadInput(
                f"{len(self._shares)} shares are to be simulated, at most {int(most)} can at {rate:g} ticks a second",
                fix="take the weight of some away, or lower PANDA_SIM_RATE",
            )
        self._seed = seed
        self._rate = rate
        self.run = f"{seed}-{rate:g}"

    def frames(self, after: int | None) -> Iterator[Frame]:
        """Yield frames from the start of the day in which `after` lies, or from day 0.

        Frames up to `after` come without depth, which nobody needs there and which costs most.
        """
        day = 0
        while after is not None and session_start(day + 1) <= after:
            day += 1
        while True:
            yield from _Day(self._seed, self._rate, day, self._shares, self._indices).frames(after or 0)
            day += 1

    def describe(self, time: int | None) -> str:
        """Say what the feed is doing, for people."""
        return f"simulating seed {self._seed} at rate {self._rate:g}"


class _Market:
    """The course of the whole market: a random walk that trends now and then."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._drift = 0.0
        self._ends = 0
        self.level = 0.0

    def advance(self, second: int, heat: float) -> None:
        if second >= self._ends:
            self._ends = second + _between(self._random, _MARKET_REGIME_S)
            self._drift = _trend(self._random) if self._random.random() < 0.8 else 0.0
        noise = _normal(self._random) * _MARKET_SIGMA * heat
        self.level += self._drift - _PULL * self.level + noise


class _Share:
    """One share's price and book; advanced only when it ticks."""

    def __init__(self, random: Random, share: Instrument, opening: float, closing: float) -> None:
        assert share.weight is not None
        assert share.reference_price is not None
        units = float(share.reference_price.scaleb(share.decimals))
        self.id = share.id
        self.weight = float(share.weight)
        self.reference = units
        self.tick = max(1, int(share.tick_size.scaleb(share.decimals)))
        self.price = units * opening
        self.volume = 0
        self._random = random
        self._opening = units * opening
        self._course = units * (closing - opening) / FRAMES_A_DAY
        self._beta = 0.7 + 0.6 * random.random()
        # Turnover grows with weight: about 0.6 million shares a day and per cent at 1000 rupees.
        self._flow = 27.0 * self.weight * 100_000.0 / units
        self._own = 0.0
        self._swing = 0.0
        self._drift = 0.0
        self._swings = False
        self._ends = 0
        self._seen = 0.0

    def advance(self, at: float, market: float, heat: float) -> tuple[int, int, int, int]:
        """Advance to second `at` of the day: last price in units, quantity, best bid and ask."""
        random = self._random
        passed, self._seen = at - self._seen, at
        if at >= self._ends:
            self._ends = int(at) + _between(random, _SHARE_REGIME_S)
            kind = random.random()
            self._swings = kind < 0.4
            self._drift = _trend(random) if kind > 0.7 else 0.0
        step = sqrt(passed) * heat
        pull = min(0.5, _PULL * passed)
        self._own += self._drift * passed - pull * self._own + _SHARE_SIGMA * step * _normal(random)
        self._swing -= min(0.5, _SWING_PULL * passed) * self._swing
        if self._swings:
            self._swing += _SWING_SIGMA * step * _normal(random)
        fair = (self._opening + self._course * at) * (1.0 + self._beta * market + self._own + self._swing)
        bits = random.getrandbits(32)
        bid = int(fair) // self.tick * self.tick
        ask = bid + self.tick * (1 if bits & 7 else 2)
        price = ask if (fair - bid) * 256 > (bits >> 3 & 255) * (ask - bid) else bid
        traded = 1 + int(self._flow * passed * heat * heat * (0.25 + random.random()))
        quantity = 1 + traded * (bits >> 11 & 1023) // 1024
        self.volume += traded
        self.price = float(price)
        return price, quantity, bid, ask

    def book(self, random: Random, bid: int, ask: int) -> Depth:
        """Five levels on each side. Draws from a generator of its own: prices do not depend on who wants depth."""
        bits = random.getrandbits(160)
        size = 1 + int(self._flow * 8)
        bids, asks = [], []
        for _ in range(5):
            bids.append(DepthLevel(bid, 1 + size * (bits & 1023) // 512))
            asks.append(DepthLevel(ask, 1 + size * (bits >> 10 & 1023) // 512))
            bid -= self.tick * (1 + (bits >> 20 & 3) // 3)
            ask += self.tick * (1 + (bits >> 22 & 3) // 3)
            bits >>= 24
        return Depth(tuple(bids), tuple(asks))


class _Day:
    """One trading day."""

    def __init__(self, seed: int, rate: float, day: int, shares: list[Instrument], indices: list[Instrument]) -> None:
        random = Random(f"{seed}/{day}")
        self._key = f"{seed}/{day}"
        self._random = random
        self._rate = rate
        self._day = day
        self._market = _Market(random)
        self._shares = [
            _Share(random, share, _opening(seed, share.id, day), _opening(seed, share.id, day + 1)) for share in shares
        ]
        self._indices = [_Index(index, self._shares, {share.id: share.symbol for share in shares}) for index in indices]

    def frames(self, after: int) -> Iterator[Frame]:
        opens, random, rate = session_start(self._day), self._random, self._rate
        whole, part = int(rate), rate - int(rate)
        makers: list[_Share | _Index] = [*self._shares, *self._indices]
        for second in range(FRAMES_A_DAY):
            place = 2.0 * second / FRAMES_A_DAY - 1.0
            heat = 0.8 + 1.2 * place * place * place * place  # U over the day: 2.0 at both ends, 0.8 at noon
            self._market.advance(second, heat)
            slots = sorted(
                (1 + int(random.random() * FRAME_MS), number)
                for number in range(len(makers))
                for _ in range(whole + (random.random() < part))
            )
            start, row = opens + second * FRAME_MS, (self._day * FRAMES_A_DAY + second) * _ROWS_A_FRAME
            books = Random(f"{self._key}/{second}") if start + FRAME_MS > after and slots else None
            ticks, depth = [], {}
            for milliseconds, number in slots:
                maker = makers[number]
                if isinstance(maker, _Share):
                    price, quantity, bid, ask = maker.advance(
                        second + milliseconds / FRAME_MS, self._market.level, heat
                    )
                    ticks.append(Tick(maker.id, price, quantity, maker.volume, bid, ask, start + milliseconds, row))
                    if books is not None:
                        depth[row] = maker.book(books, bid, ask)
                else:
                    ticks.append(Tick(maker.id, maker.value(), None, None, None, None, start + milliseconds, row))
                row += 1
            yield Frame(start + FRAME_MS, ticks, depth)


class _Index:
    """A weighted index of the shares' last prices."""

    def __init__(self, index: Instrument, shares: list[_Share], symbols: dict[str, str]) -> None:
        assert index.reference_price is not None
        members = _INDICES[index.symbol]
        self.id = index.id
        self._tick = max(1, int(index.tick_size.scaleb(index.decimals)))
        self._members = [share for share in shares if members is None or symbols[share.id] in members] or shares
        total = 0.0
        for share in self._members:  # not sum(): since Python 3.12 it rounds differently
            total += share.weight
        units = float(index.reference_price.scaleb(index.decimals))
        self._factors = [units * share.weight / (total * share.reference) for share in self._members]

    def value(self) -> int:
        value = 0.0
        for factor, share in zip(self._factors, self._members, strict=True):
            value += factor * share.price
        return int(value / self._tick + 0.5) * self._tick


def _opening(seed: int, instrument: str, day: int) -> float:
    """A share's opening price on a day, as a multiple of its reference price: it wanders between random anchors."""
    number, place = divmod(day, _ANCHOR_DAYS)
    low, high = (Random(f"{seed}/{instrument}/{anchor}").random() for anchor in (number, number + 1))
    share = place / _ANCHOR_DAYS
    return 1.0 + _ANCHOR_RANGE * (2.0 * (low * (1.0 - share) + high * share) - 1.0)


def _normal(random: Random) -> float:
    """Mean 0, deviation 1, nearly normal: a sum of four uniforms, for logarithms differ between machines."""
    draw = random.random
    return (draw() + draw() + draw() + draw() - 2.0) * 1.7320508075688772


def _trend(random: Random) -> float:
    low, high = _TREND
    size = low + (high - low) * random.random()
    return size if random.getrandbits(1) else -size


def _between(random: Random, bounds: tuple[int, int]) -> int:
    low, high = bounds
    return low + int((high - low) * random.random())
