"""`panda risk`: which limits of an account are in force, where each comes from, and setting them at run time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from panda_streams.brokers.port import find_broker, registered_brokers
from panda_streams.cli.operators import levels_in_force, set_level
from panda_streams.domain.instruments import Instruments
from panda_streams.domain.risk.limits import (
    ACCOUNT,
    LimitSet,
    OrderLimits,
    TotalLimits,
    instrument_level,
    limit_text,
    parse_override,
    strategy_level,
    with_overrides,
)
from panda_streams.errors import PandaError, SettingsError
from panda_streams.events import Level
from panda_streams.instrument_files import load_instruments
from panda_streams.levels import UNSET, Levels, limit_setting
from panda_streams.limit_files import check_override, read_limits, schema, strategy_limits
from panda_streams.servers import find_servers
from panda_streams.settings import Settings, load_settings
from panda_streams.topics import Topics
from strategies.config import StrategyConfig, load_strategies

__all__ = ["risk"]

_KEYS = "account/LIMIT, strategy:STRATEGY_ID/LIMIT or instrument:INSTRUMENT/LIMIT"


@click.group()
def risk() -> None:
    """Show and set the limits of accounts, strategies and instruments (PANDA_LIMITS, docs/risk.md)."""


@risk.command()
@click.argument("namespace")
@click.option("--strategy", "strategy_id", metavar="ID", help="Only what judges an order of this strategy.")
@click.option("--instrument", metavar="ID", help="Only what judges an order in this instrument, as NSE:INFY.")
@click.option("--files", "files_only", is_flag=True, help="Leave out what was set at run time; needs no server.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def limits(namespace: str, strategy_id: str | None, instrument: str | None, files_only: bool, as_json: bool) -> None:
    """Show the limits in force of the arm NAMESPACE, resolved, with the level and the origin of each.

    An order is judged by the tightest limit of the three levels; a total by its own level's limit. With --strategy
    or --instrument everything that judges such an order is shown, else what each level sets.
    """
    settings = load_settings()
    found = _read(settings, namespace, Levels() if files_only else _levels(settings, namespace))
    if strategy_id is not None and strategy_id not in found.strategies:
        raise SettingsError(f"there is no strategy {strategy_id}", fix=f"use one of {', '.join(found.strategies)}")
    if instrument is not None and instrument not in found.instruments:
        raise SettingsError(f"there is no instrument {instrument} in the list", fix="see `panda instruments show`")
    rows = list(_asked(found, strategy_id, instrument) if strategy_id or instrument else _everything(found))
    if as_json:
        click.echo(json.dumps({"namespace": namespace, "limits": [row.record() for row in rows]}))
        return
    table = Table(box=SIMPLE_HEAD)
    for name in ("level", "judges", "limit", "value", "origin"):
        table.add_column(name, no_wrap=name in ("judges", "limit", "value"))
    last = ""
    for row in rows:
        table.add_row(*(escape(cell) for cell in ("" if row.level == last else row.level, *row.cells())))
        last = row.level
    Console().print(table)


@risk.command("set")
@click.argument("namespace")
@click.argument("key")
@click.argument("value")
@click.option("--reason", required=True, help="Why; shown by `panda risk limits` and kept in the log.")
def set_limit(namespace: str, key: str, value: str, reason: str) -> None:
    """Set one limit of the arm NAMESPACE to VALUE at run time, in the place of what the files say of it.

    KEY is account/LIMIT, strategy:STRATEGY_ID/LIMIT or instrument:INSTRUMENT/LIMIT, VALUE as in the file, or `none`,
    which takes the limit away. In force within a moment, and until `panda risk unset`, for an arm that starts later
    too.
    """
    settings = load_settings()
    found = _read(settings, namespace, Levels())
    try:
        check_override(key, value, found.strategies, found.instruments)
    except ValueError as error:
        raise SettingsError(str(error), fix=f"KEY is {_KEYS}; docs/risk.md lists the limits") from None
    text = limit_text(parse_override(key, value).value)
    _publish(settings, namespace, key, text, reason)
    click.echo(f"{namespace}: {key} is {text}")


@risk.command("unset")
@click.argument("namespace")
@click.argument("key")
@click.option("--reason", required=True, help="Why.")
def unset_limit(namespace: str, key: str, reason: str) -> None:
    """Take back what `panda risk set` has set for KEY of the arm NAMESPACE: what the files say is in force again."""
    settings = load_settings()
    found = _read(settings, namespace, _levels(settings, namespace))
    if key not in found.levels:
        raise PandaError(
            f"{key} of {namespace} is not set at run time",
            fix=f"use one of {', '.join(found.levels)}" if found.levels else "none is set: there is nothing to undo",
        )
    _publish(settings, namespace, key, UNSET, reason)
    level, field, _ = parse_override(key, found.levels[key].value)
    click.echo(f"{namespace}: {key} is {limit_text(getattr(found.configured.of(level), field))}, as the files say")


@risk.command("schema")
def print_schema() -> None:
    """Print the JSON schema of the file of PANDA_LIMITS, for editors that complete and check YAML by it."""
    click.echo(schema())


@dataclass(frozen=True, slots=True)
class _Found:
    """The limits of an account, and what they are made of."""

    settings: Settings
    strategies: dict[str, StrategyConfig]
    instruments: Instruments
    file: LimitSet
    """What the file of PANDA_LIMITS says."""
    configured: LimitSet
    """That and what the strategies' own files say."""
    in_force: LimitSet
    levels: dict[str, Level]
    """What is set at run time, by key."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A limit in force at a level; of several that judge the same order the tightest, which another level may set."""

    level: str
    judges: str
    limit: str
    value: str
    source: str
    """The level that sets it."""
    origin: str
    set_by: Level | None

    def cells(self) -> tuple[str, ...]:
        origin = self.origin if self.source == self.level else f"{self.source} is tighter: {self.origin}"
        return self.judges, self.limit, self.value, origin

    def record(self) -> dict[str, Any]:
        by = self.set_by
        return {
            "level": self.level,
            "judges": self.judges,
            "limit": self.limit,
            "value": self.value,
            "source": self.source,
            "origin": self.origin,
            "set_by": by and {"who": by.who, "at": by.at, "reason": by.reason},
        }


def _read(settings: Settings, namespace: str, levels: Levels) -> _Found:
    find_broker(namespace)
    instruments, brokers = load_instruments(settings.instruments), registered_brokers()
    configs = load_strategies(settings.strategies, instruments, brokers)
    file = read_limits(settings.limits, configs, instruments, brokers).get(namespace, LimitSet())
    configured = file.tightened(strategy_limits(configs, namespace))
    return _Found(
        settings=settings,
        strategies={config.strategy_id: config for config in configs},
        instruments=instruments,
        file=file,
        configured=configured,
        in_force=with_overrides(configured, levels.limits(namespace)),
        levels=dict(levels.limit_levels(namespace)),
    )


def _levels(settings: Settings, namespace: str) -> Levels:
    find_broker(namespace)
    servers = find_servers(settings)
    return asyncio.run(levels_in_force(settings, servers, Topics(servers.prefix).of(namespace, "control")))


def _publish(settings: Settings, namespace: str, key: str, value: str, reason: str) -> None:
    servers = find_servers(settings)
    topic = Topics(servers.prefix).of(namespace, "control")
    asyncio.run(set_level(settings, servers, topic, namespace, limit_setting(key), value, reason))


def _everything(found: _Found) -> Iterator[_Row]:
    """What each level sets: in the place of a limit on orders that the account's overrules, the account's."""
    for level, limits in found.in_force.by_level().items():
        kind, _, name = level.partition(":")
        resolved = found.in_force.resolve(
            name if kind == "strategy" else None,
            name if kind == "instrument" else None,
        )
        for field in OrderLimits.model_fields:
            if getattr(limits, field) is not None or f"{level}/{field}" in found.levels:
                value, source = getattr(resolved.order, field), resolved.levels.get(field, level)
                yield _row(found, level, "an order", field, value, source)
        yield from _totals(found, level)


def _asked(found: _Found, strategy_id: str | None, instrument: str | None) -> Iterator[_Row]:
    """What judges an order of a strategy in an instrument, by the level that sets it."""
    levels = [ACCOUNT]
    if strategy_id is not None:
        levels.append(strategy_level(strategy_id))
    if instrument is not None:
        levels.append(instrument_level(instrument))
    resolved = found.in_force.resolve(strategy_id, instrument)
    for level in levels:
        for field, source in resolved.levels.items():
            if source == level:
                yield _row(found, level, "an order", field, getattr(resolved.order, field), level)
        yield from _totals(found, level)


def _totals(found: _Found, level: str) -> Iterator[_Row]:
    limits = found.in_force.of(level)
    for field in TotalLimits.model_fields:
        value = getattr(limits, field)
        if value is not None or f"{level}/{field}" in found.levels:
            yield _row(found, level, "a total", field, value, level)


def _row(found: _Found, level: str, judges: str, field: str, value: Any, source: str) -> _Row:
    set_by = found.levels.get(f"{source}/{field}")
    if set_by is not None:
        when = datetime.fromtimestamp(set_by.at / 1000, UTC).astimezone()
        origin = f"set by {set_by.who} on {when:%Y-%m-%d %H:%M:%S}: {set_by.reason}"
    elif getattr(found.file.of(source), field) == value:
        origin = str(found.settings.limits)
    else:
        origin = f"file of the strategy {source.removeprefix('strategy:')}"
    return _Row(level, judges, field, limit_text(value), source, origin, set_by)
