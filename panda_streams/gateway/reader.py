"""Reads the records of a world from Redis, in four round trips whatever their number."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from redis.exceptions import RedisError

from panda_streams.errors import ServerUnreachable
from panda_streams.gateway.state import Raw, RawArm, assemble, known_namespaces
from panda_streams.gateway.views import State
from panda_streams.identity import Role, World
from panda_streams.keys import STAMP, Keys
from panda_streams.mirror import connect, place
from panda_streams.mirrored import BrokerRecord

__all__ = ["Reader"]

_BRAIN = Keys(Role.BRAIN.value)
_PROCESS_SCOPES = (Role.FEED.value, Role.BRAIN.value, Role.GATEWAY.value, Role.KITESIM.value)


class Reader:
    """Reads one world's Redis; every method raises ServerUnreachable if Redis does not answer."""

    def __init__(self, redis_url: str, world: World, installed: Mapping[str, BrokerRecord]) -> None:
        self._place = place(redis_url)
        self._redis = connect(redis_url, decode_responses=True, encoding_errors="replace")
        self._world = world
        self._installed = installed

    async def stamp(self) -> str | None:
        """The stamp of the Redis database, undecoded."""
        stamp: str | None = (await self._ask([("GET", STAMP)]))[0]
        return stamp

    async def state(self) -> State:
        """The state of the world now."""
        raw = await self._raw()
        return assemble(raw, self._world, self._installed, time.time_ns() // 1_000_000)

    async def close(self) -> None:
        await self._redis.aclose()

    async def _raw(self) -> Raw:
        stamp, strategies, shards = await self._ask(
            [("GET", STAMP), ("GET", _BRAIN.strategies), ("SMEMBERS", _BRAIN.fanout)]
        )
        namespaces = known_namespaces(strategies, self._installed)
        arms = {namespace: Keys(namespace) for namespace in namespaces}
        scopes = [Keys(scope) for scope in (*_PROCESS_SCOPES, *namespaces)]

        portfolios, orders, instances = _thirds(
            await self._ask(
                [("SMEMBERS", keys.portfolios) for keys in arms.values()]
                + [("SMEMBERS", keys.orders) for keys in arms.values()]
                + [("SMEMBERS", keys.instances) for keys in scopes],
            ),
            len(arms),
        )
        strategy_ids = dict(zip(arms, portfolios, strict=True))
        position_sets = [
            (namespace, strategy_id, keys.positions(strategy_id))
            for namespace, keys in arms.items()
            for strategy_id in sorted(strategy_ids[namespace])
        ]
        instruments = await self._ask([("SMEMBERS", key) for _, _, key in position_sets])

        fanout_keys = [_BRAIN.fanout_of(shard) for shard in shards]
        health_keys = [
            keys.health(instance) for keys, found in zip(scopes, instances, strict=True) for instance in found
        ]
        wanted = [key for keys in arms.values() for key in (keys.risk, keys.link, keys.trader)]
        wanted += fanout_keys + health_keys
        wanted += [keys.portfolio(name) for ns, keys in arms.items() for name in strategy_ids[ns]]
        wanted += [keys.order(name) for keys, found in zip(arms.values(), orders, strict=True) for name in found]
        wanted += [
            arms[ns].position(strategy_id, instrument)
            for (ns, strategy_id, _), found in zip(position_sets, instruments, strict=True)
            for instrument in found
        ]
        values = await self._values(wanted)

        def held(keyed: Iterable[tuple[str, str]]) -> dict[str, str]:
            # An index names a key a moment before the key is there, or after it has gone.
            return {name: values[key] for name, key in keyed if key in values}

        positions: dict[str, dict[str, dict[str, str]]] = {namespace: {} for namespace in arms}
        for (ns, strategy_id, _), found in zip(position_sets, instruments, strict=True):
            positions[ns][strategy_id] = held((name, arms[ns].position(strategy_id, name)) for name in found)
        return Raw(
            stamp=stamp,
            strategies=strategies,
            fanout=held((key, key) for key in fanout_keys),
            arms={
                ns: RawArm(
                    risk=values.get(keys.risk),
                    link=values.get(keys.link),
                    trader=values.get(keys.trader),
                    portfolios=held((name, keys.portfolio(name)) for name in strategy_ids[ns]),
                    positions=positions[ns],
                    orders=held((name, keys.order(name)) for name in found),
                )
                for (ns, keys), found in zip(arms.items(), orders, strict=True)
            },
            health=held((key, key) for key in health_keys),
        )

    async def _values(self, keys: list[str]) -> dict[str, str]:
        if not keys:
            return {}
        found = (await self._ask([("MGET", *keys)]))[0]
        return {key: value for key, value in zip(keys, found, strict=True) if value is not None}

    async def _ask(self, commands: Sequence[tuple[str, ...]]) -> list[Any]:
        if not commands:
            return []
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                answers: list[Any] = await pipeline.execute()
                return answers
        except (RedisError, OSError, TimeoutError) as error:
            raise ServerUnreachable(
                f"Redis at {self._place} does not answer: {type(error).__name__}",
                fix="start it, or correct REDIS_URL; the numbers come back by themselves",
            ) from None


def _thirds(answers: list[Any], count: int) -> tuple[list[Any], list[Any], list[Any]]:
    """Split the answers about `count` arms twice, and the rest."""
    return answers[:count], answers[count : 2 * count], answers[2 * count :]
