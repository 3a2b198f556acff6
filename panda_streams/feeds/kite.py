"""The feed of Kite: from its websocket connections to market.ticks.

Kite sends snapshots of what changes, one or two a second and instrument; what is missed while a line is down cannot be
read again. Its terms (https://kite.trade/terms, clause 4b) forbid permanent copies without permission: ticks stay as
long as PANDA_TICK_RETENTION_HOURS, and a recording is written only if somebody asks for one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import ClientSession

from panda_streams.alerts import Alert, Alerter, AlertKind
from panda_streams.domain.calendar import Calendar, market_of
from panda_streams.domain.instruments import Instrument, Instruments
from panda_streams.domain.shards import ShardMap
from panda_streams.errors import SettingsError
from panda_streams.events import Phase
from panda_streams.feeds.batching import FRAME_MS, Frame, Step
from panda_streams.feeds.kite_line import Gap, Line, LineState, Patience, Watch
from panda_streams.feeds.live import LAG_MS, EventClock, Keeper, LiveBatcher, Observed, ToldClock, WallClock
from panda_streams.feeds.publisher import FeedState, Publisher
from panda_streams.feeds.recording import Header, write_recording
from panda_streams.feeds.standings import Last, check_start, reached_by
from panda_streams.kite_access import KiteAccess
from panda_streams.kite_frames import Mode, decode, price_divisor
from panda_streams.servers import Servers
from panda_streams.settings import Settings

__all__ = ["MOST_INSTRUMENTS", "KiteFeed", "Wanted", "share_out"]

_log = logging.getLogger(__name__)

_LINE_INSTRUMENTS = 3_000
_LINES = 3
MOST_INSTRUMENTS = _LINES * _LINE_INSTRUMENTS
"""Three connections of an api key, 3,000 instruments each (https://kite.trade/docs/connect/v3/websocket/)."""
_WAITING = 50_000
"""Ticks that wait for Kafka; beyond it only the newest of each instrument does."""
_LOOK_S = 0.1
_SLACK_MS = 60_000
"""How much later than this machine's clock the world may be, if it was fed until a moment ago."""
_LOGGED = 5
"""Bad frames that are logged one by one; further ones are only counted."""


def share_out(tokens: Sequence[int]) -> list[list[int]]:
    """Share instruments out to as few lines as can take them; raises SettingsError if all that Kite gives cannot."""
    if len(tokens) > MOST_INSTRUMENTS:
        raise SettingsError(
            f"{len(tokens):,} instruments are wanted, and Kite gives {_LINES} connections of {_LINE_INSTRUMENTS:,}",
            fix="name fewer with --instruments, or take strategies with contracts on many strikes out",
        )
    return [list(tokens[begin : begin + _LINE_INSTRUMENTS]) for begin in range(0, len(tokens), _LINE_INSTRUMENTS)]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of Kite, and what becomes of it."""

    instruments: Mapping[int, Instrument]
    """By their numbers at Kite."""
    mode: Mode = Mode.FULL
    recording: Path | None = None
    """Where it is recorded, too; None: nowhere."""
    patience: Patience = field(default_factory=Patience)


class KiteFeed(Publisher):
    """Publishes what Kite tells of the instruments wanted until it is stopped.

    `instruments` is the list that the shards are made of. Raises SettingsError if none is wanted, or more than Kite
    gives, or one whose decimals are not those of Kite's prices.
    """

    def __init__(
        self,
        settings: Settings,
        servers: Servers,
        access: KiteAccess,
        wanted: Wanted,
        instruments: Instruments,
        calendar: Calendar,
        alerter: Alerter,
    ) -> None:
        run = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"[:-3] + "Z"
        super().__init__(settings, servers, access.source, run, real=access.real)
        _check(wanted.instruments)
        self._access = access
        self._wanted = wanted
        self._named = {token: one.id for token, one in wanted.instruments.items()}
        self._shards = ShardMap(settings.partitions, instruments)
        self._calendar = calendar
        self._alerter = alerter
        self._clock: EventClock = WallClock()
        self._batcher: LiveBatcher | None = None
        self._reached: int | None = None
        self._inbox: list[Observed] = []
        self._news = asyncio.Event()
        self._alerted: set[str] = set()
        self._lines = [self._line(*numbered) for numbered in enumerate(share_out(sorted(wanted.instruments)), 1)]
        self.gaps: list[Gap] = []
        """Times in which ticks were missed, the last hundred."""
        self.missed = 0
        """Gaps in all, in which a market traded."""
        self.counts = Counter[str]()
        """Packets that were not published, by reason."""

    def _line(self, number: int, tokens: list[int]) -> Line:
        markets = {market_of(self._wanted.instruments[token]) for token in tokens}

        def is_open() -> bool:
            now = self._clock.now()
            return now is not None and any(self._calendar.is_open(market, now) for market in markets)

        watch = Watch(self._wanted.patience, is_open)
        return Line(number, self._access, tokens, self._wanted.mode, watch, is_open, self._hear, self._tell)

    @property
    def moved(self) -> int:
        """Ticks whose time had gone by for more than a second, and that were given a later one."""
        return self._batcher.moved if self._batcher else 0

    @property
    def _source_is_away(self) -> bool:
        return any(line.state is not LineState.OPEN for line in self._lines)

    def _doing(self) -> str:
        down = [line for line in self._lines if line.state is not LineState.OPEN]
        told = [f"{line.name} is {line.state.value}" + (f": {line.reason}" if line.reason else "") for line in down]
        if not told:
            lines = "1 line" if len(self._lines) == 1 else f"{len(self._lines)} lines"
            told = [f"{len(self._named):,} instruments of {self._source} in mode {self._wanted.mode.value} on {lines}"]
        if self.missed:
            last = next(gap for gap in reversed(self.gaps) if gap.open)
            told.append(f"{self.missed} gaps, the last of {last.seconds:.0f} s ended at {_clock_time(last.ends)}")
        told += [f"{line.name}: Kite says: {line.complaint}" for line in self._lines if line.complaint]
        return "; ".join(told)

    def _begin(self, last: dict[int, Last]) -> bool:
        self._reached = reached = reached_by(last)
        if not self._access.real and self._wanted.mode is Mode.FULL:
            self._clock = ToldClock(reached)  # the other modes do not tell the exchange's time
        if isinstance(self._clock, WallClock):
            begins = (time.time_ns() // 1_000_000 - LAG_MS) // FRAME_MS * FRAME_MS
            if reached is not None and begins < reached <= begins + _SLACK_MS:
                begins = reached
            check_start(last, self._source, self._run, begins)
            self._batcher = self._make_batcher(begins)
        return True

    def _make_batcher(self, begins: int) -> LiveBatcher:
        return LiveBatcher(self._servers.world.name, self._source, self._run, self._shards, begins)

    async def _send_all(self) -> FeedState:
        async with ClientSession() as http:
            running = [asyncio.create_task(line.run(http)) for line in self._lines]
            try:
                with _kept(self._wanted.recording, self._header()) as keep:
                    while not self.stop.is_set():
                        await self._wait()
                        for task in running:
                            if task.done():
                                task.result()
                        for step in self._steps():
                            await self._add(step)
                            await keep(step)
                        await self._send()
                        self._alert()
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)
        await self._drain()
        return FeedState.STOPPED

    def _header(self) -> Header:
        return Header(self._servers.world.name, self._source, self._servers.world.simulated)

    async def _wait(self) -> None:
        """Return as soon as there are ticks, and now and then."""
        try:
            await asyncio.wait_for(self._news.wait(), timeout=_LOOK_S)
        except TimeoutError:
            return
        self._news.clear()

    def _steps(self) -> Iterable[Step]:
        """What there is to be said: the ticks that have come, and the beats of the time that has passed."""
        observed, self._inbox = self._inbox, []
        now = self._clock.now()
        if self._batcher is None:
            if now is None:
                return
            # A simulated market begins where its first ticks are.
            first = min(one.time for one in observed) if observed else now
            begins = (first - 1) // FRAME_MS * FRAME_MS
            self._batcher = self._make_batcher(max(begins, self._reached or 0))
        if observed:
            yield self._batcher.ticks(observed)
        if now is not None:
            phase = Phase.OPEN if self._calendar.open_since(now - LAG_MS) is not None else Phase.CLOSED
            yield from self._batcher.beats(now, phase)

    def _hear(self, data: bytes) -> None:
        decoded = decode(data)
        if decoded.unknown or decoded.missing:
            self.counts["unknown"] += decoded.unknown
            self.counts["cut off"] += decoded.missing
            if sum(self.counts[name] for name in ("unknown", "cut off")) <= _LOGGED:
                _log.warning(
                    "a frame of %d bytes: %d packets of unknown length, %d cut off",
                    len(data),
                    decoded.unknown,
                    decoded.missing,
                )
        named, stamp, inbox = self._named, self._clock.stamp, self._inbox
        for packet in decoded.packets:
            name = named.get(packet.token)
            if name is None:
                self.counts["not subscribed"] += 1
            elif not packet.price:
                self.counts["without a price"] += 1
            elif (at := stamp(packet.time)) is None:
                self.counts["stale"] += 1
            else:
                inbox.append(Observed(name, at, packet))
        if len(inbox) > _WAITING:
            newest: dict[str, Observed] = {}
            for one in inbox:
                newest.pop(one.instrument, None)
                newest[one.instrument] = one
            self.counts["overtaken"] += len(inbox) - len(newest)
            self._inbox = list(newest.values())
        self._news.set()

    def _tell(self, gap: Gap) -> None:
        self.gaps = [*self.gaps[-99:], gap]
        self.missed += gap.open
        _log.warning(
            "line %d is open again: no ticks for %.1f s, from %s on (%s)",
            gap.line,
            gap.seconds,
            _clock_time(gap.begins),
            gap.reason,
        )

    def _alert(self) -> None:
        """Tell people of lines that are down while their market trades, and of a session that has ended."""
        for line in self._lines:
            if line.state is LineState.OPEN:
                if line.name in self._alerted:
                    self._alerted.discard(line.name)
                    gap = f"No ticks came for {self.gaps[-1].seconds:.0f} s." if self.gaps else "Ticks come."
                    self._alerter.send(Alert(AlertKind.FEED_LOST, f"{line.name} to Kite is back", gap))
            elif line.name not in self._alerted:
                if line.state is LineState.LOGGED_OUT:
                    self._alerted.add(line.name)
                    body = (
                        f"The feed gets no ticks: {line.reason}. Log in with `panda kite login`; it goes on by itself."
                    )
                    self._alerter.send(Alert(AlertKind.TOKEN_EXPIRED, "the feed is logged out of Kite", body))
                elif line.down_s > self._wanted.patience.lost_s and line.market_trades:
                    self._alerted.add(line.name)
                    body = (
                        f"No ticks for {line.down_s:.0f} s: {line.reason or 'Kite does not answer'}. It keeps trying."
                    )
                    self._alerter.send(Alert(AlertKind.FEED_LOST, f"{line.name} to Kite is down", body))


@contextmanager
def _kept(path: Path | None, header: Header) -> Iterator[Callable[[Step], Awaitable[None]]]:
    """Give a function that records what was said, if there is a file for it; it appears when the context ends."""
    if path is None:

        async def nothing(step: Step) -> None:
            pass

        yield nothing
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    keeper = Keeper()
    with write_recording(path, header) as write:

        def put(frames: list[Frame]) -> None:
            for frame in frames:
                write(frame)

        async def keep(step: Step) -> None:
            if frames := keeper.add(step):
                await asyncio.to_thread(put, frames)  # it is compressed, which takes its time

        yield keep
        put(keeper.rest())


def _check(subscriptions: Mapping[int, Instrument]) -> None:
    if not subscriptions:
        raise SettingsError("no instrument is wanted", fix="name some with --instruments, or set up a strategy")
    for token, one in subscriptions.items():
        if 10**one.decimals != price_divisor(token):
            raise SettingsError(
                f"{one.id} has decimals {one.decimals}, and Kite tells its price in 1/{price_divisor(token):,}",
                fix=f"set its decimals to {len(str(price_divisor(token))) - 1} in the list of instruments",
            )


def _clock_time(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC).astimezone():%H:%M:%S}"
