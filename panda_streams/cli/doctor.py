"""`panda doctor`: whether an arm could trade now, and what to do where it could not."""

from __future__ import annotations

import dataclasses
import json

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from panda_streams.brokers.zerodha.preflight import Verdict, preflight
from panda_streams.cli.kite import chosen_world
from panda_streams.errors import PandaError
from panda_streams.settings import load_settings

__all__ = ["doctor"]

_COLOURS = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "red"}


@click.command()
@click.option("--live", type=click.Choice(["zerodha"]), required=True, help="The broker whose arm is to trade.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(live: str, as_json: bool) -> None:
    """Check what an arm needs to trade at a real broker, with a fix for all that is not well; changes nothing.

    What could lose money is a failure with PANDA_KITE_PROFILE=production, and a warning elsewhere. Exits with 1 if a
    check fails, with 0 whatever it warns of.
    """
    settings = load_settings()
    world = chosen_world(settings)
    checks = preflight(settings, world)
    failed = sum(check.verdict is Verdict.FAIL for check in checks.values())
    if as_json:
        shown = [{"name": name, **dataclasses.asdict(check)} for name, check in checks.items()]
        click.echo(json.dumps({"broker": live, "world": world.name, "ok": not failed, "checks": shown}))
    else:
        table = Table(box=SIMPLE_HEAD)
        table.add_column("check", no_wrap=True)
        table.add_column("", no_wrap=True)
        table.add_column("what")
        for name, check in checks.items():
            fix = f"\nfix: {check.fix}" if check.fix else ""
            colour = _COLOURS[check.verdict]
            table.add_row(name, f"[{colour}]{check.verdict}[/]", escape(check.text + fix))
        Console().print(table)
    if failed:
        raise PandaError(f"{failed} of {len(checks)} checks failed", fix="see above")
