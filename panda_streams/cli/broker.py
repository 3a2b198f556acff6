"""`panda reconcile`, `resolve` and `unattributed`: a broker's books and ours, where they differ."""

from __future__ import annotations

import asyncio
import json
import time

import click
from redis.asyncio import Redis
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table

from agents.trading.courier import ABSENT, RECONCILE, resolve_setting
from panda_streams.brokers.port import find_broker
from panda_streams.cli.operators import carry_out, set_level
from panda_streams.domain.orders import UNATTRIBUTED
from panda_streams.errors import PandaError, ServerUnreachable
from panda_streams.events import ActionKind
from panda_streams.keys import Keys
from panda_streams.mirror import connect
from panda_streams.mirrored import LinkRecord, PositionRecord, TraderRecord
from panda_streams.servers import Servers, find_servers
from panda_streams.settings import load_settings
from panda_streams.topics import Topics

__all__ = ["reconcile", "resolve", "unattributed"]

_ANSWER_S = 60.0
"""An order to close what is nobody's is to be filled until then."""
_reason = click.option("--reason", required=True, help="Why; kept in the log.")


@click.command()
@click.argument("namespace")
@click.option("--wait", type=click.FloatRange(min=1), default=30.0, show_default=True, help="Seconds to wait for it.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def reconcile(namespace: str, wait: float, as_json: bool) -> None:
    """Compare all that the broker of NAMESPACE holds with the arm's books, now; show what no strategy's book has.

    The arm does it by itself, at its start and every five minutes. Exits with 1 if something new was found, or an order
    is unexplained; not for what the book _unattributed holds.
    """
    settings = load_settings()
    servers = find_servers(settings)
    find_broker(namespace)
    topic = Topics(servers.prefix).of(namespace, "control")
    level = asyncio.run(set_level(settings, servers, topic, namespace, RECONCILE, "now", "asked for by an operator"))
    link, found, nobodys = asyncio.run(_compared(servers, namespace, level.at, wait))
    if as_json:
        report = {
            "namespace": namespace,
            "endpoint": link.endpoint if link else None,
            **found.model_dump(mode="json"),
            "unattributed": [position.model_dump(mode="json") for position in nobodys],
        }
        click.echo(json.dumps(report, indent=1))
    else:
        _show(namespace, link, found, nobodys)
    differences = found.reconciled.differences if found.reconciled is not None else ()
    if differences or found.quarantine or found.unknown or found.unlisted:
        raise SystemExit(1)


@click.command()
@click.argument("namespace")
@click.argument("order_id")
@_reason
@click.confirmation_option(prompt="Say for good that this order never reached the broker?")
def resolve(namespace: str, order_id: str, reason: str) -> None:
    """Say of ORDER_ID, which is unknown at NAMESPACE, that it never reached the broker.

    For an order that the broker's book cannot tell of any more, once you have looked at the broker by hand. An exit is
    then tried again.
    """
    settings = load_settings()
    servers = find_servers(settings)
    find_broker(namespace)
    topic = Topics(servers.prefix).of(namespace, "control")
    asyncio.run(set_level(settings, servers, topic, namespace, resolve_setting(order_id), ABSENT, reason))
    click.echo(f"{order_id}: taken for one that never arrived, once the arm runs and if it is unknown there")


@click.group()
def unattributed() -> None:
    """What a broker's account holds beyond the books of the strategies: `panda reconcile` shows it."""


@unattributed.command("assign")
@click.argument("namespace")
@click.argument("instrument")
@click.argument("strategy_id")
@_reason
def assign(namespace: str, instrument: str, strategy_id: str, reason: str) -> None:
    """Give STRATEGY_ID what is unattributed at NAMESPACE in INSTRUMENT, as NSE:INFY, at what it cost."""
    _do(namespace, ActionKind.ASSIGN, instrument=instrument, strategy_id=strategy_id, reason=reason)


@unattributed.command("close")
@click.argument("namespace")
@click.argument("instrument")
@_reason
@click.confirmation_option(prompt="Close it at the market?")
def close(namespace: str, instrument: str, reason: str) -> None:
    """Close at the market what is unattributed at NAMESPACE in INSTRUMENT, as NSE:INFY."""
    _do(namespace, ActionKind.CLOSE, instrument=instrument, reason=reason)


def _do(namespace: str, what: ActionKind, **fields: str) -> None:
    settings = load_settings()
    servers = find_servers(settings)
    find_broker(namespace)
    click.echo(f"{namespace}: {carry_out(settings, servers, namespace, what, _ANSWER_S, **fields)}")


async def _compared(
    servers: Servers, namespace: str, since: int, within_s: float
) -> tuple[LinkRecord | None, TraderRecord, list[PositionRecord]]:
    """What the arm says once it has compared after a moment of the wall's clock, and what is in nobody's book then."""
    client, keys = connect(servers.redis, decode_responses=True), Keys(namespace)
    deadline, link = time.monotonic() + within_s, None
    try:
        while time.monotonic() < deadline:
            told, text = await client.mget([keys.link, keys.trader])
            link = LinkRecord.model_validate_json(told) if told else None
            found = TraderRecord.model_validate_json(text) if text else None
            if found is not None and found.reconciled is not None and found.reconciled.at >= since:
                return link, found, await _nobodys(client, keys)
            await asyncio.sleep(0.2)
    except (RedisError, OSError) as error:
        raise ServerUnreachable(
            f"Redis does not answer: {type(error).__name__}", fix="look at `panda status` once it is back"
        ) from None
    finally:
        await client.aclose()
    why = link.trouble if link is not None and link.trouble else "it may be stopped, or have orders under way"
    raise PandaError(f"{namespace} has not compared within {within_s:g} s: {why}", fix="look at `panda status`")


async def _nobodys(client: Redis, keys: Keys) -> list[PositionRecord]:
    names = sorted(str(name) for name in await client.smembers(keys.positions(UNATTRIBUTED)))
    texts = await client.mget([keys.position(UNATTRIBUTED, name) for name in names]) if names else []
    positions = [PositionRecord.model_validate_json(text) for text in texts if text]
    return [position for position in positions if position.quantity]


def _show(namespace: str, link: LinkRecord | None, found: TraderRecord, nobodys: list[PositionRecord]) -> None:
    console = Console()
    endpoint = f" ({link.endpoint})" if link is not None else ""
    assert found.reconciled is not None
    console.print(
        f"{namespace}{endpoint}: {found.reconciled.instruments} instruments held at the broker; "
        f"{len(found.held)} in the books of the arm, {found.orders_today} orders sent today"
    )
    table = Table("what", "instrument", "quantity", "detail", box=None)
    for difference in found.reconciled.differences:
        table.add_row("difference", difference.instrument, f"{difference.quantity:,}", difference.text)
    for position in nobodys:
        fix = f"in no strategy's book: `panda unattributed assign|close {namespace} {position.instrument} …`"
        table.add_row("unattributed", position.instrument, f"{position.quantity:,}", fix)
    for other in found.unlisted:
        table.add_row("not listed", other.instrument, f"{other.quantity:,}", "not in PANDA_INSTRUMENTS: in no book")
    for order in found.quarantine:
        detail = f"broker's order {order.broker_id}, {order.side}, {order.status}: of our making, in no book"
        table.add_row("quarantine", order.instrument, f"{order.quantity:,}", detail)
    for order_id in found.unknown:
        overdue = order_id in found.overdue
        text = f"`panda resolve {namespace} {order_id}` once you have looked" if overdue else "is being asked for"
        table.add_row("unknown order", "", "", f"{order_id}: {text}")
    console.print(table if table.row_count else "nothing is unexplained")
