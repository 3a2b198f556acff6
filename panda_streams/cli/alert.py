"""`panda alert`: what is told to whom, and whether it arrives."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from panda_streams.alerts.config import AlertConfig, load_alerts
from panda_streams.alerts.kinds import Alert, AlertKind, Loudness, Origin
from panda_streams.alerts.targets import DELIVERY_THREAD, Message, Target, open_targets
from panda_streams.errors import PandaError, SettingsError
from panda_streams.identity import World
from panda_streams.servers import read_running
from panda_streams.settings import Settings, load_settings

__all__ = ["alert"]

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def alert() -> None:
    """Show which alerts are sent, and try them out (PANDA_ALERTS, PANDA_ALERT_URLS)."""


@alert.command("list")
@_json
def list_alerts(as_json: bool) -> None:
    """Show how loud each kind is, the rate, and the services that alerts go to; never an address.

    Exits with 2 if an address cannot be used.
    """
    settings = load_settings()
    config, targets = _open(settings)
    if as_json:
        kinds = {kind.value: loudness.value for kind, loudness in config.kinds.items()}
        rate = config.rate.model_dump()
        click.echo(json.dumps({"targets": [target.name for target in targets], "kinds": kinds, "rate": rate}))
        return
    table = Table(box=SIMPLE_HEAD)
    for name in ("kind", "is"):
        table.add_column(name, no_wrap=True)
    for kind, loudness in config.kinds.items():
        table.add_row(kind.value, loudness.value)
    Console().print(table)
    click.echo(f"at most {config.rate.count} of a kind in {config.rate.seconds} s; the rest is summed up")
    for target in targets:
        click.echo(target.name)
    if not targets:
        click.echo("no targets: nothing is sent; docs/alerts.md shows how to name some")
    if settings.alerts is not None and _open_to_others(settings.alerts):
        click.echo(f"note: other users can read {settings.alerts}, which holds secrets; fix: chmod 600 it")


@alert.command()
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in AlertKind]),
    default=AlertKind.TEST.value,
    show_default=True,
    help="Send it as an alert of this kind would be.",
)
@_json
def test(kind: str, as_json: bool) -> None:
    """Send an alert to every target at once, past the rate limit, and say which of them took it.

    Exits with 1 if one did not or the kind is off, with 2 if there is no target.
    """
    settings, what = load_settings(), AlertKind(kind)
    config, targets = _open(settings)
    if not targets:
        raise SettingsError("there is no target to send to", fix="set PANDA_ALERTS; docs/alerts.md shows the file")
    loudness = config.kinds[what]
    if loudness is Loudness.OFF:
        raise PandaError(f"{what} is off: nothing is sent", fix=f"set it to on or silent in {settings.alerts}")
    running = read_running(settings.home_dir)
    origin = Origin(World(settings.world or (running.world if running else "sim")), "panda alert test")
    tried = Alert(what, f"a test of {what}", "This is a test: nothing has happened.")
    message = Message(what, origin.title(tried), origin.body(tried), loudness is Loudness.SILENT)
    with ThreadPoolExecutor(len(targets), DELIVERY_THREAD) as pool:
        answers = list(pool.map(lambda target: target.deliver(message), targets))
    if as_json:
        shown = [{"target": target.name, "error": why or None} for target, why in zip(targets, answers, strict=True)]
        click.echo(json.dumps({"kind": what, "targets": shown}))
    else:
        for target, why in zip(targets, answers, strict=True):
            click.echo(f"{target.name}: {why or 'has taken it'}")
    if failed := sum(map(bool, answers)):
        raise PandaError(
            f"{failed} of {len(targets)} targets did not take the alert",
            fix="see that the address is right, and that the service can be reached from here",
        )


def _open(settings: Settings) -> tuple[AlertConfig, list[Target]]:
    config = load_alerts(settings)
    return config, open_targets(config.targets)


def _open_to_others(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
