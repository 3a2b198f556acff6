"""`panda up` runs a whole deployment, `panda servers` only what its processes need."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import click

from panda_streams.alerts import Alerter, Origin, open_alerter
from panda_streams.alerts.ends import alert_of
from panda_streams.brokers.port import registered_brokers
from panda_streams.cli.leaving import Leaving, left_behind
from panda_streams.cli.live_status import HealthReader, Screen, screen
from panda_streams.embedded.deployment import Deployment, deploy
from panda_streams.embedded.procfile import children_environment, find_procfile, read_procfile
from panda_streams.embedded.supervisor import Ended, Supervisor
from panda_streams.errors import BadInput, ServerUnreachable, SettingsError
from panda_streams.gateway.reader import Reader
from panda_streams.gateway.state import broker_records
from panda_streams.identity import Clock, Role, World
from panda_streams.kite import KiteProfile
from panda_streams.settings import Settings, load_settings

__all__ = ["servers", "up"]

_SIMULATOR = "sim"
_KITE = "kite"


@click.command()
@click.option("--feed", metavar="sim|kite|FILE", help="What to publish: the market simulator, Kite, or a recording.")
@click.option("--speed", metavar="N|max", help="Event seconds a wall second.")
@click.option(
    "--procfile", type=click.Path(path_type=Path), help="The list of processes; else the Procfile of the directory."
)
@click.option("--world", metavar="NAME", help="sim, replay:<name> or live; a recording is replayed in one of its own.")
@click.option(
    "--clock",
    type=click.Choice([clock.value for clock in Clock]),
    help="For a new world: event time (replay), or nobody waits.",
)
def up(feed: str | None, speed: str | None, procfile: Path | None, world: str | None, clock: Clock | None) -> None:
    """Run everything: servers where none is given, and every process of the Procfile, until Ctrl-C.

    A second start goes on from where the first stopped. While a live arm has positions or orders at a broker that is no
    simulator, Ctrl-C asks first: a second one is the answer.
    """
    settings = _settings(feed, speed, clock)
    wanted, processes = _world(settings, world), procfile or find_procfile()
    leaving = Leaving()
    _run(lambda stopping: _up(settings, wanted, processes, stopping, leaving), leaving)


@click.command()
@click.option("--world", metavar="NAME", help="sim, replay:<name> or live.")
@click.option(
    "--clock",
    type=click.Choice([clock.value for clock in Clock]),
    help="For a new world: event time (replay), or nobody waits.",
)
def servers(world: str | None, clock: Clock | None) -> None:
    """Run only the servers, ready for processes that are started by hand, by honcho or by another supervisor."""
    settings = _settings(None, None, clock)
    wanted = _world(settings, world)
    _run(lambda stopping: _servers(settings, wanted, stopping))


def _settings(feed: str | None, speed: str | None, clock: Clock | None) -> Settings:
    settings = load_settings()
    update: dict[str, Any] = {"feed_speed": speed} if speed else {}
    if clock:
        update["clock"] = Clock(clock)
    source = feed or settings.feed
    if source == _KITE and settings.kite_profile is KiteProfile.SIMULATOR:
        raise SettingsError(
            "the feed is to be Kite, and PANDA_KITE_PROFILE is simulator: that has no ticks but those of this feed",
            fix="set PANDA_KITE_PROFILE to production or sandbox, or take another feed, as --feed sim",
        )
    if source not in (_SIMULATOR, _KITE):
        path = Path(source).expanduser().absolute()
        if not path.is_file():
            name = "--feed" if feed else "PANDA_FEED"
            raise BadInput(
                f"{name}: there is no file {source}", fix=f"write {_SIMULATOR}, {_KITE}, or the path of a recording"
            )
        source = str(path)
    return settings.model_copy(update={**update, "feed": source})


def _world(settings: Settings, name: str | None) -> World:
    if name and settings.world and name != settings.world:
        raise SettingsError(f"--world {name}, but PANDA_WORLD={settings.world}", fix="unset one of them")
    if wanted := name or settings.world:
        return World(wanted)
    if settings.feed == _KITE and settings.kite_profile is KiteProfile.PRODUCTION:
        return World("live")
    return World("sim") if settings.feed in (_SIMULATOR, _KITE) else World.of_recording(Path(settings.feed))


def _run(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]], leaving: Leaving | None = None) -> None:
    """Run `main` until a signal asks to stop; what it cleans up is waited for. Ctrl-C may ask back, as `leaving` says.

    `main` is cancelled then, and its argument is set: a library may lose a cancellation that comes at a bad moment.
    """

    async def run() -> None:
        stopping = asyncio.Event()
        task = asyncio.current_task()
        assert task is not None

        def interrupted() -> None:
            question = leaving.question() if leaving is not None and not stopping.is_set() else ""
            if question:
                click.echo(question, err=True)
            else:
                stop()

        def stop() -> None:
            if not stopping.is_set():  # an impatient second signal must not break off the clean-up
                stopping.set()
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and a shell's & have it
                ended = interrupted if number is signal.SIGINT else stop
                asyncio.get_running_loop().add_signal_handler(number, ended)
        try:
            await main(stopping)
        except asyncio.CancelledError:
            if not stopping.is_set():
                raise
        click.echo("everything is stopped")

    asyncio.run(run())


async def _up(settings: Settings, world: World, procfile: Path, stopping: asyncio.Event, leaving: Leaving) -> None:
    home = settings.home_dir
    env = children_environment(
        {
            "PANDA_HOME": str(home.path),
            "PANDA_WORLD": world.name,
            "PANDA_FEED": settings.feed,
            "PANDA_FEED_SPEED": settings.feed_speed,
            **({"PANDA_CLOCK": settings.clock} if settings.clock else {}),
        }
    )
    programs = read_procfile(procfile, env, home.logs(world))
    if settings.kite_profile is not KiteProfile.SIMULATOR:
        programs = [program for program in programs if program.name != Role.KITESIM.value]
    _log_to(home.logs(world) / "up.log")
    alerter = _alerter(settings, world)
    shown = screen()
    try:
        shown.line(f"world {world.name} in {home.path}")
        async with deploy(settings, world, shown.step, shown.changed, _telling(alerter)) as deployment:
            try:
                await deployment.supervisor.run(programs)
                await _show(settings, deployment, shown, stopping, leaving)
            finally:
                shown.close()
                click.echo("stopping")
    finally:
        shown.close()
        alerter.close()


async def _servers(settings: Settings, world: World, stopping: asyncio.Event) -> None:
    _log_to(settings.home_dir.logs(world) / "up.log")
    alerter = _alerter(settings, world)
    shown = screen()
    try:
        shown.line(f"world {world.name} in {settings.home_dir.path}")
        async with deploy(settings, world, shown.step, shown.changed, _telling(alerter)) as deployment:
            shown.close()
            click.echo(f"servers are ready: Kafka {deployment.servers.kafka}; Ctrl-C stops them")
            while not await _pause(stopping, 1.0):
                _check(deployment.supervisor)
    finally:
        shown.close()
        alerter.close()


def _alerter(settings: Settings, world: World) -> Alerter:
    return open_alerter(settings, Origin(world, "supervisor"))


def _telling(alerter: Alerter) -> Callable[[Ended], None]:
    return lambda end: alerter.send(alert_of(end))


async def _show(
    settings: Settings, deployment: Deployment, shown: Screen, stopping: asyncio.Event, leaving: Leaving
) -> None:
    """Show the processes every second until told to stop, and the screen's address once the gateway is ready."""
    servers, brokers = deployment.servers, registered_brokers()
    reader = HealthReader(servers.redis, ["feed", "brain", "kitesim", "gateway", *brokers])
    state = Reader(servers.redis, servers.world, broker_records(brokers))
    dashboard = f"http://127.0.0.1:{settings.ports.gateway}"
    announced = False
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as http:
            while not stopping.is_set():
                begun = time.monotonic()
                _check(deployment.supervisor)
                if not announced and await _is_ready(http, dashboard):
                    announced = True
                    shown.line(f"dashboard: {dashboard}")
                shown.refresh(deployment.supervisor.rows, await reader.read())
                if not servers.world.simulated or settings.kite_profile is not KiteProfile.SIMULATOR:
                    with suppress(ServerUnreachable):  # what was seen last may still be there
                        leaving.behind = left_behind(await state.state())
                await _pause(stopping, begun + 1 - time.monotonic())
    finally:
        await reader.close()
        await state.close()


async def _pause(stopping: asyncio.Event, seconds: float) -> bool:
    """Wait for `seconds`, or until told to stop; return whether that was so."""
    try:
        await asyncio.wait_for(stopping.wait(), max(0.0, seconds))
    except TimeoutError:
        return False
    return True


def _check(supervisor: Supervisor) -> None:
    """Raise what broke the supervisor itself, if anything did."""
    if supervisor.crash_reason is not None:
        raise supervisor.crash_reason


async def _is_ready(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(f"{url}/ready") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def _log_to(path: Path) -> None:
    """Send what libraries log to a file: the terminal is for people."""
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=path, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
