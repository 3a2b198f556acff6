"""The input of a simulation: instruments, ticks, strategies and limits of a scenario, drawn from a seed."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any

from panda_streams.domain.calendar import Calendar, Hours, trading_date
from panda_streams.domain.calendar import Market as Exchange
from panda_streams.domain.instruments import Instrument, InstrumentKind, Instruments, Right
from panda_streams.domain.matching import PaperMarket, QueueModel
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.signals import Decision, Intent, OrderType, Side, Terms, Validity
from panda_streams.domain.ticks import Depth, DepthLevel, Tick, price_of
from panda_streams.domain.values import Value
from panda_streams.feeds.batching import Frame
from strategies.config import StrategyConfig
from strategies.interface import Strategy

__all__ = ["CALENDAR", "INSTRUMENTS", "PARTITIONS", "SCENARIOS", "SHARDS", "Dice", "Market", "Scenario"]

PARTITIONS = 3
_T0 = 1_623_123_900_000
"""09:15 in India on Tuesday, 8 June 2021."""
_DAY_MS = 86_400_000
_INDEX = "NSE:INDEX"

_LAST_S = 120
"""The second of a day in which its session ends: two bursts of ticks, and minutes of silence between them."""
_OPENS = 33_300_000
_HOURS = Hours(opens=_OPENS + 300, square_off=_OPENS + 119_700, closes=_OPENS + 120_400)
CALENDAR = Calendar({market: {date.min: _HOURS} for market in Exchange}, {}, {}, None)
"""Sessions of two minutes, of which neither the beginning nor an end is at a beat."""


def _instruments() -> Instruments:
    """Two shares on each shard, derivatives of the first one that expire on the first and second day, and an index."""
    found: dict[int, list[Instrument]] = {shard: [] for shard in range(PARTITIONS)}
    number = 0
    while any(len(shares) < 2 for shares in found.values()):
        share = Instrument(exchange="NSE", symbol=f"S{number}", kind=InstrumentKind.EQUITY, **_SPECIAL.get(number, {}))
        number += 1
        shares = found[ShardMap(PARTITIONS, Instruments([share])).shards(share.id)[0]]
        if len(shares) < 2:
            shares.append(share)
    underlying, today = found[0][0].id, trading_date(_T0)
    future = Instrument(
        exchange="NFO", symbol="F", kind=InstrumentKind.FUTURE, lot=5, underlying=underlying, expiry=today
    )
    option = Instrument(
        exchange="NFO",
        symbol="C",
        kind=InstrumentKind.OPTION,
        lot=4,
        underlying=underlying,
        expiry=today + timedelta(days=1),
        strike=Decimal(500),
        right=Right.CALL,
    )
    index = Instrument(exchange="NSE", symbol="INDEX", kind=InstrumentKind.INDEX)
    return Instruments([*(share for shares in found.values() for share in shares), future, option, index])


_SPECIAL: dict[int, dict[str, Any]] = {
    1: {"freeze_quantity": 8},
    2: {"lower_circuit": Decimal(1036), "upper_circuit": Decimal(1044)},
}
"""What is special about a share: orders are sliced, or its price is banded."""


def _price(instrument: Instrument) -> int:
    """What it costs at the beginning, in paise."""
    if instrument.kind is InstrumentKind.OPTION:
        return 50_000
    number = instrument.symbol.removeprefix("S")
    return 100_000 + 2_000 * int(number) if number.isdigit() else 100_000


INSTRUMENTS = _instruments()
SHARDS = ShardMap(PARTITIONS, INSTRUMENTS)
_SHARES = [
    [share.id for share in INSTRUMENTS if share.tradable and not share.derivative and shard in SHARDS.shards(share.id)]
    for shard in range(PARTITIONS)
]
_DERIVATIVES = [one.id for one in INSTRUMENTS if one.derivative]
_NAMES = [
    [one.id for one in INSTRUMENTS if one.tradable and shard in SHARDS.shards(one.id)] for shard in range(PARTITIONS)
]
_SILENT = _SHARES[1][0]
"""A share whose source records no volume."""
_FIRST = {one.id: _price(one) for one in INSTRUMENTS}


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is special about an input, and about the arms that trade on it."""

    seconds: int = 12
    """Seconds with ticks, over all days."""
    days: int = 2
    day_gap: int = 1
    """Days from one to the next."""
    closes: bool = True
    """False: the ticks of a day end long before its session does."""
    rate: int = 5
    """Most ticks of a shard in a second."""
    chance: float = 0.35
    """A tick's chance to be answered with a signal, for each of two strategies."""
    dead: tuple[tuple[int, int, int], ...] = ()
    """Shards without ticks: (shard, from this second, until that one)."""
    last_ms: int = 1000
    """How much of its last second the recording has."""
    retried: float = 0.0
    """Share of the feed's records that stand in the log twice."""
    garbage: float = 0.0
    """Share of the feed's records that are followed by one which nobody can decode."""
    runs: int = 1
    """Recordings that are played, one after the other: up to two a day."""
    hold: int = 4096
    """In the place of inputs.HOLD."""
    capital: int = 100_000
    share_of_capital: str = "0.2"
    max_position: int = 60
    latency_ms: int = 250
    latency_spread_ms: int = 0
    queue: QueueModel = QueueModel.QUEUE
    btst: bool = True
    brokers: tuple[str, ...] = ("paper",)
    """Accounts of the strategies."""
    arms: tuple[str, ...] = ("paper",)
    """Accounts that are registered; each has an arm that runs."""
    ordered: bool = True
    """The replay clock; False is the wall's."""
    protection: dict[str, Any] = field(default_factory=dict, hash=False)
    """Exits that the arm makes by itself, of one of the two strategies."""
    limits: dict[str, Any] = field(default_factory=dict, hash=False)
    """What the file of limits says of each account."""

    @property
    def market(self) -> PaperMarket:
        return PaperMarket(self.latency_ms, self.latency_spread_ms, Decimal("0.0005"), Decimal("0.5"), self.queue)


_ACCOUNTS = ("paper", "second")
_PROTECTION = {"stop_loss": "0.0015", "trailing_stop": "0.002", "target": "0.001", "time_exit_minutes": 1}
_LIMITS = {
    "account": {
        "max_daily_loss": "150",
        "on_breach": "REDUCING",
        "max_orders_per_second": 3,
        "max_open_orders": 8,
        "max_gross_exposure": "60000",
        "max_rejections_per_day": 4,
        "price_collar": "0.002",
        "duplicate_window_s": "0.6",
        "shrink": True,
    },
    "strategies": {"Narrow": {"max_drawdown": "60", "max_order_quantity": 12}},
    "instruments": {"NSE:S0": {"max_position": 30}},
}

SCENARIOS: dict[str, Scenario] = {
    "plain": Scenario(),
    "dense": Scenario(chance=0.9, seconds=8, protection=_PROTECTION),
    "protected": Scenario(protection=_PROTECTION),
    "limits": Scenario(chance=0.6, limits=_LIMITS),
    "stale-feed": Scenario(seconds=8, limits={"account": {"feed_stale_s": "40"}}),
    "sparse": Scenario(chance=0.03, seconds=14),
    "no-signal": Scenario(chance=0.0, seconds=9),
    "dead-shard": Scenario(dead=((2, 0, 99), (1, 2, 6))),
    "weekend": Scenario(day_gap=3, btst=False),
    "early-end": Scenario(closes=False, seconds=8, protection=_PROTECTION),
    "one-day": Scenario(days=1, seconds=8),
    "mid-second": Scenario(last_ms=400),
    "burst": Scenario(seconds=5, rate=14, chance=0.6, hold=6),
    "tiny-buffers": Scenario(hold=2),
    "retried-feed": Scenario(retried=0.3),
    "cash": Scenario(chance=0.6, capital=30_000, share_of_capital="0.4"),
    "position-limit": Scenario(chance=0.6, max_position=25),
    "instant": Scenario(latency_ms=0, queue=QueueModel.TOUCH),
    "late-fills": Scenario(latency_ms=3000, queue=QueueModel.THROUGH),
    "spread": Scenario(latency_ms=100, latency_spread_ms=500),
    "unlisted-arm": Scenario(arms=("paper", "second"), seconds=6),
    "two-arms": Scenario(arms=_ACCOUNTS, brokers=_ACCOUNTS, seconds=6),
    "garbage": Scenario(garbage=0.2),
    "two-runs": Scenario(runs=2, chance=0.6, seconds=8),
    "four-runs": Scenario(runs=4, chance=0.6, seconds=8),
    "wall": Scenario(ordered=False),
    "wall-cash": Scenario(ordered=False, chance=0.8, capital=30_000, share_of_capital="0.4"),
    "wall-limits": Scenario(ordered=False, chance=0.6, limits=_LIMITS, protection=_PROTECTION),
    "wall-four-runs": Scenario(ordered=False, runs=4, seconds=8, garbage=0.1, latency_ms=1500),
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
        # At a tick of the index, about what this shard has seen: its ticks come here.
        names = [name for name in state if name != _INDEX] if tick.instrument == _INDEX else [tick.instrument]
        share = 0.3 if tick.instrument == _INDEX else 1.0
        facts = (seen, tick.price > last)
        decisions = (self._decide(name, *state[name], share, *facts) for name in names)
        return state, tuple(decision for decision in decisions if decision is not None)

    def _decide(self, name: str, seen: int, price: int, share: float, *facts: object) -> Decision | None:
        told = (self.params.seed, self.config.strategy_id, name, *facts)
        if _roll(*told) >= self.params.chance * share:
            return None
        return _drawn(name, price_of(price, 2), random.Random(repr(told)), exits=14 if seen > 3 else 4)

    def dump(self, state: dict[str, tuple[int, int]]) -> Any:
        return {name: list(seen) for name, seen in state.items()}

    def load(self, data: Any) -> dict[str, tuple[int, int]]:
        return {name: (seen, last) for name, (seen, last) in data.items()}


def _drawn(name: str, price: Decimal, chance: random.Random, exits: int) -> Decision:
    """Any decision that the rules of terms allow; `exits` is the weight of exits."""
    intent = chance.choices(list(Intent), (10, exits, 3, 2, 1))[0]
    opens = intent in (Intent.ENTRY, Intent.TARGET)
    side = Side.BUY if chance.random() < (0.7 if opens else 0.3) else Side.SELL
    size = Decimal(chance.choice(["1", "1", "0.5"]))
    if intent is Intent.TARGET:
        size = Decimal(chance.choice(["0", "0.4", "1", "1.6"]))
    terms = Terms() if intent is Intent.CANCEL else _terms(intent, side, price, chance)
    return Decision(instrument=name, side=side, intent=intent, size=size, terms=terms)


def _terms(intent: Intent, side: Side, price: Decimal, chance: random.Random) -> Terms:
    sign = 1 if side is Side.BUY else -1

    def away() -> Decimal:
        return sign * price_of(5 * chance.randrange(1, 61), 2)

    kind = chance.choices(list(OrderType), (0 if intent is Intent.MODIFY else 6, 4, 1, 1))[0]
    trigger = price + away() if kind in (OrderType.SL, OrderType.SL_M) else None
    limit = None
    if kind is OrderType.SL:
        limit = price + away()
    elif kind is OrderType.LIMIT:
        limit = price + chance.choice([-1, -1, 1]) * away()
    validity = chance.choices(list(Validity), (5, 2, 2))[0]
    target = stop = None
    if intent is Intent.ENTRY:
        at = limit or price
        target = at + away() if chance.random() < 0.3 else None
        stop = at - away() if chance.random() < 0.3 else None
    return Terms(
        order_type=kind,
        price=limit,
        trigger=trigger,
        validity=validity,
        ttl_minutes=1 if validity is Validity.TTL else None,
        target=target,
        stop=stop,
    )


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
        chance, prices = random.Random(f"market/{self.seed}"), dict(_FIRST)
        bursts, runs = self._bursts(), self.scenario.runs
        found: list[list[Frame]] = []
        for number in range(runs):
            own = bursts[number * len(bursts) // runs : (number + 1) * len(bursts) // runs]
            found.append(self._frames([start for burst in own for start in burst], prices, chance))
        return found

    def _bursts(self) -> list[list[int]]:
        """When each second with ticks begins: of each day some at its beginning, and some up to its close and after."""
        scenario, bursts = self.scenario, list[list[int]]()
        for day in range(scenario.days):
            seconds = scenario.seconds * (day + 1) // scenario.days - scenario.seconds * day // scenario.days
            early = seconds if not scenario.closes else max(1, seconds // 2)
            opens = _T0 + day * scenario.day_gap * _DAY_MS
            bursts.append([opens + second * 1000 for second in range(early)])
            bursts.append([opens + (_LAST_S - left) * 1000 for left in range(seconds - early - 1, -1, -1)])
        return bursts

    def _frames(self, starts: list[int], prices: dict[str, int], chance: random.Random) -> list[Frame]:
        frames, row = list[Frame](), 0
        traded: dict[tuple[str, date], int] = {}
        for start in starts:
            on = trading_date(start)
            moments = self._moments(chance, len(frames), on)
            if start == starts[-1]:
                moments = [(ms, name) for ms, name in moments if ms <= self.scenario.last_ms]
            ticks, depth = [], {}
            for ms, name in moments:
                prices[name] += 5 * chance.randrange(-60, 61)
                price, quantity = prices[name], chance.randrange(1, 50)
                volume = traded[name, on] = traded.get((name, on), 0) + quantity
                quoted = chance.random() < 0.5
                bid, ask = (price - 5, price + 10) if quoted else (None, None)
                said = None if name in (_INDEX, _SILENT) else volume
                ticks.append(Tick(name, price, quantity, said, bid, ask, start + ms, row))
                if name != _INDEX and chance.random() < 0.15:
                    bids = tuple(DepthLevel(price - 5 * n, 7 * n) for n in (1, 2))
                    depth[row] = Depth(bids, tuple(DepthLevel(price + 5 * n, 7 * n) for n in (1, 2)))
                row += 1
            if ticks:
                frames.append(Frame(start + 1000, ticks, depth))
        return frames

    def _moments(self, chance: random.Random, second: int, on: date) -> list[tuple[int, str]]:
        """Milliseconds within a second, the last one included, and whose tick it is; in order."""
        scenario, moments = self.scenario, []
        for shard, names in enumerate(_NAMES):
            if any(shard == dead and begin <= second < end for dead, begin, end in scenario.dead):
                continue
            alive = [name for name in names if (INSTRUMENTS[name].expiry or on) >= on]
            for _ in range(chance.randrange(scenario.rate + 1)):
                ms = 1000 if chance.random() < 0.15 else chance.randrange(1, 1000)
                moments.append((ms, chance.choice(alive)))
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
        intraday = [name for shares in _SHARES for name in shares]
        overnight = [*(shares[0] for shares in _SHARES), *_DERIVATIVES]
        trades = {
            "Wide": (intraday, {**account, "product": "MIS", "shorts": True, "protection": scenario.protection}),
            "Narrow": (overnight, {**account, "product": "CNC", "btst": scenario.btst}),
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
                        "accounts": dict.fromkeys(scenario.brokers, own),
                        "params": {"seed": self.seed, "chance": scenario.chance},
                    }
                )
            )
            for strategy_id, (names, own) in trades.items()
        ]
