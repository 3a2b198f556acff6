"""Connects plain Kafka clients: the options that every producer, consumer and admin client shares."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from aiokafka import AIOKafkaClient
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from panda_streams.errors import ServerUnreachable
from panda_streams.settings import Settings

__all__ = ["await_kafka", "client_options", "cluster_id"]


def client_options(settings: Settings, hosts: str) -> dict[str, Any]:
    """Options for aiokafka clients of the Kafka at `hosts` (host:port, separated by commas)."""
    options: dict[str, Any] = {
        "bootstrap_servers": hosts.split(","),
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        cafile = str(settings.kafka_ssl_cafile) if settings.kafka_ssl_cafile else None
        options["ssl_context"] = ssl.create_default_context(cafile=cafile)
    if settings.kafka_security_protocol.startswith("SASL"):
        password = settings.kafka_sasl_password
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": password.get_secret_value() if password else None,
        }
    return options


async def await_kafka(settings: Settings, hosts: str, *, timeout_s: float = 6.0) -> None:
    """Return once Kafka answers; raise ServerUnreachable after `timeout_s` seconds."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        client = AIOKafkaClient(**client_options(settings, hosts), request_timeout_ms=3000)
        try:
            await asyncio.wait_for(client.bootstrap(), timeout=3)
            return
        except (KafkaError, OSError, TimeoutError) as error:
            if asyncio.get_running_loop().time() > deadline:
                where = "KAFKA_BROKER_URL" if settings.kafka_broker_url else "the running deployment"
                raise ServerUnreachable(
                    f"Kafka at {hosts} (from {where}) does not answer: {type(error).__name__}: {error}",
                    fix="start it, or correct KAFKA_BROKER_URL and the KAFKA_… security settings",
                ) from None
            await asyncio.sleep(0.2)
        finally:
            await client.close()


async def cluster_id(settings: Settings, hosts: str) -> str:
    """The id that Kafka gave itself when its storage was made."""
    admin = AIOKafkaAdminClient(**client_options(settings, hosts))
    await admin.start()
    try:
        return str((await admin.describe_cluster())["cluster_id"])
    finally:
        await admin.close()
