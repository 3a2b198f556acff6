"""`panda feed` publishes a recording, the market simulator or Kite; `panda record` writes what was published."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import click
import uvloop
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from agents.brain.contracts import quoted
from panda_streams.alerts import Origin, open_alerter
from panda_streams.brokers.port import registered_brokers
from panda_streams.calendar_files import calendar_of
from panda_streams.domain.calendar import trading_date
from panda_streams.domain.instruments import Instrument, Instruments
from panda_streams.errors import SettingsError
from panda_streams.feeds.kite import KiteFeed, Wanted
from panda_streams.feeds.paced import Feed, Source
from panda_streams.feeds.publisher import FeedState, Publisher
from panda_streams.feeds.recorder import record as record_world
from panda_streams.feeds.recording import Faults, SymbolMap
from panda_streams.feeds.replay import Replay
from panda_streams.feeds.simulator import Simulator
from panda_streams.feeds.standings import event_clock
from panda_streams.identity import Role
from panda_streams.instrument_files import load_instruments
from panda_streams.kite_access import kite_access
from panda_streams.kite_api import KiteApi, numbered
from panda_streams.kite_frames import Mode
from panda_streams.servers import find_servers, identify_process
from panda_streams.settings import Settings, load_settings
from strategies.config import load_strategies

__all__ = ["feed", "parse_speed", "record"]

_log = logging.getLogger(__name__)

_SIM_SPEED = 10.0
_RECORDING_SPEED = 1.0
_LINE_EVERY_S = 5.0


def parse_speed(text: str) -> float | None:
    """Read a speed: event seconds a wall second, or None for `max`; raises ValueError."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not (math.isfinite(speed) and speed > 0):
        raise ValueError(f"expected max, or event seconds a wall second above 0 such as 1 or 10, found {text!r}")
    return speed


class _Speed(click.ParamType):
    name = "speed"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            speed = parse_speed(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return math.inf if speed is None else speed


_speed = click.option(
    "--speed",
    type=_Speed(),
    metavar="N|max",
    help="Event seconds a wall second, or max. Without it PANDA_FEED_SPEED, else 10 for sim and 1 for a recording.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print the final report as JSON.")
_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(invoke_without_command=True)
@click.pass_context
def feed(ctx: click.Context) -> None:
    """Publish ticks into the running world; without a subcommand what PANDA_FEED says.

    A feed that is started again goes on where Kafka ends. Ctrl-C stops it cleanly.
    """
    if ctx.invoked_subcommand is not None:
        return
    settings = load_settings()
    if settings.feed == "sim":
        _simulate(settings, _chosen_speed(settings, None, _SIM_SPEED), as_json=False)
        return
    if settings.feed == "kite":
        _kite(settings, (), Mode.FULL, None, None, as_json=False)
        return
    path = Path(settings.feed).expanduser()
    if not path.is_file():
        raise SettingsError(
            f"PANDA_FEED={settings.feed}: there is no such file", fix="set it to sim, kite or a recording"
        )
    _replay(settings, [path], None, _chosen_speed(settings, None, _RECORDING_SPEED), as_json=False)


@feed.command()
@click.argument("files", nargs=-1, required=True, type=_file, metavar="FILE…")
@_speed
@click.option("--map", "symbol_map", type=_file, help="YAML file: recording symbol to instrument, added to the rules.")
@_json
def replay(files: tuple[Path, ...], speed: float | None, symbol_map: Path | None, as_json: bool) -> None:
    """Replay recordings, one after another: CSV, CSV.gz, or what `panda record` wrote."""
    settings = load_settings()
    _replay(settings, list(files), symbol_map, _chosen_speed(settings, speed, _RECORDING_SPEED), as_json=as_json)


@feed.command()
@_speed
@click.option("--seed", type=int, help="Seed of the market; without it PANDA_SIM_SEED.")
@click.option(
    "--rate",
    type=click.FloatRange(0, 10, min_open=True),
    help="Ticks of an instrument per event second; without it PANDA_SIM_RATE.",
)
@_json
def sim(speed: float | None, seed: int | None, rate: float | None, as_json: bool) -> None:
    """Simulate a market, day after day, the same one for the same seed and rate."""
    settings = load_settings()
    update = {"sim_seed": seed, "sim_rate": rate}
    settings = settings.model_copy(update={name: value for name, value in update.items() if value is not None})
    _simulate(settings, _chosen_speed(settings, speed, _SIM_SPEED), as_json=as_json)


@feed.command()
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode]),
    default=Mode.FULL.value,
    show_default=True,
    help="How much Kite tells: full has times and the order book, quote the day's volume, ltp the last price alone.",
)
@click.option(
    "--instruments",
    "names",
    metavar="ID,…",
    help="As NSE:INFY,NSE:NIFTY 50. Without it all that the strategies watch and trade, and what their contracts can "
    "stand for.",
)
@click.option(
    "--root", metavar="HOST:PORT", help="The kitesim of another deployment; for the profile simulator, the default."
)
@click.option(
    "--record",
    "recording",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write a recording to this file. Kite's terms forbid permanent copies without permission "
    "(kite.trade/terms, 4b). Without it PANDA_KITE_RECORD says whether one is written, below PANDA_HOME.",
)
@_json
def kite(mode: str, names: str | None, root: str | None, recording: Path | None, as_json: bool) -> None:
    """Publish what Kite tells (PANDA_KITE_PROFILE): the real market into the world live, any other Kite into others.

    At most 9,000 instruments, 3,000 on each of three connections. A connection that is lost or says nothing is made
    again, and what was missed is told; so is a session that has ended. Ctrl-C stops it cleanly.
    """
    chosen = tuple(name.strip() for name in names.split(",") if name.strip()) if names else ()
    _kite(load_settings(), chosen, Mode(mode), root, recording, as_json=as_json)


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--follow", is_flag=True, help="Go on with what is published from now on, until Ctrl-C.")
@_json
def record(file: Path, follow: bool, as_json: bool) -> None:
    """Write all ticks that the world's Kafka holds to FILE, for `panda feed replay`."""
    settings = load_settings()
    servers = find_servers(settings)
    _start_logging()
    begun = time.monotonic()

    async def run() -> dict[str, Any]:
        recorded = await record_world(settings, servers, file, _stop_on_signals(asyncio.Event()), follow=follow)
        return {
            "file": str(file),
            "ticks": recorded.ticks,
            "frames": recorded.frames,
            "undecodable_records": recorded.undecodable,
            "seconds": round(time.monotonic() - begun, 1),
        }

    _say(uvloop.run(run()), as_json=as_json)


def _chosen_speed(settings: Settings, given: float | None, default: float) -> float | None:
    """The speed as given, else as set, else `default`; None for max."""
    if given is None and settings.feed_speed:
        try:
            return parse_speed(settings.feed_speed)
        except ValueError as error:
            raise SettingsError(f"PANDA_FEED_SPEED: {error}", fix="correct or unset it") from None
    speed = default if given is None else given
    return None if math.isinf(speed) else speed


def _simulate(settings: Settings, speed: float | None, *, as_json: bool) -> None:
    source = Simulator(load_instruments(settings.instruments), settings.sim_seed, settings.sim_rate)
    console = _start_logging()
    report = uvloop.run(_publish(settings, source, speed, console, lambda: None))
    _say(report, as_json=as_json)


def _replay(
    settings: Settings, files: list[Path], symbol_map: Path | None, speed: float | None, *, as_json: bool
) -> None:
    console = _start_logging()
    faults = Faults(_log.warning)
    source = Replay(files, SymbolMap.read(load_instruments(settings.instruments), symbol_map), faults)
    report = uvloop.run(_publish(settings, source, speed, console, lambda: source.share))
    report |= {"bad_lines": faults.bad_lines, "moved_in_time": source.moved, "unknown_symbols": dict(faults.unknown)}
    _say(report, as_json=as_json)


def _kite(
    settings: Settings, names: tuple[str, ...], mode: Mode, root: str | None, recording: Path | None, *, as_json: bool
) -> None:
    servers = find_servers(settings)
    access = kite_access(settings, servers.world, root)
    instruments = load_instruments(settings.instruments)
    wanted = _wanted(settings, names, instruments, real=access.real)
    if recording is None and settings.kite_record:
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        recording = settings.home_dir.world(servers.world) / "recordings" / f"kite_{stamp}.gz"
    calendar = calendar_of(servers.world, settings.calendar)
    console = _start_logging()
    alerter = open_alerter(settings, Origin.of(identify_process(settings, servers, Role.FEED)))

    async def run() -> dict[str, Any]:
        async with aiohttp.ClientSession() as http:
            by_number = await numbered(KiteApi(access, http), wanted)
        ask = Wanted(by_number, mode, recording)
        feed = KiteFeed(settings, servers, access, ask, instruments, calendar, alerter)
        report = await _run(feed, console, lambda: None)
        missed = [{"line": gap.line, "seconds": round(gap.seconds, 1), "reason": gap.reason} for gap in feed.gaps]
        return report | {"gaps": missed, "moved_in_time": feed.moved, "left_out": dict(feed.counts)}

    try:
        report = uvloop.run(run())
    finally:
        alerter.close()
    _say(report, as_json=as_json)


def _wanted(settings: Settings, names: tuple[str, ...], instruments: Instruments, *, real: bool) -> list[Instrument]:
    """The instruments to be asked for: those named, else those that strategies need; of a real market none expired."""
    if names:
        ids = set(names)
        if unknown := sorted(ids - {one.id for one in instruments}):
            raise SettingsError(
                f"--instruments: {', '.join(unknown)} is not in the list of instruments",
                fix="name it as EXCHANGE:SYMBOL, or add a file that lists it to PANDA_INSTRUMENTS",
            )
    else:
        configs = load_strategies(settings.strategies, instruments, registered_brokers())
        ids = {name for config in configs for name in config.instruments} | quoted(configs, instruments)
    today = trading_date(time.time_ns() // 1_000_000)
    found = [instruments[name] for name in sorted(ids)]
    return [one for one in found if not (real and one.expiry is not None and one.expiry < today)]


async def _publish(
    settings: Settings, source: Source, speed: float | None, console: Console, share: Callable[[], float | None]
) -> dict[str, Any]:
    return await _run(Feed(settings, find_servers(settings), source, speed), console, share)


async def _run(feed: Publisher, console: Console, share: Callable[[], float | None]) -> dict[str, Any]:
    _stop_on_signals(feed.stop)
    begun = time.monotonic()
    showing = asyncio.create_task(_show(feed, console, share))
    try:
        state = await feed.run()
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
    if state is FeedState.FINISHED and not feed.records:
        _log.info("already replayed to its end: nothing to publish")
    return {
        "source": feed.source,
        "run": feed.run_id,
        "state": state.value,
        "ticks": feed.ticks,
        "records": feed.records,
        "event_time": event_clock(feed.time) if feed.time is not None else None,
        "seconds": round(time.monotonic() - begun, 1),
    }


async def _show(feed: Publisher, console: Console, share: Callable[[], float | None]) -> None:
    """Show progress until cancelled: a bar on a terminal, else a line every five seconds."""

    def text() -> str:
        clock = f"{event_clock(feed.time)}, " if feed.time is not None else ""
        return f"{clock}{feed.ticks:,} ticks; {feed.detail}"

    if not console.is_terminal:
        while True:
            await asyncio.sleep(_LINE_EVERY_S)
            _log.info("%s", text())
    columns = (SpinnerColumn(), BarColumn(bar_width=20), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(feed.detail, total=1.0 if share() is not None else None)
        while True:
            progress.update(task, description=text(), completed=share() or 0.0)
            await asyncio.sleep(0.2)


def _stop_on_signals(stop: asyncio.Event) -> asyncio.Event:
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _start_logging() -> Console:
    """Log to stderr, above the progress bar where there is one; return the console that both share."""
    console = Console(stderr=True)
    if console.is_terminal:
        handler: logging.Handler = RichHandler(console=console, show_path=False)
        logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
    else:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return console


def _say(report: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report))
        return
    for name, value in report.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} ({count:,})" for key, count in sorted(value.items())) or "none"
        elif isinstance(value, list):
            value = len(value)
        click.echo(f"{name.replace('_', ' '):>20}  {f'{value:,}' if isinstance(value, int) else value}")
