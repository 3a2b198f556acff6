"""The brain's agent. Input: market.ticks. Row: one a shard. Output: each signal, the same bytes, to every broker."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from msgspec import Struct
from msgspec.structs import astuple

from agents.context import Context
from agents.contracts import Contracts, quoted
from agents.reading import brain_writer, read_ticks
from panda_streams.codec import encode
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.signals import Decision, Quote, Signal, identify
from panda_streams.domain.ticks import Tick, TickRef, price_of
from panda_streams.events import Beat, Level, StageBeat, TickBatch
from panda_streams.keys import Keys
from panda_streams.levels import STRATEGY_STATE, strategy_scope
from panda_streams.streams.agent import Agent, Output, Part
from panda_streams.streams.inputs import Item
from panda_streams.streams.sender import partition_of
from panda_streams.topics import level_key
from strategies.config import StrategyConfig
from strategies.interface import Strategy
from tables import read_row
from tables.brain import BrainRow, StoredState

__all__ = ["Brain", "Interest", "Place", "Shard", "interests", "step"]

_log = logging.getLogger("panda_streams.brain")

_MAX_STATE_BYTES = 256 * 1024
"""Of one strategy on one shard: the row of all of them must fit into one batch of Kafka."""
_NUMBERS = 16
"""Bits of a sequence that number a strategy's signals within one record; the bits above are the record's offset."""


class Place(Struct, frozen=True, gc=False):
    """The record that a tick came in."""

    source: str
    run: str
    offset: int


@dataclass(slots=True)
class Shard:
    """What the brain knows on one shard; `step` changes it in place."""

    states: dict[str, Any]
    """State by strategy_id, as the strategies' own type."""
    quotes: dict[str, tuple[Tick, Place]] = field(default_factory=dict)
    """Last tick of each traded instrument, and where it came from."""
    paused: dict[str, str] = field(default_factory=dict)
    """Strategies that see no tick, and why."""
    fanout: dict[str, int] = field(default_factory=dict)
    signals: int = 0
    stored: dict[str, StoredState] = field(default_factory=dict)
    """The states as they were stored last."""
    unsaid: dict[str, str] = field(default_factory=dict)
    """Strategies that raised and are still to be published as paused, and why."""
    unstored: bool = False
    """True while what was paused last is not in the stored row."""
    changed: bool = False
    """True if it differs from what is stored by something that is not in the tick log."""
    contracts: Contracts = field(default_factory=Contracts)

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


Interest = tuple[bool, tuple[tuple[str, Strategy[Any]], ...]]
"""Whether an instrument is traded, and who sees its ticks. A bare tuple: Python unpacks no other as fast."""


def interests(strategies: Sequence[Strategy[Any]], kept: Iterable[str] = ()) -> dict[str, Interest]:
    """By instrument, for those that a strategy watches or trades, and those whose last tick is `kept` besides."""
    found: dict[str, list[tuple[str, Strategy[Any]]]] = {}
    for strategy in strategies:
        for instrument in strategy.config.instruments:
            found.setdefault(instrument, []).append((strategy.config.strategy_id, strategy))
    traded = {*kept, *(name for strategy in strategies for name in strategy.config.trades)}
    for name in kept:
        found.setdefault(name, [])
    return {name: (name in traded, tuple(who)) for name, who in found.items()}


def step(
    shard: Shard,
    batch: TickBatch,
    place: tuple[int, int],
    interested: Mapping[str, Interest],
    shards: ShardMap,
) -> tuple[list[Signal], list[Failure]]:
    """Run every tick of a batch through the strategies that see its instrument, and change `shard`.

    `place` is (shard number, offset). Returns the signals in order and the strategies that raised: the result of a
    strategy's tick that raised is dropped, and the strategy sees no further tick.
    """
    signals: list[Signal] = []
    failures: list[Failure] = []
    states, paused, quotes = shard.states, shard.paused, shard.quotes
    origin = Place(batch.source, batch.run, place[1])
    for tick in batch.ticks:
        instrument = tick.instrument
        if instrument not in interested:
            continue
        traded, watching = interested[instrument]
        if traded:
            quotes[instrument] = (tick, origin)
        for strategy_id, strategy in watching:
            if paused and strategy_id in paused:
                continue
            try:
                state, decisions = strategy.step(states[strategy_id], tick)
                if decisions:
                    signals += _signals(shard, strategy, batch, place, tick, decisions, shards, signals)
            except (Exception, SystemExit) as error:  # noqa: BLE001  the user's code: it is paused, alone and visibly
                reason = f"{_what(error)} at a tick of {instrument} ({batch.source}/{batch.run}/{tick.row})"
                shard.pause(strategy_id, reason)
                failures.append(Failure(strategy_id, reason, traceback.format_exc()))
                continue
            states[strategy_id] = state
    return signals, failures


def _what(error: BaseException) -> str:
    """What a strategy raised, as text that can be sent, whatever its author has put into it."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  the user's code, too
        text = "an error that cannot be printed"
    return f"{type(error).__name__}: {text}".encode(errors="replace").decode()


def _signals(
    shard: Shard,
    strategy: Strategy[Any],
    batch: TickBatch,
    place: tuple[int, int],
    tick: Tick,
    decisions: Sequence[Decision],
    shards: ShardMap,
    earlier: Sequence[Signal],
) -> list[Signal]:
    """The signals of one strategy at one tick; `earlier` are those of the same record."""
    number, offset = place
    cause = TickRef(source=batch.source, run=batch.run, row=tick.row, shard=number, offset=offset, time=tick.time)
    if len({decision.instrument for decision in decisions}) < len(decisions):
        raise ValueError("decided twice on one instrument")
    for decision in decisions:
        _check(decision, strategy.config, number, shards)
    wanted = [
        (decision, instrument)
        for decision in decisions
        for instrument in _instruments(shard, decision, strategy.config, cause, shards)
    ]
    producer = f"{brain_writer(number)}/{strategy.config.strategy_id}"
    # A function of the log alone, however much of it is stepped again and whichever strategies were paused meanwhile.
    first = (offset << _NUMBERS) + sum(1 for signal in earlier if signal.producer == producer)
    return [
        _signal(shard, strategy, batch.world, cause, decision, instrument, shards, producer, first + n)
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
    price = _quote(shard, contract.underlying, cause.shard, shards)
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
        quote=_quote(shard, instrument, cause.shard, shards),
        producer=producer,
        sequence=sequence,
    )


def _quote(shard: Shard, instrument: str, number: int, shards: ShardMap) -> Quote | None:
    seen = shard.quotes.get(instrument)
    if seen is None:
        return None
    (tick, origin), scale = seen, shards.instruments[instrument].decimals
    ref = TickRef(
        source=origin.source, run=origin.run, row=tick.row, shard=number, offset=origin.offset, time=tick.time
    )
    return Quote(
        tick=ref,
        price=price_of(tick.price, scale),
        bid=None if tick.bid is None else price_of(tick.bid, scale),
        ask=None if tick.ask is None else price_of(tick.ask, scale),
        volume=tick.volume,
    )


class Brain(Agent):
    """Runs the strategies on every tick of this worker's shards."""

    name = "strategy"
    outbox = False

    def __init__(
        self, context: Context, strategies: Sequence[Strategy[Any]], shards: ShardMap, namespaces: Sequence[str]
    ) -> None:
        self._context = context
        self._strategies = strategies
        self._map = shards
        self._interested = interests(strategies, quoted((one.config for one in strategies), shards.instruments))
        self._raw = {
            namespace: (
                context.topics.of(namespace, "signals.raw"),
                namespace.encode(),
                partition_of(namespace.encode(), context.partitions),
            )
            for namespace in namespaces
        }
        self.inputs = (read_ticks(context.topics.ticks),)

    def open(self, part: Part) -> None:
        part.memory = None  # the revision of the levels that the row has taken in

    def load(self, key: str, data: bytes) -> Shard:
        row = read_row(BrainRow, data)
        quotes = {name: (tick, Place(source, run, offset)) for name, (source, run, offset, tick) in row.quotes.items()}
        shard = Shard({}, quotes, dict(row.paused), dict(row.fanout), row.signals, dict(row.states), dict(row.unsaid))
        shard.contracts = Contracts({name: dict(own) for name, own in row.entered.items()}, dict(row.unresolved))
        for strategy in self._strategies:
            strategy_id = strategy.config.strategy_id
            kept = row.states.get(strategy_id)
            shard.states[strategy_id] = strategy.initial()
            if kept is None or kept.config != strategy.config.version:
                shard.changed = True
                continue
            try:
                shard.states[strategy_id] = strategy.load(kept.data)
            except Exception as error:  # noqa: BLE001  as in step: the user's code
                self._fail(shard, strategy_id, error, f"while its state of shard {key} was loaded")
        return shard

    def dump(self, shard: Shard) -> bytes:
        for strategy in self._strategies:
            strategy_id, version = strategy.config.strategy_id, strategy.config.version
            try:
                data = strategy.dump(shard.states[strategy_id])
                if len(orjson.dumps(data)) > _MAX_STATE_BYTES:
                    raise ValueError(f"a state of more than {_MAX_STATE_BYTES} bytes cannot be stored every second")
            except Exception as error:  # noqa: BLE001  as in step: the user's code; its last state stays stored
                self._fail(shard, strategy_id, error, "while its state was stored")
            else:
                shard.stored[strategy_id] = StoredState.model_construct(config=version, data=data)
        row = BrainRow.model_construct(
            signals=shard.signals,
            fanout=shard.fanout,
            states={
                s.config.strategy_id: shard.stored[s.config.strategy_id]
                for s in self._strategies
                if s.config.strategy_id in shard.stored
            },
            paused=shard.paused,
            unsaid=shard.unsaid,
            quotes={name: (*astuple(origin), tick) for name, (tick, origin) in shard.quotes.items()},
            entered=shard.contracts.entered,
            unresolved=shard.contracts.unresolved,
        )
        return row.model_dump_json().encode()

    def _fail(self, shard: Shard, strategy_id: str, error: Exception, when: str) -> None:
        reason = f"{_what(error)} {when}"
        if strategy_id not in shard.paused:
            shard.pause(strategy_id, reason)
            _log.error("strategy %s raised and is paused: %s\n%s", strategy_id, reason, traceback.format_exc())

    def refresh(self, part: Part) -> bool:
        """Take in which strategies are paused, and a configuration that has changed: durable before any further tick,
        so that a crash does not step the ticks before it under the new setting. One that raised is so before others
        hear of it: else they could pause it at an earlier tick."""
        levels, shard = self._context.levels, self._shard(part)
        changed = shard.changed or shard.unstored
        shard.changed = shard.unstored = False
        if part.memory != levels.revision:
            part.memory = levels.revision
            changed |= self._follow(shard)
        if changed:
            part.rows.put(str(part.partition), shard)
        return changed

    def _follow(self, shard: Shard) -> bool:
        """Pause and resume as the levels say; True if that changed something."""
        changed, levels = False, self._context.levels
        for strategy in self._strategies:
            strategy_id = strategy.config.strategy_id
            level = levels.paused(strategy_id)
            if level is not None and strategy_id not in shard.paused:
                shard.paused[strategy_id] = level.reason
                changed = True
            elif level is None and strategy_id in shard.paused:
                if strategy_id in shard.unsaid:
                    continue  # it is this shard that has yet to say so
                del shard.paused[strategy_id]
                changed = True
        return changed

    def announce(self, part: Part) -> list[Output]:
        """Pause what raised on every shard and worker: a level, so that it lasts until an operator resumes it."""
        shard = self._shard(part)
        if not shard.unsaid:
            return []
        levels = [self._level(strategy_id, reason) for strategy_id, reason in shard.unsaid.items()]
        shard.unsaid.clear()
        part.rows.put(str(part.partition), shard)
        return levels

    def _shard(self, part: Part) -> Shard:
        shard: Shard | None = part.rows.get(str(part.partition))
        if shard is None:
            shard = Shard({strategy.config.strategy_id: strategy.initial() for strategy in self._strategies})
            part.rows.put(str(part.partition), shard)
        return shard

    def step(self, part: Part, item: Item, offset: int) -> list[Output]:
        batch: TickBatch | Beat = item.event
        shard = self._shard(part)
        outputs: list[Output] = []
        if isinstance(batch, TickBatch):
            signals, failures = step(shard, batch, (part.partition, offset), self._interested, self._map)
            part.rows.put(str(part.partition), shard)
            for failure in failures:
                _log.error(
                    "strategy %s raised and is paused; mend it, then `panda strategy resume %s`: %s\n%s",
                    failure.strategy_id,
                    failure.strategy_id,
                    failure.reason,
                    failure.details,
                )
            while shard.contracts.news:
                _log.warning("%s", shard.contracts.news.pop(0))
            for signal in signals:
                value = encode(signal)
                shard.signals += 1
                for broker in self._context.strategies[signal.strategy_id].brokers:
                    topic, key, partition = self._raw[broker]
                    shard.fanout[broker] = shard.fanout.get(broker, 0) + 1
                    outputs.append(Output(topic, key, value, partition))
        return outputs

    def _level(self, strategy_id: str, reason: str) -> Output:
        context = self._context
        scope = strategy_scope(strategy_id)
        level = Level(
            world=context.world,
            scope=scope,
            setting=STRATEGY_STATE,
            value="PAUSED",
            who=context.identity.name,
            at=context.now_ms(),
            reason=reason,
        )
        key, value = level_key(scope, STRATEGY_STATE), encode(level)
        context.levels.apply(context.topics.control, key, value)
        return Output(context.topics.control, key, value)

    def beat(self, part: Part, reached: int, now: float) -> list[Output]:
        value = encode(StageBeat(world=self._context.world, producer=brain_writer(part.partition), time=reached))
        return [Output(topic, key, value, partition) for topic, key, partition in self._raw.values()]

    def stored(self, part: Part, rows: Mapping[str, Any]) -> None:
        for key, shard in rows.items():
            self._mirror(key, shard.fanout, shard.signals)

    def mirror(self, rows: Iterable[tuple[bytes, bytes]]) -> Iterable[None]:
        """Write this worker's part of the mirror again, a row at a time."""
        for key, value in rows:
            row = read_row(BrainRow, value)
            self._mirror(key.decode(), row.fanout, row.signals)
            yield

    def _mirror(self, number: str, fanout: Mapping[str, int], signals: int) -> None:
        keys = Keys("brain")
        self._context.mirror.put(keys.fanout_of(number), orjson.dumps({"counts": fanout}), version=signals)
        self._context.mirror.add(keys.fanout, number)
