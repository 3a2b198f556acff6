"""`panda paper`: the money, the shares and the orders of the paper account."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import click
from pydantic import ValidationError
from redis.exceptions import RedisError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from panda_streams.brokers.paper import PaperTrader
from panda_streams.brokers.port import registered_brokers
from panda_streams.calendar_files import calendar_of
from panda_streams.cli.operators import carry_out
from panda_streams.domain.corporate_actions import Ratio
from panda_streams.errors import PandaError, ServerUnreachable, SettingsError
from panda_streams.events import ActionKind, OrderUpdate
from panda_streams.explain import Explanation, explain
from panda_streams.instrument_files import load_instruments
from panda_streams.keys import Keys
from panda_streams.mirror import connect
from panda_streams.mirrored import OrderRecord
from panda_streams.order_log import OrderLog
from panda_streams.rerun import clock
from panda_streams.servers import Servers, find_servers
from panda_streams.settings import Settings, load_settings
from panda_streams.streams.client import client_options
from panda_streams.streams.readback import ReadBack
from panda_streams.topics import Topics
from panda_streams.worlds import enter
from strategies.config import StrategyConfig, load_strategies

__all__ = ["paper"]

_NAMESPACE = "paper"
_ANSWER_S = 10.0
_RATIO = re.compile(r"([1-9]\d*):([1-9]\d*)")
_ID_DIGITS = 12
"""Of an order's id, in tables: enough to tell all orders of a world apart."""


class _Money(click.ParamType):
    """A positive amount, to the paisa."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        try:
            amount = Decimal(str(value))
        except InvalidOperation:
            self.fail(f"{value!r} is no amount: expected rupees, as 250000 or 99.50", param, ctx)
        if not amount.is_finite() or amount <= 0:
            self.fail(f"{value} is no amount: expected more than 0", param, ctx)
        if amount != round(amount, 2):
            self.fail(f"{value} has a part of a paisa: expected at most two decimals", param, ctx)
        return amount


class _RatioType(click.ParamType):
    """New shares for old ones."""

    name = "new:old"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Ratio:
        if isinstance(value, Ratio):
            return value
        found = _RATIO.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is no ratio: expected new shares for old ones, as 5:1", param, ctx)
        return Ratio(new=int(found[1]), old=int(found[2]))


_reason = click.option("--reason", required=True, help="Why; kept in the log and in the booking.")


@click.group()
def paper() -> None:
    """Money, shares and orders of the paper account.

    What changes the books is written to its audit topic, and is done once: by the arm that runs, or else by the next
    one that does. Each of these commands waits 10 seconds for the arm's answer, and exits with 1 if it refuses or there
    is none.
    """


@paper.command()
@click.argument("strategy_id", metavar="STRATEGY")
@click.argument("amount", type=_Money())
@_reason
def deposit(strategy_id: str, amount: Decimal, reason: str) -> None:
    """Give STRATEGY money: AMOUNT rupees more of cash and of capital.

    The size of its entries stays that of its configuration.
    """
    _for_strategy(ActionKind.DEPOSIT, strategy_id, amount, reason)


@paper.command()
@click.argument("strategy_id", metavar="STRATEGY")
@click.argument("amount", type=_Money())
@_reason
def withdraw(strategy_id: str, amount: Decimal, reason: str) -> None:
    """Take AMOUNT rupees from STRATEGY: no more than is neither held back for orders nor tied up by positions."""
    _for_strategy(ActionKind.WITHDRAW, strategy_id, amount, reason)


@paper.command()
@click.argument("strategy_id", metavar="STRATEGY")
@click.option("--capital", type=_Money(), help="Capital to begin with. Default: that of its configuration.")
@_reason
def reset(strategy_id: str, capital: Decimal | None, reason: str) -> None:
    """Begin the book of STRATEGY anew: profit, charges and counts at nothing.

    Refused while it has a position or an order in flight.
    """
    _for_strategy(ActionKind.RESET, strategy_id, capital, reason)


@paper.command()
@click.argument("what", type=click.Choice(["split", "bonus"]), metavar="split|bonus")
@click.argument("instrument")
@click.argument("ratio", type=_RatioType(), metavar="NEW:OLD")
@click.option(
    "--price", type=_Money(), required=True, help="Last price before it: a part of a share that is left is paid out."
)
@_reason
def adjust(what: str, instrument: str, ratio: Ratio, price: Decimal, reason: str) -> None:
    """Carry out a split or a bonus issue of INSTRUMENT (as NSE:INFY) in all books of the account.

    NEW:OLD are the shares afterwards for those before: a split of Rs 10 into Rs 2 is 5:1, a bonus of one for two held
    is 3:2. Halt the arm first (`panda halt paper`): positions must stand still meanwhile. Refused while orders on the
    instrument are in flight.
    """
    settings = load_settings()
    kind = ActionKind.SPLIT if what == "split" else ActionKind.BONUS
    if instrument not in load_instruments(settings.instruments):
        raise SettingsError(f"there is no instrument {instrument}", fix="name one of the list, as NSE:INFY")
    if ratio.new == ratio.old or (kind is ActionKind.BONUS and ratio.new < ratio.old):
        raise SettingsError(
            f"a {what} of {ratio.new}:{ratio.old} gives no share more than before",
            fix="name the shares afterwards first: a bonus of one for two held is 3:2",
        )
    _do(settings, what=kind, instrument=instrument, ratio=ratio, price=price, reason=reason)


def _for_strategy(kind: ActionKind, strategy_id: str, amount: Decimal | None, reason: str) -> None:
    settings = load_settings()
    config = _config(settings, strategy_id)
    capital = config.accounts[_NAMESPACE].capital
    _do(settings, what=kind, strategy_id=strategy_id, amount=capital if amount is None else amount, reason=reason)


def _config(settings: Settings, strategy_id: str) -> StrategyConfig:
    known = load_strategies(settings.strategies, load_instruments(settings.instruments), registered_brokers())
    configs = {config.strategy_id: config for config in known}
    if strategy_id not in configs:
        raise SettingsError(f"there is no strategy {strategy_id}", fix=f"use one of {', '.join(configs)}")
    if _NAMESPACE not in configs[strategy_id].accounts:
        raise SettingsError(
            f"{strategy_id} has no account at {_NAMESPACE}",
            fix=f"give it one under `accounts: {_NAMESPACE}:` in its YAML file, and start the arm again",
        )
    return configs[strategy_id]


def _do(settings: Settings, what: ActionKind, **fields: Any) -> None:
    """Have the arm carry out an action, and print what it says."""
    click.echo(carry_out(settings, find_servers(settings), _NAMESPACE, what, _ANSWER_S, **fields))


# Orders


@paper.command()
@click.option("--strategy", "strategy_id", help="Only those of this strategy.")
@click.option("--all", "everything", is_flag=True, help="Those that have ended too, as far as the log is kept.")
@click.option(
    "--last", type=click.IntRange(1), default=50, show_default=True, help="With --all: how many, the newest ones."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def orders(strategy_id: str | None, everything: bool, last: int, as_json: bool) -> None:
    """Show the orders that are working, as the mirror in Redis has them; with --all every order of the log."""
    settings = load_settings()
    if everything:
        updates = asyncio.run(_all_orders(settings, find_servers(settings)))
        rows = [_of_update(update) for update in updates]
    else:
        servers = find_servers(settings, kafka_needed=False)
        rows = [_of_record(record) for record in asyncio.run(_working_orders(servers))]
    rows = [row for row in rows if strategy_id in (None, row["strategy_id"])]
    rows = rows[-last:] if everything else rows
    if as_json:
        click.echo(json.dumps({"orders": rows}))
        return
    if not rows:
        click.echo("no order" if everything else "no order is working; those that have ended: panda paper orders --all")
        return
    _print_orders(rows)


async def _all_orders(settings: Settings, servers: Servers) -> list[OrderUpdate]:
    await enter(settings, servers)
    log = ReadBack(client_options(settings, servers.kafka))
    try:
        return await OrderLog(log, Topics(servers.prefix), _NAMESPACE, settings.partitions).orders()
    finally:
        await log.stop()


async def _working_orders(servers: Servers) -> list[OrderRecord]:
    client, keys = connect(servers.redis, decode_responses=True), Keys(_NAMESPACE)
    try:
        names = sorted(str(name) for name in await client.smembers(keys.orders))
        texts = await client.mget([keys.order(name) for name in names]) if names else []
        found = [OrderRecord.model_validate_json(text) for text in texts if text is not None]
    except (RedisError, OSError) as error:
        raise ServerUnreachable(
            f"Redis does not answer: {type(error).__name__}", fix="start it, or correct REDIS_URL"
        ) from None
    except ValidationError as error:
        raise PandaError(
            f"an order in Redis cannot be read: {error.errors()[0]['msg']}", fix="see `panda status`"
        ) from None
    finally:
        await client.aclose()
    return sorted(found, key=lambda order: order.time)


def _of_record(order: OrderRecord) -> dict[str, Any]:
    return {name: value for name, value in order.model_dump(mode="json").items() if name != "at"} | {"reason": None}


def _of_update(update: OrderUpdate) -> dict[str, Any]:
    return update.model_dump(mode="json", include={*OrderRecord.model_fields, "reason"} - {"at"})


def _print_orders(rows: Sequence[dict[str, Any]]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a file or a pipe has no width that the table should fold to
    table = Table(box=SIMPLE_HEAD)
    for name in ("order", "time (IST)", "strategy", "order is", "filled", "at", "state"):
        table.add_column(name, no_wrap=name in ("order", "time (IST)"), justify="right" if name == "filled" else "left")
    for row in rows:
        prices = [row["price"] and f"limit {row['price']}", row["trigger"] and f"trigger {row['trigger']}"]
        state = f"{row['state']}: {row['reason']}" if row["reason"] else row["state"]
        what = f"{row['role']} {row['side']} {row['quantity']} {row['instrument']} {row['order_type']} {row['product']}"
        cells = (
            row["order_id"][:_ID_DIGITS],
            clock(row["time"]),
            row["strategy_id"],
            what,
            str(row["filled"]),
            ", ".join(price for price in prices if price),
            state,
        )
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)


@paper.command("explain")
@click.argument("order_id")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain_order(order_id: str, as_json: bool) -> None:
    """Tell why an order was filled at that price at that time.

    ORDER_ID may be shortened to digits that no other order's id begins with; `panda paper orders --all` lists them. The
    order is run again from the ticks: exits with 1 if that gives something else than the log says, which is so when
    settings of the paper market, instruments or code have changed since. Times are India's.
    """
    if not re.fullmatch(r"[0-9a-f]{1,32}", order_id):
        raise SettingsError(
            f"{order_id!r} is no order's id: expected up to 32 hexadecimal digits",
            fix="`panda paper orders --all` lists them",
        )
    settings = load_settings()
    explanation = asyncio.run(_explained(settings, find_servers(settings), order_id))
    if as_json:
        click.echo(explanation.model_dump_json())
    else:
        _print_explanation(explanation)
    if explanation.difference:
        raise PandaError(
            f"computed again, order {explanation.order_id} is another one: {explanation.difference}",
            fix="run this with the settings (PANDA_PAPER_…), instruments and version that the arm had then; if they "
            "are the same, it is a defect: keep the world and report it",
        )


async def _explained(settings: Settings, servers: Servers, prefix: str) -> Explanation:
    await enter(settings, servers)
    instruments = load_instruments(settings.instruments)
    trader = PaperTrader.from_settings(settings, calendar_of(servers.world, settings.calendar))
    reader = ReadBack(client_options(settings, servers.kafka))
    try:
        log = OrderLog(reader, Topics(servers.prefix), _NAMESPACE, settings.partitions)
        facts = await log.facts(prefix)
        instrument = instruments.get(facts.first.instrument)
        if instrument is None:
            raise PandaError(
                f"{facts.first.instrument} is no longer in the list of instruments",
                fix="set PANDA_INSTRUMENTS to the list that the arm had",
            )
        again, missing = await log.again(facts, instrument, trader)
        note = await log.note(facts)
    finally:
        await reader.stop()
    return explain(facts, again, instrument, trader.market, note, (missing,) if missing else ())


def _print_explanation(explanation: Explanation) -> None:
    click.echo(f"order {explanation.order_id}")
    click.echo(explanation.summary)
    for line in explanation.lines:
        time_ = clock(line.time) if line.time is not None else ""
        click.echo(f"{time_:>23}  {line.text}")
        for detail in line.details:
            click.echo(f"{'':>23}    {detail}")
    for text in explanation.missing:
        click.echo(f"note: {text}")
    if not explanation.difference and not explanation.missing:
        click.echo("computed again from the ticks: the same")
