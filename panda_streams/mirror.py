"""The mirror: the write side of Redis, behind the agents. It keeps the newest value of each key and flushes them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from panda_streams.errors import ServerUnreachable, SettingsError
from panda_streams.keys import Keys

__all__ = ["Mirror", "connect", "place"]

_log = logging.getLogger(__name__)

_FLUSH_S = 0.1
_IDLE_S = 1.0
"""With nothing to write, Redis is asked this often whether it is still there and still holds what was written."""
_BACKOFF_S = (0.2, 0.4, 0.8, 1.6, 3.0)
_QUIET_S = 30.0
"""A Redis that comes and goes is reported at most this often."""
_STOP_S = 3.0
_CHUNK = 500
"""Operations of one script call: Redis serves nobody else meanwhile, so a call stays at about a millisecond."""

_SCRIPT = """
local versions = KEYS[1]
local known = redis.call('EXISTS', versions)
for i = 2, #KEYS do
  local key, at = KEYS[i], (i - 2) * 3
  local op, value, version = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if op == 'put' or op == 'replace' then
    local held = op == 'put' and redis.call('HGET', versions, key)
    if not held or tonumber(version) >= tonumber(held) then
      redis.call('SET', key, value)
      redis.call('HSET', versions, key, version)
    end
  elseif op == 'remove' then
    redis.call('DEL', key)
    redis.call('HDEL', versions, key)
  elseif op == 'add' then
    redis.call('SADD', key, value)
  elseif op == 'discard' then
    redis.call('SREM', key, value)
  else
    return redis.error_reply('mirror: unknown operation ' .. op)
  end
end
return {known, redis.call('EXISTS', versions)}
"""
"""Applies operations, and tells whether the hash of versions was there before and is there after them."""


def place(redis_url: str) -> str:
    """Where a Redis is, fit for messages: without the user and password that its address may hold."""
    parts = urlsplit(redis_url)
    where = f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else ""
    return f"{where}{parts.path}" or "an unreadable address"


def connect(redis_url: str, *, timeout_s: float = 3.0, **options: Any) -> redis.asyncio.Redis:
    """A client that reports an outage at once; raises SettingsError for an unusable address."""
    try:
        return redis.asyncio.Redis.from_url(
            redis_url,
            socket_connect_timeout=timeout_s,
            socket_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            **options,
        )
    except ValueError:
        # The reason is not chained: it quotes the address, which may hold a password.
        raise SettingsError("REDIS_URL is not an address of a Redis", fix="write redis://host:6379/0") from None


@dataclass(frozen=True, slots=True)
class _Row:
    """The last word on a key: a value, or None for its removal. `fresh`: a removal came before this value."""

    value: bytes | None
    version: int
    fresh: bool = False

    def after(self, earlier: _Row | None) -> _Row:
        """What is left of `earlier` followed by this row: an older version never replaces a newer one."""
        if earlier is None or self.value is None or self.fresh:
            return self
        if earlier.value is None:
            return _Row(self.value, self.version, fresh=True)
        if self.version < earlier.version:
            return earlier
        return _Row(self.value, self.version, earlier.fresh)

    def operation(self) -> tuple[str, bytes, int]:
        if self.value is None:
            return ("remove", b"", 0)
        return ("replace" if self.fresh else "put", self.value, self.version)


class Mirror:
    """Mirrors the rows of one scope to Redis; an outage of Redis never slows or stops its owner.

    `put`, `remove`, `add` and `discard` return at once and are coalesced per key, so memory is bounded by the number
    of keys. They raise ValueError for a key outside `<scope>:`, whatever the state of Redis: paper and live never mix
    there. Call them from the event loop that `start` ran on. The truth is elsewhere, in the owner's tables: whenever
    Redis may have lost something, the owner is asked to put all of its rows again (`on_reconnect`).
    """

    def __init__(self, redis_url: str, scope: str) -> None:
        self._place = place(redis_url)
        self._prefix = Keys(scope).prefix
        self._versions = Keys(scope).versions
        self._redis = connect(redis_url)
        self._rows: dict[str, _Row] = {}
        self._members: dict[tuple[str, str], bool] = {}
        self._callbacks: list[Callable[[], None]] = []
        self._sha: str | None = None
        self._holds_rows = False
        self._lost = False
        self._flushing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._healthy = False
        self._quiet_until = 0.0
        self._outage_logged = False

    @property
    def healthy(self) -> bool:
        """True while Redis takes what is written; learned within a second or two."""
        return self._healthy

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Call `callback` after each outage, and when Redis turns out to be emptied: it puts all owned rows again."""
        self._callbacks.append(callback)

    async def start(self, *, timeout_s: float = 8.0) -> None:
        """Wait for Redis, then flush in the background; raise ServerUnreachable after `timeout_s` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            try:
                await asyncio.wait_for(self._load(), timeout=min(3.0, timeout_s))
                break
            except (RedisError, OSError, TimeoutError) as error:
                if loop.time() >= deadline:
                    await self._redis.aclose()
                    raise ServerUnreachable(
                        f"Redis at {self._place} does not answer: {type(error).__name__}",
                        fix="start it, or correct REDIS_URL",
                    ) from None
                await asyncio.sleep(min(0.2, timeout_s))
        self._healthy = True
        self._task = asyncio.create_task(self._run(), name="mirror")

    def put(self, key: str, value: bytes, version: int) -> None:
        """Set a key to a JSON text unless Redis or a later call has a newer version (0 to 2**53)."""
        self._check(key)
        self._rows[key] = _Row(value, version).after(self._rows.get(key))

    def remove(self, key: str) -> None:
        """Delete a key and forget its version, so that any version may be put afterwards."""
        self._check(key)
        self._rows[key] = _Row(None, 0)

    def add(self, set_key: str, member: str) -> None:
        self._check(set_key)
        self._members[set_key, member] = True

    def discard(self, set_key: str, member: str) -> None:
        self._check(set_key)
        self._members[set_key, member] = False

    async def flush(self) -> bool:
        """Write what is pending now; False if Redis did not take it, and then all of it is kept."""
        async with self._flushing:
            rows, self._rows = self._rows, {}
            members, self._members = self._members, {}
            try:
                await self._write(rows, members)
            except (RedisError, OSError, TimeoutError) as error:
                self._away(error)
                return False
            finally:
                # What was not written goes back, under whatever was said meanwhile.
                self._rows = rows | {key: row.after(rows.get(key)) for key, row in self._rows.items()}
                self._members = members | self._members
            if self._lost or not self._healthy:
                self._back()
            return True

    async def stop(self) -> None:
        """Write what is pending if Redis takes it within three seconds, and disconnect."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            try:
                await asyncio.wait_for(self._drain(), timeout=_STOP_S)
            except TimeoutError:
                _log.warning("Redis at %s did not take the last rows in time", self._place)
        self._healthy = False
        await self._redis.aclose()

    async def _drain(self) -> None:
        # A second time if the first one ended an outage, for then the owner has just put its rows again.
        while await self.flush() and (self._rows or self._members):
            pass

    def _check(self, key: str) -> None:
        if not key.startswith(self._prefix):
            raise ValueError(f"the mirror of {self._prefix} must not write the key {key!r}")

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        asked = loop.time()
        while True:
            await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S)) - 1] if failures else _FLUSH_S)
            if self._rows or self._members or failures or loop.time() - asked >= _IDLE_S:
                failures = 0 if await self.flush() else failures + 1
                asked = loop.time()

    async def _write(self, rows: dict[str, _Row], members: dict[tuple[str, str], bool]) -> None:
        """Write and take out of both dicts what Redis has confirmed; without any it only asks for a sign of life."""
        rows_left, members_left = list(rows.items()), list(members.items())
        while True:
            some_rows, rows_left = rows_left[:_CHUNK], rows_left[_CHUNK:]
            room = _CHUNK - len(some_rows)
            some_members, members_left = members_left[:room], members_left[room:]
            keys = [self._versions, *(key for key, _ in some_rows), *(key for (key, _), _ in some_members)]
            arguments: list[str | bytes | int] = []
            for _, row in some_rows:
                arguments += row.operation()
            for (_, member), present in some_members:
                arguments += ("add" if present else "discard", member, 0)
            await self._call(keys, arguments)
            for key, _ in some_rows:
                del rows[key]
            for key_member, _ in some_members:
                del members[key_member]
            if not rows_left and not members_left:
                return

    async def _call(self, keys: list[str], arguments: Iterable[str | bytes | int]) -> None:
        try:
            sha = self._sha or await self._load()
            answer = await self._redis.evalsha(sha, len(keys), *keys, *arguments)
        except NoScriptError:
            # Redis has restarted: a client that was idle at that moment learns it from nothing else.
            self._lost = True
            answer = await self._redis.evalsha(await self._load(), len(keys), *keys, *arguments)
        held_rows, holds_rows = (bool(count) for count in answer)
        self._lost = self._lost or (self._holds_rows and not held_rows)
        self._holds_rows = holds_rows

    async def _load(self) -> str:
        self._sha = str(await self._redis.script_load(_SCRIPT))
        return self._sha

    def _away(self, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        if self._healthy and now >= self._quiet_until:
            self._quiet_until = now + _QUIET_S
            self._outage_logged = True
            _log.warning(
                "Redis at %s is away (%s: %s): trading goes on, the numbers on the screen stand still",
                self._place,
                type(error).__name__,
                error,
            )
        self._healthy = False

    def _back(self) -> None:
        self._healthy = True
        self._lost = False
        if self._outage_logged:
            self._outage_logged = False
            _log.warning("Redis at %s is back: writing all rows again", self._place)
        for callback in self._callbacks:
            try:
                callback()
            except Exception:  # noqa: BLE001  a mistake of the owner in one callback must not end the mirror
                _log.exception("a callback of the mirror of %s failed", self._prefix)
