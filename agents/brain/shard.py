"""The strategies and what they know on one shard, and the step that takes a batch of ticks through them."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from agents.brain.contracts import Contracts
from agents.reading import brain_writer
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.signals import Decision, Quote, Signal, identify
from panda_streams.domain.ticks import Place, Tick, TickRef, price_of
from panda_streams.events import TickBatch
from strategies.config import StrategyConfig
from strategies.interface import Strategy
from tables.brain import StoredState

__all__ = ["Failure", "Running", "Shard", "Watched", "described", "step"]

_NUMBERS = 16
"""Bits of a sequence that number a strategy's signals within one record; the bits above are the record's offset."""


@dataclass(slots=True, eq=False)
class Running:
    """A strategy on one shard, and the state that its last step returned."""

    strategy: Strategy[Any]
    strategy_id: str
    state: Any


@dataclass(slots=True, eq=False)
class Watched:
    """An instrument that somebody sees, and its last tick.

    Ticks are many: found once, it has all that a tick needs in its fields.
    """

    quoted: bool
    """Whether signals need its last tick, which is stored then."""
    seen_by: tuple[Running, ...] = ()
    """The strategies that see its ticks, in their order."""
    tick: Tick | None = None
    place: Place | None = None
    """The record that `tick` came in."""


class Shard:
    """What the brain knows on one shard; `step` changes it in place.

    `contracts_need` are the instruments whose last tick is kept though no strategy may see it. The orders below are
    functions of the configuration: what is stored is the same bytes in every process.
    """

    def __init__(self, strategies: Sequence[Strategy[Any]], contracts_need: Iterable[str] = ()) -> None:
        self.running = {
            strategy.config.strategy_id: Running(strategy, strategy.config.strategy_id, strategy.initial())
            for strategy in strategies
        }
        """By strategy_id."""
        traded = {name for strategy in strategies for name in strategy.config.trades}
        self.watched = {name: Watched(quoted=True) for name in sorted(contracts_need)}
        """By instrument."""
        for running in self.running.values():
            for name in sorted(running.strategy.config.instruments):
                watched = self.watched.setdefault(name, Watched(quoted=name in traded))
                watched.seen_by += (running,)
        self.paused: dict[str, str] = {}
        """Strategies that see no tick, and why."""
        self.unsaid: dict[str, str] = {}
        """Strategies that raised and are still to be published as paused, and why."""
        self.unstored = False
        """True while what was paused last is not in the stored row."""
        self.changed = False
        """True if it differs from what is stored by something that is not in the tick log."""
        self.stored: dict[str, StoredState] = {}
        """The states as they were stored last."""
        self.signals = 0
        self.fanout: dict[str, int] = {}
        self.contracts = Contracts()

    def pause(self, strategy_id: str, reason: str) -> None:
        """Show a strategy that raised no further tick, and have that published."""
        self.paused[strategy_id] = self.unsaid[strategy_id] = reason
        self.unstored = True


@dataclass(frozen=True, slots=True)
class Failure:
    """A strategy that raised, and where."""

    strategy_id: str
    reason: str
    details: str


def step(shard: Shard, batch: TickBatch, place: Place, shards: ShardMap) -> tuple[list[Signal], list[Failure]]:
    """Run every tick of the batch at `place` through the strategies that see its instrument, and change `shard`.

    Returns the signals in order and the strategies that raised: the result of a strategy's tick that raised is
    dropped, and the strategy sees no further tick.
    """
    signals: list[Signal] = []
    failures: list[Failure] = []
    paused, find = shard.paused, shard.watched.get
    for tick in batch.ticks:
        watched = find(tick.instrument)
        if watched is None:
            continue
        watched.tick, watched.place = tick, place
        for running in watched.seen_by:
            if paused and running.strategy_id in paused:
                continue
            try:
                state, decisions = running.strategy.step(running.state, tick)
                if decisions:
                    signals += _signals(shard, running.strategy, batch.world, place, tick, decisions, shards, signals)
            except (Exception, SystemExit) as error:  # noqa: BLE001  the user's code: it is paused, alone and visibly
                reason = f"{described(error)} at a tick of {tick.instrument} ({place.source}/{place.run}/{tick.row})"
                shard.pause(running.strategy_id, reason)
                failures.append(Failure(running.strategy_id, reason, traceback.format_exc()))
                continue
            running.state = state
    return signals, failures


def described(error: BaseException) -> str:
    """What a strategy raised, as text that can be sent, whatever its author has put into it."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  the user's code, too
        text = "an error that cannot be printed"
    return f"{type(error).__name__}: {text}".encode(errors="replace").decode()


def _signals(
    shard: Shard,
    strategy: Strategy[Any],
    world: str,
    place: Place,
    tick: Tick,
    decisions: Sequence[Decision],
    shards: ShardMap,
    earlier: Sequence[Signal],
) -> list[Signal]:
    """The signals of one strategy at one tick; `earlier` are those of the same record."""
    cause = place.ref(tick.row, tick.time)
    if len({decision.instrument for decision in decisions}) < len(decisions):
        raise ValueError("decided twice on one instrument")
    for decision in decisions:
        _check(decision, strategy.config, place.shard, shards)
    wanted = [
        (decision, instrument)
        for decision in decisions
        for instrument in _instruments(shard, decision, strategy.config, cause, shards)
    ]
    producer = f"{brain_writer(place.shard)}/{strategy.config.strategy_id}"
    # A function of the log alone, however much of it is stepped again and whichever strategies were paused meanwhile.
    first = (place.offset << _NUMBERS) + sum(1 for signal in earlier if signal.producer == producer)
    return [
        _signal(shard, strategy, world, cause, decision, instrument, shards, producer, first + n)
        for n, (decision, instrument) in enumerate(wanted)
    ]


def _check(decision: Decision, config: StrategyConfig, number: int, shards: ShardMap) -> None:
    name = decision.instrument
    if name not in config.trades:
        raise ValueError(f"decided on {name}, which is not among what it trades")
    contract = config.contracts.get(name)
    if number not in shards.shards(contract.underlying if contract else name):
        # A watched index is on every shard: each of them would say this signal, and one alone has the ticks to fill it.
        raise ValueError(f"decided on {name}, whose ticks are not on this shard ({number})")


def _instruments(
    shard: Shard, decision: Decision, config: StrategyConfig, cause: TickRef, shards: ShardMap
) -> tuple[str, ...]:
    """What a decision is about; nothing on a shard where the contract's underlying is seen but does not trade."""
    name = decision.instrument
    contract = config.contracts.get(name)
    if contract is None:
        return (name,)
    if cause.shard != shards.home(contract.underlying):
        return ()
    price = _quote(shard, contract.underlying, shards)
    spot = price.price if price else None
    return shard.contracts.choose(config, decision, shards.instruments, spot, cause.time)


def _signal(
    shard: Shard,
    strategy: Strategy[Any],
    world: str,
    cause: TickRef,
    decision: Decision,
    instrument: str,
    shards: ShardMap,
    producer: str,
    sequence: int,
) -> Signal:
    config = strategy.config
    # Two contracts may mean one instrument, and one EXIT several: of a contract, its name is part of the identity too.
    about = (instrument,) if decision.instrument == instrument else (decision.instrument, instrument)
    return Signal(
        world=world,
        signal_id=identify("signal", config.strategy_id, config.version, *about, cause.key),
        strategy_id=config.strategy_id,
        config=config.version,
        instrument=instrument,
        side=decision.side,
        intent=decision.intent,
        size=decision.size,
        terms=decision.terms,
        cause=cause,
        quote=_quote(shard, instrument, shards),
        producer=producer,
        sequence=sequence,
    )


def _quote(shard: Shard, instrument: str, shards: ShardMap) -> Quote | None:
    watched = shard.watched.get(instrument)
    if watched is None or not watched.quoted or watched.tick is None or watched.place is None:
        return None  # one that is not stored would be gone after a restart
    tick, scale = watched.tick, shards.instruments[instrument].decimals
    return Quote(
        tick=watched.place.ref(tick.row, tick.time),
        price=price_of(tick.price, scale),
        bid=None if tick.bid is None else price_of(tick.bid, scale),
        ask=None if tick.ask is None else price_of(tick.ask, scale),
        volume=tick.volume,
    )
