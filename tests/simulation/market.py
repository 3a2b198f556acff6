"""The input of a simulation: instruments, ticks, strategies and limits of a scenario, drawn from a seed."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from panda_streams.domain.instruments import Instrument, InstrumentKind, Instruments
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.signals import Decision, Intent, Side
from panda_streams.domain.ticks import Depth, DepthLevel, Tick
from panda_streams.domain.values import Value
from panda_streams.events import END_REACH_MS
from panda_streams.feeds.batching import FRAME_MS, TAIL_MS, Frame
from strategies.config import StrategyConfig
from strategies.interface import Strategy

__all__ = ["INSTRUMENTS", "PARTITIONS", "SCENARIOS", "SHARDS", "Dice", "Market", "Scenario"]

PARTITIONS = 3
_T0 = 1_623_123_900_000
_INDEX = "NSE:INDEX"
_HOUR_MS = 3_600_000


def _instruments() -> Instruments:
    """Two shares on each shard, and an index."""
    found: dict[int, list[Instrument]] = {shard: [] for shard in range(PARTITIONS)}
    number = 0
    while any(len(shares) < 2 for shares in found.values()):
        share = Instrument(exchange="NSE", symbol=f"S{number}", kind=InstrumentKind.EQUITY)
        number += 1
        shares = found[ShardMap(PARTITIONS, Instruments([share])).shards(share.id)[0]]
        if len(shares) < 2:
            shares.append(share)
    index = Instrument(exchange="NSE", symbol="INDEX", kind=InstrumentKind.INDEX)
    return Instruments([*(share for shares in found.values() for share in shares), index])


INSTRUMENTS = _instruments()
SHARDS = ShardMap(PARTITIONS, INSTRUMENTS)
_SHARES = [
    [share.id for share in INSTRUMENTS if share.tradable and shard in SHARDS.shards(share.id)]
    for shard in range(PARTITIONS)
]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is special about an input, and about the arms that trade on it."""

    seconds: int = 7
    rate: int = 4
    """Most ticks of a shard in a second."""
    chance: float = 0.35
    """A tick's chance to be answered with a signal, for each of two strategies."""
    dead: tuple[tuple[int, int, int], ...] = ()
    """Shards without ticks: (shard, from this second, until that one)."""
    gap_h: int = 0
    """Hours of silence in the middle."""
    last_ms: int = 1000
    """How much of its last second the recording has."""
    retried: float = 0.0
    """Share of the feed's records that stand in the log twice."""
    garbage: float = 0.0
    """Share of the feed's records that are followed by one which nobody can decode."""
    runs: int = 1
    """Recordings that are played, one after the other."""
    hold: int = 4096
    """In the place of inputs.HOLD."""
    capital: int = 100_000
    share_of_capital: str = "0.2"
    max_position: int = 60
    latency_ms: int = 250
    brokers: tuple[str, ...] = ("paper",)
    """Accounts of the strategies."""
    arms: tuple[str, ...] = ("paper",)
    """Accounts that are registered; each has an arm that runs."""
    ordered: bool = True
    """The replay clock; False is the wall's."""


_ACCOUNTS = ("paper", "second")

SCENARIOS: dict[str, Scenario] = {
    "plain": Scenario(),
    "dense": Scenario(chance=0.9, seconds=5, rate=4),
    "sparse": Scenario(chance=0.03, seconds=12),
    "no-signal": Scenario(chance=0.0, seconds=9),
    "dead-shard": Scenario(dead=((2, 0, 99), (1, 2, 6))),
    "gap": Scenario(gap_h=3, seconds=6),
    "mid-second": Scenario(last_ms=400),
    "burst": Scenario(seconds=3, rate=14, chance=0.6, hold=6),
    "tiny-buffers": Scenario(hold=2),
    "retried-feed": Scenario(retried=0.3),
    "cash": Scenario(chance=0.6, capital=30_000, share_of_capital="0.4"),
    "position-limit": Scenario(chance=0.6, max_position=25),
    "instant": Scenario(latency_ms=0),
    "late-fills": Scenario(latency_ms=3000),
    "unlisted-arm": Scenario(arms=("paper", "second"), seconds=5),
    "two-arms": Scenario(arms=_ACCOUNTS, brokers=_ACCOUNTS, seconds=5),
    "garbage": Scenario(garbage=0.2),
    "two-runs": Scenario(runs=2, seconds=4, chance=0.6),
    "wall": Scenario(ordered=False),
    "wall-cash": Scenario(ordered=False, chance=0.8, capital=30_000, share_of_capital="0.4"),
    "wall-two-runs": Scenario(ordered=False, runs=2, seconds=4, garbage=0.1, latency_ms=1500),
    "wall-late-fills": Scenario(ordered=False, latency_ms=3000, hold=6),
}


class DiceParams(Value):
    seed: int
    chance: float


class Dice(Strategy[dict[str, tuple[int, int]]]):
    """Decides by a seed and by what it has seen: a state that is a tick behind says something else.

    Its state: ticks seen and last price, by instrument.
    """

    Params = DiceParams
    params: DiceParams

    def initial(self) -> dict[str, tuple[int, int]]:
        return {}

    def step(
        self, state: dict[str, tuple[int, int]], tick: Tick
    ) -> tuple[dict[str, tuple[int, int]], tuple[Decision, ...]]:
        seen, last = state.get(tick.instrument, (0, tick.price))
        state = {**state, tick.instrument: (seen + 1, tick.price)}
        if tick.instrument == _INDEX:
            # Only what this shard has seen may be traded; its ticks come here.
            return state, self._decide([name for name in state if name != _INDEX], 0.3, seen, tick.price > last)
        return state, self._decide([tick.instrument], 1.0, seen, tick.price > last)

    def _decide(self, names: list[str], share: float, *facts: object) -> tuple[Decision, ...]:
        decisions = []
        for name in names:
            rolled = _roll(self.params.seed, self.config.strategy_id, name, *facts)
            if rolled < self.params.chance * share * 0.6:
                decisions.append(Decision(instrument=name, side=Side.BUY, intent=Intent.ENTRY))
            elif rolled < self.params.chance * share:
                decisions.append(Decision(instrument=name, side=Side.SELL, intent=Intent.EXIT))
        return tuple(decisions)

    def dump(self, state: dict[str, tuple[int, int]]) -> Any:
        return {name: list(seen) for name, seen in state.items()}

    def load(self, data: Any) -> dict[str, tuple[int, int]]:
        return {name: (seen, last) for name, (seen, last) in data.items()}


def _roll(*facts: object) -> float:
    """A number in [0, 1) that is a function of the facts, in every process."""
    digest = hashlib.blake2b(repr(facts).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 2**32


class Market:
    """What a seed makes of a scenario."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.seed = seed

    @cached_property
    def runs(self) -> list[list[Frame]]:
        """The frames of each run, which begins no earlier than the end of the one before has reached."""
        begin, runs = _T0, []
        for number in range(self.scenario.runs):
            frames = self._frames(number, begin)
            runs.append(frames)
            if frames:
                begin = frames[-1].time + TAIL_MS + FRAME_MS + END_REACH_MS
        return runs

    def _frames(self, number: int, begin: int) -> list[Frame]:
        scenario = self.scenario
        chance = random.Random(f"market/{self.seed}/{number}")
        prices = {share.id: 100_000 + 2_000 * n for n, share in enumerate(INSTRUMENTS)}
        frames, row = [], 0
        for second in range(scenario.seconds):
            start = begin + second * 1000
            if second >= scenario.seconds // 2:
                start += scenario.gap_h * _HOUR_MS
            moments = self._moments(chance, second)
            if second == scenario.seconds - 1:
                moments = [(ms, name) for ms, name in moments if ms <= scenario.last_ms]
            ticks, depth = [], {}
            for ms, name in moments:
                prices[name] += 5 * chance.randrange(-60, 61)
                price = prices[name]
                quoted = chance.random() < 0.5
                bid, ask = (price - 5, price + 10) if quoted else (None, None)
                ticks.append(Tick(name, price, chance.randrange(1, 50), None, bid, ask, start + ms, row))
                if name != _INDEX and chance.random() < 0.15:
                    bids = tuple(DepthLevel(price - 5 * n, 7 * n) for n in (1, 2))
                    depth[row] = Depth(bids, tuple(DepthLevel(price + 5 * n, 7 * n) for n in (1, 2)))
                row += 1
            if ticks:
                frames.append(Frame(start + 1000, ticks, depth))
        return frames

    def _moments(self, chance: random.Random, second: int) -> list[tuple[int, str]]:
        """Milliseconds within a second, the last one included, and whose tick it is; in order."""
        scenario, moments = self.scenario, []
        for shard, shares in enumerate(_SHARES):
            if any(shard == dead and begin <= second < end for dead, begin, end in scenario.dead):
                continue
            for _ in range(chance.randrange(scenario.rate + 1)):
                ms = 1000 if chance.random() < 0.15 else chance.randrange(1, 1000)
                moments.append((ms, chance.choice(shares)))
        if chance.random() < 0.5:
            moments.append((chance.randrange(1, 1001), _INDEX))
        return sorted(moments)

    def rolls(self, *facts: object) -> float:
        """A number in [0, 1) for what is decided once for all runs of this market."""
        return _roll(self.seed, *facts)

    @cached_property
    def strategies(self) -> list[Dice]:
        scenario = self.scenario
        account = {
            "capital": Decimal(scenario.capital),
            "share_of_capital": Decimal(scenario.share_of_capital),
            "max_position": scenario.max_position,
        }
        trades = {
            "Wide": [name for shares in _SHARES for name in shares],
            "Narrow": [shares[0] for shares in _SHARES],
        }
        return [
            Dice(
                StrategyConfig.model_validate(
                    {
                        "strategy_id": strategy_id,
                        "strategy": f"{__name__}:Dice",
                        "watches": [_INDEX],
                        "trades": names,
                        "brokers": list(scenario.brokers),
                        "accounts": dict.fromkeys(scenario.brokers, account),
                        "params": {"seed": self.seed, "chance": scenario.chance},
                    }
                )
            )
            for strategy_id, names in trades.items()
        ]
