"""`panda feed` publishes a recording or the market simulator; `panda record` writes what was published to a file."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import uvloop
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from panda_streams.errors import SettingsError
from panda_streams.feeds.publisher import Feed, FeedState, Source
from panda_streams.feeds.recorder import record as record_world
from panda_streams.feeds.recording import Faults, SymbolMap
from panda_streams.feeds.replay import Replay
from panda_streams.feeds.simulator import Simulator
from panda_streams.feeds.standings import event_clock
from panda_streams.instrument_files import load_instruments
from panda_streams.servers import find_servers
from panda_streams.settings import Settings, load_settings

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
    path = Path(settings.feed).expanduser()
    if not path.is_file():
        raise SettingsError(f"PANDA_FEED={settings.feed}: there is no such file", fix="set it to sim or to a recording")
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


async def _publish(
    settings: Settings, source: Source, speed: float | None, console: Console, share: Callable[[], float | None]
) -> dict[str, Any]:
    feed = Feed(settings, find_servers(settings), source, speed)
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
        "source": source.source,
        "run": source.run,
        "state": state.value,
        "ticks": feed.ticks,
        "records": feed.records,
        "event_time": event_clock(feed.time) if feed.time is not None else None,
        "seconds": round(time.monotonic() - begun, 1),
    }


async def _show(feed: Feed, console: Console, share: Callable[[], float | None]) -> None:
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
        click.echo(f"{name.replace('_', ' '):>20}  {f'{value:,}' if isinstance(value, int) else value}")
