"""`panda topics`: create the topics of a world on a given Kafka, and list them."""

from __future__ import annotations

import asyncio
import json

import click
from rich.console import Console
from rich.table import Table

from panda_streams.brokers.port import registered_brokers
from panda_streams.servers import find_servers
from panda_streams.settings import load_settings
from panda_streams.streams.admin import check_topics
from panda_streams.streams.client import await_kafka
from panda_streams.topics import Topics
from panda_streams.worlds import prepare

__all__ = ["topics"]


@click.group()
def topics() -> None:
    """Create, check and list the topics of a world."""


@topics.command()
def create() -> None:
    """Create what is missing and stamp Kafka and Redis with this world; safe to repeat."""
    settings = load_settings()
    servers = find_servers(settings)
    new = asyncio.run(prepare(settings, servers))
    click.echo(
        f"world {servers.world.name}: {len(new)} topics created" + (": " + ", ".join(sorted(new)) if new else "")
    )


@topics.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_topics(as_json: bool) -> None:
    """List the topics of the world, and fail if one is missing or has another partition count."""
    settings = load_settings()
    servers = find_servers(settings)
    specs = Topics(servers.prefix).specs(list(registered_brokers()))

    async def check() -> None:
        await await_kafka(settings, servers.kafka)
        await check_topics(settings, servers.kafka, list(specs))

    asyncio.run(check())
    if as_json:
        rows = [{"topic": name, "key": spec.key, "value": spec.value} for name, spec in specs.items()]
        click.echo(json.dumps({"world": servers.world.name, "partitions": settings.partitions, "topics": rows}))
        return
    table = Table("topic", "key", "value", title=f"world {servers.world.name}, {settings.partitions} partitions each")
    for name, spec in specs.items():
        table.add_row(name, spec.key, spec.value)
    Console().print(table)
