"""Builds kitesim from the settings, serves it, and reports how it is."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from panda_streams.calendar_files import calendar_of
from panda_streams.codec import encode
from panda_streams.domain.calendar import Calendar
from panda_streams.domain.instruments import Instruments
from panda_streams.domain.matching import PaperMarket, QueueModel
from panda_streams.errors import SettingsError, StampMismatch
from panda_streams.events import Health
from panda_streams.feeds.paced import Source
from panda_streams.identity import Clock as WorldClock
from panda_streams.identity import Identity, Role, World
from panda_streams.instrument_files import load_instruments
from panda_streams.keys import Keys
from panda_streams.kitesim.admin import Admin
from panda_streams.kitesim.broker import Broker
from panda_streams.kitesim.clocks import Clock, LogReader, ReplayClock, SourceClock, WallClock
from panda_streams.kitesim.engine import Engine
from panda_streams.kitesim.faults import Faults, read_scenario
from panda_streams.kitesim.front import Throttle, errors
from panda_streams.kitesim.history import History, candles_of
from panda_streams.kitesim.market import MarketView
from panda_streams.kitesim.rest import Rest
from panda_streams.kitesim.shapes import Shapes
from panda_streams.kitesim.store import Store
from panda_streams.kitesim.ticker import Ticker
from panda_streams.kitesim.tokens import Tokens
from panda_streams.mirror import Mirror
from panda_streams.servers import Servers
from panda_streams.settings import Settings
from panda_streams.streams.client import client_options
from panda_streams.topics import Topics
from panda_streams.worlds import enter, stamp_directory

__all__ = ["Kitesim", "Options", "Reporter", "kitesim_of_source", "kitesim_of_world", "serve"]

_REPORT_S = 1.0
_STOP_S = 2.0


@dataclass(frozen=True, slots=True)
class Options:
    """How kitesim is run, beyond the settings."""

    port: int
    rate_limits: bool = True
    faults: Path | None = None
    """A scenario of faults; None for that of the settings."""
    history: Source | None = None
    """A recording whose candles are served beside those that were seen."""


class Kitesim:
    """One simulated Kite: its web application, and the clock that moves it."""

    def __init__(
        self, settings: Settings, options: Options, engine: Engine, clock: Clock, kind: WorldClock, calendar: Calendar
    ) -> None:
        instruments, view = engine.broker.instruments, engine.broker.view
        tokens = Tokens(instruments)
        shapes = Shapes(instruments, tokens, view, calendar)
        self.options = options
        self.engine = engine
        self.clock = clock
        self.faults = Faults(read_scenario(options.faults or settings.kitesim_faults))
        self.ticker = Ticker(engine, tokens, shapes, self.faults)
        self._rest = Rest(
            engine,
            tokens,
            shapes,
            Throttle(on=options.rate_limits and kind is WorldClock.WALL),
            self.faults,
            History(engine, candles_of(options.history) if options.history is not None else None),
            wall=kind is WorldClock.WALL,
            login_page=f"http://127.0.0.1:{settings.port_base + 5}/kite/callback",
        )
        self._admin = Admin(engine, clock, kind, shapes, self.faults)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.options.port}"

    def app(self) -> web.Application:
        app = web.Application(middlewares=[errors])
        app.add_routes([*self.ticker.routes(), *self._rest.routes(), *self._admin.routes()])
        app.on_shutdown.append(self._close)
        return app

    async def _close(self, app: web.Application) -> None:
        await self.ticker.close()


def _engine(settings: Settings, world: World, file: Path) -> tuple[Engine, Instruments, Calendar]:
    instruments = load_instruments(settings.instruments)
    calendar = calendar_of(world, settings.calendar)
    market = PaperMarket(
        latency_ms=settings.kitesim_latency_ms,
        latency_spread_ms=settings.kitesim_latency_spread_ms,
        slippage=settings.kitesim_slippage,
        participation=settings.kitesim_participation,
        queue=QueueModel.QUEUE,
    )
    broker = Broker(market, instruments, calendar, settings.kitesim_cash, MarketView())
    engine = Engine(Store(file), broker, settings.kite_api_secret.get_secret_value())
    return engine, instruments, calendar


def directory(settings: Settings, world: World) -> Path:
    """Where kitesim keeps its books in a world."""
    return settings.home_dir.world(world) / "kitesim"


@asynccontextmanager
async def kitesim_of_world(settings: Settings, servers: Servers, options: Options) -> AsyncIterator[Kitesim]:
    """A Kite that trades on the world's market.ticks, on the world's clock.

    Raises what entering a world raises. On the wall's clock it has seen all of the log when it is given.
    """
    stamp = await enter(settings, servers)
    books = directory(settings, servers.world)
    try:
        stamp_directory(books, stamp)
    except StampMismatch as error:
        raise StampMismatch(error.args[0], fix=f"move {books} away: kitesim then starts with empty books") from None
    engine, instruments, calendar = _engine(settings, servers.world, books / "kitesim.sqlite")
    reader = LogReader(
        client_options(settings, servers.kafka), Topics(servers.prefix).ticks, settings.partitions, instruments
    )
    try:
        ends = await reader.start(engine.store.places())
        clock: ReplayClock | WallClock
        if servers.clock is WorldClock.REPLAY:
            clock = ReplayClock(engine, reader, settings.partitions)
        else:
            clock = WallClock(engine, reader, settings.partitions)
            await clock.catch_up(ends)
        yield Kitesim(settings, options, engine, clock, servers.clock, calendar)
    finally:
        await reader.stop()
        engine.store.close()


@asynccontextmanager
async def kitesim_of_source(
    settings: Settings, world: World, source: Source, speed: float | None, options: Options
) -> AsyncIterator[Kitesim]:
    """A Kite that plays a source of its own: it needs neither Kafka nor Redis. Each source has its own books."""
    name = f"{source.source}-{source.run}".replace(":", "-").replace("/", "-")
    engine, _, calendar = _engine(settings, world, directory(settings, world) / f"{name}.sqlite")
    try:
        yield Kitesim(settings, options, engine, SourceClock(engine, source, speed), WorldClock.WALL, calendar)
    finally:
        engine.store.close()


async def serve(kitesim: Kitesim, stop: asyncio.Event, ready: Callable[[], None], report: Callable[[], None]) -> None:
    """Serve until `stop` is set; `report` is called every second. Raises SettingsError if the port is taken."""
    async with AsyncExitStack() as stack:
        runner = web.AppRunner(kitesim.app(), shutdown_timeout=_STOP_S)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, "127.0.0.1", kitesim.options.port).start()
        except OSError as error:
            raise SettingsError(
                f"port {kitesim.options.port} of 127.0.0.1 cannot be used: {error.strerror}",
                fix="stop what listens there, name another with --port, or set PANDA_PORT_BASE",
            ) from None
        running = asyncio.create_task(kitesim.clock.run())
        stack.push_async_callback(_cancel, running)
        ready()
        while not stop.is_set():
            report()
            if kitesim.engine.failure is not None:
                raise kitesim.engine.failure
            if running.done():
                running.result()  # a source that has ended is no error, anything else is raised
            try:
                await asyncio.wait_for(stop.wait(), _REPORT_S)
            except TimeoutError:
                continue


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Reporter:
    """Reports kitesim's health to Redis, as every process does."""

    def __init__(self, mirror: Mirror, identity: Identity, kitesim: Kitesim) -> None:
        self._mirror = mirror
        self._identity = identity
        self._kitesim = kitesim
        self._started_at = _now()

    def report(self, state: str = "running") -> None:
        identity, now = self._identity, _now()
        broker = self._kitesim.engine.broker
        health = Health(
            world=identity.world.name,
            role=Role.KITESIM.value,
            namespace=None,
            instance=identity.instance,
            pid=os.getpid(),
            state=state,
            ready=state == "running",
            mode=None,
            detail=f"{broker.counters.orders} orders, {len(broker.exchange.live)} working",
            lag=None,
            events=broker.counters.version,
            last_event_time=broker.time,
            started_at=self._started_at,
            at=now,
            url=self._kitesim.url,
        )
        keys = Keys(identity.scope)
        self._mirror.put(keys.health(identity.instance), encode(health), now)
        self._mirror.add(keys.instances, str(identity.instance))


def _now() -> int:
    return time.time_ns() // 1_000_000
