"""`panda instruments`: look up, check, compare and install lists of instruments, and try out contracts."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
import msgspec
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from panda_streams.domain.contracts import Contract, ContractNotFound, Expiry, resolve, underlying_id
from panda_streams.domain.instruments import Changes, Instrument, InstrumentKind, Instruments, Right, changes
from panda_streams.errors import BadInput, PandaError
from panda_streams.instrument_files import Listing, load_instruments, read_instruments
from panda_streams.kite_dump import is_dump
from panda_streams.settings import load_settings
from strategies.config import needed_instruments

__all__ = ["instruments"]

_MARKET_ZONE = ZoneInfo("Asia/Kolkata")
_FACTS = ("kind", "tick_size", "lot", "freeze_quantity", "underlying", "expiry", "strike", "right", "token")
_SHOWN = 20
"""Lines of a kind that are printed; --json prints all."""

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_file = click.Path(exists=True, dir_okay=False, path_type=Path)


class _Day(click.ParamType):
    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return value if isinstance(value, date) else date.fromisoformat(value)
        except ValueError:
            self.fail(f"expected a date as 2026-08-25, found {value!r}", param, ctx)


class _Amount(click.ParamType):
    name = "price"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return Decimal(value)
        except InvalidOperation:
            self.fail(f"expected a price as 24510.35, found {value!r}", param, ctx)


@click.group()
def instruments() -> None:
    """Look up, check, compare and install lists of instruments (PANDA_INSTRUMENTS)."""


@instruments.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_json
def show(names: tuple[str, ...], as_json: bool) -> None:
    """Show what is known of each NAME: an id as NSE:INFY, a symbol of the NSE, or a number at Kite.

    Exits with 1 if one is not known.
    """
    known = load_instruments(load_settings().instruments)
    found = {name: known.by_token(int(name)) if name.isdecimal() else known.get(underlying_id(name)) for name in names}
    if as_json:
        click.echo(json.dumps({name: one and msgspec.to_builtins(one) for name, one in found.items()}))
    else:
        for one in found.values():
            if one is not None:
                _print_instrument(one)
                _print_derivatives(known.derivatives(one.id))
    unknown = [name for name, one in found.items() if one is None]
    if unknown:
        raise PandaError(
            f"not in the list of instruments: {', '.join(unknown)}",
            fix="name it as EXCHANGE:SYMBOL, as in NFO:NIFTY26AUGFUT, or add a file that lists it to PANDA_INSTRUMENTS",
        )


@instruments.command()
@click.argument("file", required=False, type=_file)
@_json
def check(file: Path | None, as_json: bool) -> None:
    """Read FILE, or all that PANDA_INSTRUMENTS names, and report what it holds and what is wrong with it.

    Without FILE also what the strategies need and nothing lists. Exits with 1 if anything is wrong.
    """
    settings = load_settings()
    listing = read_instruments(file or settings.instruments)
    missing = () if file else changes(listing.instruments, listing.instruments, _needed()).missing
    report = {**_summary(listing), "missing": missing}
    if as_json:
        click.echo(json.dumps(report))
    else:
        _print_listing(listing)
        for name in missing:
            click.echo(f"missing: {name}, which a strategy needs")
    wrong = len(listing.problems) + len(missing)
    if wrong:
        raise PandaError(f"{wrong} not well", fix="see above; what is wrong is passed over and cannot be traded")


@instruments.command()
@click.argument("old", type=_file)
@click.argument("new", type=_file)
@_json
def diff(old: Path, new: Path, as_json: bool) -> None:
    """Compare two files: what NEW adds, removes and says otherwise of ticks, lots, freeze quantities and expiries.

    Names what strategies need and NEW has lost. Exits with 0, whatever differs.
    """
    before, after = read_instruments(old).instruments, read_instruments(new).instruments
    found = changes(before, after, (name for name in _needed() if name in before))
    if as_json:
        click.echo(json.dumps({"old": before.version, "new": after.version, **_changes(found)}))
    else:
        _print_changes(before, after, found)


@instruments.command()
@click.argument("file", type=_file)
@click.option("--force", is_flag=True, help="Install it even if it has lost more than half of the instruments.")
@_json
def refresh(file: Path, force: bool, as_json: bool) -> None:
    """Install FILE, a dump of Kite, as today's, and report how it differs from the one before.

    It goes to PANDA_HOME/instruments, under a name with the date and its version; kite.csv.gz there is the newest and
    kite.previous.csv.gz the one before. Workers read it when they start, if PANDA_INSTRUMENTS names it.
    """
    if not is_dump(file):
        raise BadInput(f"{file} is no dump of Kite", fix="name a *.csv or *.csv.gz as Kite serves it as /instruments")
    settings = load_settings()
    folder = settings.home_dir.instruments
    current = folder / "kite.csv.gz"
    listing = read_instruments(file)
    before = read_instruments(current).instruments if current.exists() else Instruments([])
    if len(listing.instruments) * 2 < len(before) and not force:
        raise PandaError(
            f"{file} has {len(listing.instruments)} instruments, the installed dump {len(before)}",
            fix="see that it is whole and has the same exchanges; --force installs it all the same",
        )
    found = changes(before, listing.instruments, (name for name in _needed() if name in before))
    installed = _install(file, folder, listing.instruments.version)
    used = str(current) in str(settings.instruments or "").split(os.pathsep)
    if as_json:
        click.echo(json.dumps({"installed": str(installed), **_summary(listing), **_changes(found), "used": used}))
        return
    _print_listing(listing)
    if len(before):
        _print_changes(before, listing.instruments, found)
    click.echo(f"installed as {installed}")
    if not used:
        click.echo(f"to use it: PANDA_INSTRUMENTS={settings.instruments or 'package'}{os.pathsep}{current}")


@instruments.command("resolve")
@click.argument("underlying")
@click.option("--kind", type=click.Choice(["future", "option"]), required=True, help="What is looked for.")
@click.option("--right", type=click.Choice([one.value for one in Right]), help="Of an option: a call or a put.")
@click.option(
    "--expiry",
    type=click.Choice([one.value for one in Expiry]),
    default="current",
    show_default=True,
    help="Which expiry.",
)
@click.option(
    "--strike", default="ATM", show_default=True, help="Of an option: ATM, ATM+n or ATM-n, in listed strikes."
)
@click.option("--roll-days", type=int, default=1, show_default=True, help="Pass over expiries fewer days away.")
@click.option("--spot", type=_Amount(), help="Price of the underlying; an option needs it.")
@click.option("--on", type=_Day(), help="Trading day; without it today.")
@_json
def resolve_contract(
    underlying: str,
    kind: str,
    right: str | None,
    expiry: str,
    strike: str,
    roll_days: int,
    spot: Decimal | None,
    on: date | None,
    as_json: bool,
) -> None:
    """Say which instrument a contract on UNDERLYING means, as the brain would at that price on that day."""
    form = {"underlying": underlying, "kind": kind, "right": right, "expiry": expiry, "strike": strike}
    try:
        contract = Contract.model_validate({**form, "roll_days": roll_days})
        found = resolve(contract, load_instruments(load_settings().instruments), spot, on or _today())
    except ValidationError as error:
        raise BadInput(f"no contract: {error.errors()[0]['msg']}", fix="see docs/strategies.md") from None
    except ContractNotFound as error:
        raise PandaError(str(error), fix="ask for another, or add a dump that lists it to PANDA_INSTRUMENTS") from None
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        _print_instrument(found)


def _install(file: Path, folder: Path, version: str) -> Path:
    """Copy a dump into `folder` and let kite.csv.gz point to it, each step whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    content = file.read_bytes()
    zipped = content if content.startswith(b"\x1f\x8b") else gzip.compress(content)
    installed = folder / f"kite_{_today()}_{version}.csv.gz"
    part = folder / "kite.part"
    part.write_bytes(zipped)
    part.replace(installed)
    current, previous = folder / "kite.csv.gz", folder / "kite.previous.csv.gz"
    if current.exists() and current.resolve() != installed.resolve():
        _point(previous, current.resolve().name)
    _point(current, installed.name)
    named = {link.resolve() for link in (current, previous) if link.exists()}
    for other in folder.glob("kite_*.csv.gz"):
        if other.resolve() not in named:
            other.unlink()
    return installed


def _point(link: Path, name: str) -> None:
    part = link.with_name("kite.link")
    part.unlink(missing_ok=True)
    part.symlink_to(name)
    part.replace(link)


def _today() -> date:
    return datetime.now(_MARKET_ZONE).date()


def _needed() -> frozenset[str]:
    return needed_instruments(load_settings().strategies)


def _summary(listing: Listing) -> dict[str, Any]:
    return {
        "version": listing.instruments.version,
        "instruments": _counts(listing.instruments),
        "unsupported": dict(listing.unsupported),
        "replaced": listing.replaced,
        "problems": [{"place": one.place, "what": one.what, "fix": one.fix} for one in listing.problems],
        "freeze_quantities_as_of": str(listing.freeze.as_of),
    }


def _counts(known: Instruments) -> dict[str, int]:
    counted = Counter(one.kind for one in known)
    return {kind.value: counted[kind] for kind in InstrumentKind if counted[kind]}


def _changes(found: Changes) -> dict[str, Any]:
    return {
        "added": found.added,
        "removed": found.removed,
        "changed": [
            {"instrument": one.instrument, "field": one.field, "old": _text(one.old), "new": _text(one.new)}
            for one in found.changed
        ],
        "missing": found.missing,
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _print_instrument(one: Instrument) -> None:
    facts = msgspec.to_builtins(one)
    told = (f"{name} {facts[name]}" for name in _FACTS if facts[name] is not None)
    click.echo(f"{one.id}: " + ", ".join(told) + ", has derivatives" * one.has_derivatives)


def _print_derivatives(derived: tuple[Instrument, ...]) -> None:
    if derived:
        expiries = sorted({str(one.expiry) for one in derived})
        more = f" and {len(expiries) - 6} later days" if len(expiries) > 6 else ""
        click.echo(f"  {len(derived):,} derivatives, expiring {', '.join(expiries[:6])}{more}")


def _print_listing(listing: Listing) -> None:
    counts = ", ".join(f"{count:,} {kind}" for kind, count in _counts(listing.instruments).items())
    click.echo(f"version {listing.instruments.version}: {counts}")
    if listing.unsupported:
        rows = ", ".join(f"{count:,} {segment}" for segment, count in sorted(listing.unsupported.items()))
        click.echo(f"not supported, passed over: {rows}")
    if listing.replaced:
        click.echo(f"said otherwise by a later file, which counts: {_some(listing.replaced)}")
    click.echo(f"freeze quantities of indices as of {listing.freeze.as_of}")
    for problem in listing.problems[:_SHOWN]:
        click.echo(f"wrong: {problem}")
    if len(listing.problems) > _SHOWN:
        click.echo(f"wrong: {len(listing.problems) - _SHOWN:,} more; --json lists all")


def _print_changes(old: Instruments, new: Instruments, found: Changes) -> None:
    click.echo(f"version {old.version} to {new.version}")
    click.echo(f"added: {len(found.added):,}{_behind(found.added)}")
    ends = Counter(str(old[name].expiry) for name in found.removed)
    click.echo(f"removed: {len(found.removed):,}{_behind(found.removed)}")
    for expiry, count in sorted(ends.items()):
        click.echo(f"  {count:,} " + ("without an expiry" if expiry == "None" else f"expiring {expiry}"))
    click.echo(f"changed: {len(found.changed):,}")
    if found.changed:
        table = Table("instrument", "field", "old", "new")
        for one in found.changed[:_SHOWN]:
            table.add_row(one.instrument, one.field, str(one.old), str(one.new))
        Console().print(table)
    if len(found.changed) > _SHOWN:
        click.echo(f"  {len(found.changed) - _SHOWN:,} more; --json lists all")
    for name in found.missing:
        click.echo(f"missing: {name}, which a strategy needs")


def _behind(names: tuple[str, ...]) -> str:
    return f": {_some(names)}" if names else ""


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
