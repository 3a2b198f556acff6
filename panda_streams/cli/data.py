"""`panda data`: history from Kite, for warming up and for backtests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from panda_streams.cli.kite import chosen_world
from panda_streams.errors import BadInput
from panda_streams.instrument_files import load_instruments
from panda_streams.kite_access import KiteAccess, kite_access
from panda_streams.kite_api import KiteApi
from panda_streams.kite_history import Fetched, Interval, Request, fetch
from panda_streams.settings import Settings, load_settings

__all__ = ["data"]

_INDIA = ZoneInfo("Asia/Kolkata")
_day = click.DateTime(["%Y-%m-%d"])


@click.group()
def data() -> None:
    """Fetch history from Kite, for warming up and for backtests."""


@data.command("fetch")
@click.argument("names", nargs=-1, required=True, metavar="INSTRUMENT…")
@click.option("--from", "begins", type=_day, required=True, help="First day, as 2026-01-01.")
@click.option("--to", "ends", type=_day, help="Last day; without it today.")
@click.option(
    "--interval",
    type=click.Choice([one.value for one in Interval]),
    default=Interval.MINUTE.value,
    show_default=True,
    help="Length of a candle.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the files. Without it PANDA_HOME/history.",
)
@click.option(
    "--root", metavar="HOST:PORT", help="The kitesim of another deployment; for the profile simulator, the default."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was fetched as JSON.")
def fetch_history(
    names: tuple[str, ...],
    begins: datetime,
    ends: datetime | None,
    interval: str,
    out: Path | None,
    root: str | None,
    as_json: bool,
) -> None:
    """Fetch candles of each INSTRUMENT, as NSE:INFY, into a csv.gz each, whose first line says where it is from.

    Three requests a second, each for as many days as Kite gives at once: 60 for minutes, 2,000 for days. What is
    there is not asked for again: a command that was broken off goes on when it is given again. Kite's terms forbid
    permanent copies without permission (kite.trade/terms, 4b). Exits with 1 if nobody is logged in.
    """
    settings = load_settings()
    today = datetime.now(_INDIA).date()
    first, last = begins.date(), min(ends.date() if ends else today, today)
    if first > last:
        raise BadInput(f"--from {first} is after {last}", fix="give days that have begun, the earlier one first")
    access = kite_access(settings, chosen_world(settings), root)
    folder = out or settings.home_dir.path / "history"
    wanted = dict.fromkeys(names)
    fetched = asyncio.run(_fetch(settings, access, list(wanted), (first, last), Interval(interval), folder))
    report = [_facts(name, one) for name, one in zip(wanted, fetched, strict=True)]
    if as_json:
        click.echo(json.dumps({"source": access.source, "files": report}))
        return
    for facts in report:
        there = "" if facts["requests"] else ", which was there"
        click.echo(f"{facts['instrument']}: {facts['candles']:,} candles in {facts['file']}{there}")


async def _fetch(
    settings: Settings,
    access: KiteAccess,
    names: Sequence[str],
    days: tuple[date, date],
    interval: Interval,
    folder: Path,
) -> list[Fetched]:
    fetched = []
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    async with aiohttp.ClientSession() as http:
        api = KiteApi(access, http)
        tokens = await _tokens(settings, api, names)
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
            task = progress.add_task("", total=len(names))
            for number, name in enumerate(names):
                progress.update(task, description=name)

                def show(share: float, done: int = number) -> None:
                    progress.update(task, completed=done + share)

                request = Request(name, tokens[name], interval, *days)
                fetched.append(await fetch(api, request, access.source, folder, show))
    return fetched


async def _tokens(settings: Settings, api: KiteApi, names: Sequence[str]) -> dict[str, int]:
    """The instruments' numbers at Kite: of the list, and of what has none there as Kite lists it today."""
    known = load_instruments(settings.instruments)
    listed = {name: one.token for name in names if (one := known.get(name)) is not None and one.token is not None}
    others = [name for name in names if name not in listed]
    found = listed | (await api.numbers(others) if others else {})
    if missing := [name for name in names if name not in found]:
        raise BadInput(
            f"Kite does not list {', '.join(missing)}", fix="name it as EXCHANGE:SYMBOL, as in NSE:INFY or NSE:NIFTY 50"
        )
    return found


def _facts(name: str, fetched: Fetched) -> dict[str, Any]:
    return {
        "instrument": name,
        "file": str(fetched.path),
        "candles": fetched.candles,
        "requests": fetched.requests,
        "complete": fetched.complete,
    }
