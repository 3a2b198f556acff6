"""`panda kitesim`: serves a local Kite until it is stopped."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import click

from panda_streams.cli.feed import parse_speed
from panda_streams.errors import SettingsError
from panda_streams.feeds.paced import Source
from panda_streams.feeds.recording import Faults, SymbolMap
from panda_streams.feeds.replay import Replay
from panda_streams.feeds.simulator import Simulator
from panda_streams.identity import Home, Identity, Role, World, locked
from panda_streams.instrument_files import load_instruments
from panda_streams.kitesim.server import Kitesim, Options, Reporter, kitesim_of_source, kitesim_of_world, serve
from panda_streams.mirror import Mirror
from panda_streams.servers import find_servers, identify_process
from panda_streams.settings import Settings, load_settings

__all__ = ["kitesim"]

_log = logging.getLogger(__name__)

_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--source",
    metavar="FILE|sim",
    help="Play a recording or the market simulator instead of the running world's ticks; needs no server.",
)
@click.option(
    "--speed", metavar="N|max", help="With --source: event seconds a wall second. Without it 10 for sim, 1 for a file."
)
@click.option("--port", type=click.IntRange(1024, 65535), help="Without it PANDA_PORT_BASE + 4.")
@click.option("--faults", type=_file, help="YAML file of faults to inject; without it PANDA_KITESIM_FAULTS.")
@click.option("--history", type=_file, help="Recording whose candles are served beside those that were seen.")
@click.option(
    "--no-rate", is_flag=True, help="Answer any number of requests a second; orders are limited all the same."
)
def kitesim(
    source: str | None, speed: str | None, port: int | None, faults: Path | None, history: Path | None, no_rate: bool
) -> None:
    """Serve a local Kite, REST and websocket, on 127.0.0.1: Zerodha's own client works on it.

    It trades on the ticks of the running world, and never forgets an order. Ctrl-C stops it.
    """
    settings = load_settings()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    options = Options(
        port=port or settings.ports.kitesim,
        rate_limits=not no_rate,
        faults=faults,
        history=_source(settings, str(history)) if history is not None else None,
    )
    if source is None:
        if speed is not None:
            raise SettingsError("--speed without --source: the world has a pace of its own", fix="leave it out")
        servers = find_servers(settings)
        identity = identify_process(settings, servers, Role.KITESIM)
        with identity.lock():
            mirror = Mirror(servers.redis, identity.scope)
            asyncio.run(_run(kitesim_of_world(settings, servers, options), servers.world.name, mirror, identity))
        return
    world = _world(settings, source)
    ticks = _source(settings, source)
    pace = _pace(source, speed)
    with locked(
        _lock_file(settings.home_dir, world),
        f"kitesim of world {world.name}",
        fix="stop that process, or set PANDA_WORLD or PANDA_HOME",
    ):
        asyncio.run(_run(kitesim_of_source(settings, world, ticks, pace, options), source))


def _world(settings: Settings, source: str) -> World:
    if settings.world:
        return World(settings.world)
    return World("sim") if source == "sim" else World.of_recording(Path(source))


def _lock_file(home: Home, world: World) -> Path:
    return home.world(world) / "run" / "kitesim-source.lock"


def _source(settings: Settings, name: str) -> Source:
    instruments = load_instruments(settings.instruments)
    if name == "sim":
        return Simulator(instruments, settings.sim_seed, settings.sim_rate)
    path = Path(name).expanduser()
    if not path.is_file():
        raise SettingsError(f"--source {name}: there is no such file", fix="name sim or a recording")
    return Replay([path], SymbolMap.read(instruments, None), Faults(_log.warning))


def _pace(source: str, speed: str | None) -> float | None:
    if speed is None:
        return 10.0 if source == "sim" else 1.0
    try:
        return parse_speed(speed)
    except ValueError as error:
        raise SettingsError(f"--speed: {error}", fix="correct it") from None


async def _run(
    opening: AbstractAsyncContextManager[Kitesim],
    plays: str,
    mirror: Mirror | None = None,
    identity: Identity | None = None,
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with opening as simulator:

        def ready() -> None:
            click.echo(f"kitesim of {plays}: {simulator.url} (REST), {simulator.url.replace('http', 'ws')} (websocket)")

        if mirror is None or identity is None:
            await serve(simulator, stop, ready, lambda: None)
            return
        await mirror.start()
        reporter = Reporter(mirror, identity, simulator)
        try:
            await serve(simulator, stop, ready, reporter.report)
        finally:
            reporter.report("stopped")
            await mirror.stop()
