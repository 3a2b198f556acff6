"""The brain's agent. Input: market.ticks. Row: one a shard. Output: each signal, the same bytes, to every broker."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from agents.brain.contracts import Contracts, quoted
from agents.brain.shard import Shard, described, step
from agents.context import Context
from agents.reading import brain_writer, read_ticks
from panda_streams.codec import encode
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.ticks import Place
from panda_streams.events import Beat, Level, StageBeat, TickBatch
from panda_streams.keys import Keys
from panda_streams.levels import STRATEGY_STATE, strategy_scope
from panda_streams.streams.agent import Agent, Output, Part
from panda_streams.streams.inputs import Item
from panda_streams.streams.sender import partition_of
from panda_streams.topics import level_key
from strategies.interface import Strategy
from tables import read_row
from tables.brain import BrainRow, StoredState

__all__ = ["Brain"]

_log = logging.getLogger("panda_streams.brain")

_MAX_STATE_BYTES = 256 * 1024
"""Of one strategy on one shard: the row of all of them must fit into one batch of Kafka."""


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
        self._contracts_need = quoted((one.config for one in strategies), shards.instruments)
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
        entered = {name for own in row.entered.values() for one in own.values() for name in one.instruments}
        shard = Shard(self._strategies, self._contracts_need | entered)
        shard.paused, shard.unsaid = dict(row.paused), dict(row.unsaid)
        shard.signals, shard.fanout, shard.stored = row.signals, dict(row.fanout), dict(row.states)
        shard.contracts = Contracts({name: dict(own) for name, own in row.entered.items()}, dict(row.unresolved))
        for name, (source, run, offset, tick) in row.quotes.items():
            watched = shard.watched.get(name)
            if watched is not None and watched.quoted:
                watched.tick, watched.place = tick, Place(source, run, int(key), offset)
        for strategy_id, running in shard.running.items():
            kept = row.states.get(strategy_id)
            if kept is None or kept.config != running.strategy.config.version:
                shard.changed = True
                continue
            try:
                running.state = running.strategy.load(kept.data)
            except Exception as error:  # noqa: BLE001  as in step: the user's code
                self._fail(shard, strategy_id, error, f"while its state of shard {key} was loaded")
        return shard

    def dump(self, shard: Shard) -> bytes:
        for strategy_id, running in shard.running.items():
            strategy = running.strategy
            try:
                data = strategy.dump(running.state)
                if len(orjson.dumps(data)) > _MAX_STATE_BYTES:
                    raise ValueError(f"a state of more than {_MAX_STATE_BYTES} bytes cannot be stored every second")
            except Exception as error:  # noqa: BLE001  as in step: the user's code; its last state stays stored
                self._fail(shard, strategy_id, error, "while its state was stored")
            else:
                shard.stored[strategy_id] = StoredState.model_construct(config=strategy.config.version, data=data)
        row = BrainRow.model_construct(
            signals=shard.signals,
            fanout=shard.fanout,
            states={name: shard.stored[name] for name in shard.running if name in shard.stored},
            paused=shard.paused,
            unsaid=shard.unsaid,
            quotes={
                name: (one.place.source, one.place.run, one.place.offset, one.tick)
                for name, one in shard.watched.items()
                if one.quoted and one.tick is not None and one.place is not None
            },
            entered=shard.contracts.entered,
            unresolved=shard.contracts.unresolved,
        )
        return row.model_dump_json().encode()

    def _fail(self, shard: Shard, strategy_id: str, error: Exception, when: str) -> None:
        reason = f"{described(error)} {when}"
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
            shard = Shard(self._strategies, self._contracts_need)
            part.rows.put(str(part.partition), shard)
        return shard

    def step(self, part: Part, item: Item, offset: int) -> list[Output]:
        batch: TickBatch | Beat = item.event
        shard = self._shard(part)
        outputs: list[Output] = []
        if isinstance(batch, TickBatch):
            place = Place(batch.source, batch.run, part.partition, offset)
            signals, failures = step(shard, batch, place, self._map)
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
