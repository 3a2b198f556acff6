"""The brain's agent. Input: market.ticks. Row: one a shard. Output: each signal, the same bytes, to every broker."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from agents.context import Context
from panda_streams.codec import decode_market, encode
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.signals import Decision, Quote, Signal, identify
from panda_streams.domain.ticks import Tick, TickRef, price_of
from panda_streams.events import Beat, Level, TickBatch
from panda_streams.keys import Keys
from panda_streams.levels import STRATEGY_STATE, strategy_scope
from panda_streams.streams.loop import Output, Record
from panda_streams.streams.rows import LogTable
from panda_streams.topics import level_key
from strategies.interface import Strategy
from tables import read_row
from tables.brain import BrainRow, StoredState

__all__ = ["Brain", "Shard", "step"]

_CHECKPOINTS_IN_FLIGHT = 256
"""Rows that may wait for their acknowledgement: more would only use memory."""


@dataclass(slots=True)
class Shard:
    """What the brain holds of one shard between two records."""

    row: BrainRow
    states: dict[str, Any]
    """State by strategy_id, as the strategies' own type."""
    quotes: dict[str, tuple[TickRef, Tick]] = field(default_factory=dict)
    """Last tick by instrument."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A strategy that raised, and where."""

    strategy_id: str
    reason: str
    details: str


def step(
    shard: Shard,
    batch: TickBatch,
    place: tuple[int, int],
    interested: Mapping[str, list[Strategy[Any]]],
    paused: Callable[[str], bool],
    shards: ShardMap,
) -> tuple[dict[str, Any], list[Signal], list[Failure]]:
    """Run every tick of a batch through the strategies that see its instrument.

    `place` is (shard number, offset). Returns the new states, the signals in order and the strategies that raised; the
    result of a strategy's tick that raised is dropped, and the strategy sees no further tick.
    """
    states = dict(shard.states)
    signals: list[Signal] = []
    failures: list[Failure] = []
    failed: set[str] = set()
    number, offset = place
    for tick in batch.ticks:
        ref = TickRef.model_construct(
            source=batch.source, run=batch.run, row=tick.row, shard=number, offset=offset, time=tick.time
        )
        shard.quotes[tick.instrument] = (ref, tick)
        for strategy in interested.get(tick.instrument, ()):
            strategy_id = strategy.config.strategy_id
            if strategy_id in failed or paused(strategy_id):
                continue
            try:
                state, decisions = strategy.step(states[strategy_id], tick)
                made = [_signal(shard, strategy, batch.world, ref, decision, shards) for decision in decisions]
                if len({signal.signal_id for signal in made}) < len(made):
                    raise ValueError("decided twice on one instrument")
            except Exception as error:  # noqa: BLE001  a strategy is the user's code: it is paused, alone and visibly
                failed.add(strategy_id)
                reason = f"{type(error).__name__}: {error} at a tick of {tick.instrument} ({ref.key})"
                failures.append(Failure(strategy_id, reason, traceback.format_exc()))
                continue
            states[strategy_id] = state
            for signal in made:
                signals.append(signal.model_copy(update={"sequence": shard.row.sequence + len(signals)}))
    return states, signals, failures


def _signal(
    shard: Shard,
    strategy: Strategy[Any],
    world: str,
    cause: TickRef,
    decision: Decision,
    shards: ShardMap,
) -> Signal:
    config = strategy.config
    if decision.instrument not in config.trades:
        raise ValueError(f"decided on {decision.instrument}, which is not among what it trades")
    if cause.shard not in shards.shards(decision.instrument):
        # A watched index is on every shard: each of them would say this signal, and one alone has the ticks to fill it.
        raise ValueError(f"decided on {decision.instrument}, whose ticks are not on this shard ({cause.shard})")
    quote = None
    if decision.instrument in shard.quotes:
        seen_at, tick = shard.quotes[decision.instrument]
        scale = shards.instruments[decision.instrument].decimals
        quote = Quote(
            tick=seen_at,
            price=price_of(tick.price, scale),
            bid=None if tick.bid is None else price_of(tick.bid, scale),
            ask=None if tick.ask is None else price_of(tick.ask, scale),
        )
    return Signal(
        world=world,
        signal_id=identify("signal", config.strategy_id, config.version, decision.instrument, cause.key),
        strategy_id=config.strategy_id,
        config=config.version,
        instrument=decision.instrument,
        side=decision.side,
        intent=decision.intent,
        cause=cause,
        quote=quote,
        producer=f"brain/{cause.shard}",
        sequence=0,
    )


class Brain:
    """Runs the strategies on every tick of this worker's shards."""

    def __init__(self, context: Context, table: LogTable, strategies: list[Strategy[Any]], shards: ShardMap) -> None:
        self._context = context
        self._table = table
        self._strategies = strategies
        self._map = shards
        self._traded = frozenset(name for strategy in strategies for name in strategy.config.trades)
        self._interested: dict[str, list[Strategy[Any]]] = {}
        for strategy in strategies:
            for instrument in strategy.config.instruments:
                self._interested.setdefault(instrument, []).append(strategy)
        self._shards: dict[int, Shard] = {}

    @property
    def topics(self) -> list[str]:
        return [self._context.topics.ticks]

    def forget(self) -> None:
        """Drop what is held in memory: the rows may have changed hands."""
        self._shards.clear()

    async def handle(self, record: Record) -> int | None:
        market = decode_market(record.value)
        if isinstance(market, Beat):
            return market.time
        shard = self._shards.get(record.partition) or await self._load(record.partition)
        if record.offset <= shard.row.applied:
            return market.time
        states, signals, failures = step(
            shard,
            market,
            (record.partition, record.offset),
            self._interested,
            lambda strategy_id: self._context.levels.paused(strategy_id) is not None,
            self._map,
        )
        stored = self._dump(shard, states, failures)
        outputs = [
            Output(self._context.topics.of(broker, "signals.raw"), broker.encode(), encode(signal))
            for signal in signals
            for broker in self._context.strategies[signal.strategy_id].brokers
        ]
        await self._context.loop.send(outputs)
        shard.states = states
        await self._checkpoint(record, shard, stored, signals, wait=bool(signals or failures))
        # Last: with the strategy paused the batch would be stepped differently after a crash before the checkpoint, and
        # other signals would take the sequence numbers of those that were sent.
        for failure in failures:
            await self._pause(failure)
        return market.time

    def _dump(self, shard: Shard, states: dict[str, Any], failures: list[Failure]) -> dict[str, StoredState]:
        """The states as they are stored; a strategy whose state cannot be has failed, and goes back to its last one."""
        stored = {}
        for strategy in self._strategies:
            strategy_id, version = strategy.config.strategy_id, strategy.config.version
            try:
                data = strategy.dump(states[strategy_id])
                orjson.dumps(data)
            except Exception as error:  # noqa: BLE001  as in step: the user's code
                reason = f"{type(error).__name__}: {error} while its state was stored"
                failures.append(Failure(strategy_id, reason, traceback.format_exc()))
                states[strategy_id] = shard.states[strategy_id]
                if strategy_id in shard.row.states:
                    stored[strategy_id] = shard.row.states[strategy_id]
            else:
                stored[strategy_id] = StoredState.model_construct(config=version, data=data)
        return stored

    async def _load(self, number: int) -> Shard:
        stored = self._table.get(_key(number))
        row = read_row(BrainRow, stored) if stored else BrainRow()
        states = {}
        for strategy in self._strategies:
            strategy_id = strategy.config.strategy_id
            kept = row.states.get(strategy_id)
            states[strategy_id] = strategy.initial()
            if kept is None or kept.config != strategy.config.version:
                continue
            try:
                states[strategy_id] = strategy.load(kept.data)
            except Exception as error:  # noqa: BLE001  as in step: the user's code
                reason = f"{type(error).__name__}: {error} while its state of shard {number} was loaded"
                await self._pause(Failure(strategy_id, reason, traceback.format_exc()))
        shard = self._shards[number] = Shard(row, states, dict(row.quotes))
        return shard

    async def _checkpoint(
        self, record: Record, shard: Shard, stored: dict[str, StoredState], signals: list[Signal], *, wait: bool
    ) -> None:
        fanout = dict(shard.row.fanout)
        for signal in signals:
            for broker in self._context.strategies[signal.strategy_id].brokers:
                fanout[broker] = fanout.get(broker, 0) + 1
        shard.row = BrainRow.model_construct(
            applied=record.offset,
            sequence=shard.row.sequence + len(signals),
            fanout=fanout,
            states=stored,
            quotes={name: quote for name, quote in shard.quotes.items() if name in self._traded},
        )
        self._table[_key(record.partition)] = shard.row.model_dump_json().encode()
        if wait or self._table.unacknowledged > _CHECKPOINTS_IN_FLIGHT:
            await self._table.acknowledged()
        if signals:
            self._mirror(record.partition, shard.row)

    async def _pause(self, failure: Failure) -> None:
        """Pause a strategy on every shard and worker: a level, so that it lasts until an operator resumes it."""
        context = self._context
        if context.levels.paused(failure.strategy_id) is not None:
            return  # a state that cannot be stored fails again at every batch
        scope = strategy_scope(failure.strategy_id)
        level = Level(
            world=context.world,
            scope=scope,
            setting=STRATEGY_STATE,
            value="PAUSED",
            who=context.identity.name,
            at=context.now_ms(),
            reason=failure.reason,
        )
        key, value = level_key(scope, STRATEGY_STATE), encode(level)
        await context.loop.send([Output(context.topics.control, key, value)])
        context.levels.apply(context.topics.control, key, value)
        context.loop.log.error(
            "strategy %s raised and is paused; mend it, then `panda strategy resume %s`: %s\n%s",
            failure.strategy_id,
            failure.strategy_id,
            failure.reason,
            failure.details,
        )

    def mirror_rows(self) -> None:
        """Write this worker's part of the mirror again."""
        for key, value in self._table.rows():
            self._mirror(int(key), read_row(BrainRow, value))

    def _mirror(self, number: int, row: BrainRow) -> None:
        keys = Keys("brain")
        self._context.mirror.put(keys.fanout_of(number), orjson.dumps({"counts": row.fanout}), version=row.sequence)
        self._context.mirror.add(keys.fanout, str(number))


def _key(shard: int) -> bytes:
    return str(shard).encode()
