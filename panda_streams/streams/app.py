"""Builds the Faust application of a worker, with the settings that a trading worker needs."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import faust
from faust.types.auth import SASLMechanism
from mode import Service

from panda_streams.identity import Identity
from panda_streams.settings import Settings
from panda_streams.streams.worker import PandaWorker

__all__ = ["PandaApp", "make_app"]


class PandaApp(faust.App):
    """A Faust application that starts some services before its first event, and forgets what changed hands."""

    early: tuple[Service, ...] = ()
    """Started, in order, before the consumer: no event is handled until all of them are up."""
    forget: Callable[[], None] = staticmethod(lambda: None)
    """Called whenever partitions are revoked or assigned: what is held in memory of rows may be another worker's."""

    async def on_start(self) -> None:
        await super().on_start()
        for service in self.early:
            self.add_dependency(service)
            await service.maybe_start()


def make_app(identity: Identity, settings: Settings, hosts: str) -> PandaApp:
    """Make the application of `identity` on the Kafka at `hosts`; connects to nothing yet."""
    app = PandaApp(
        identity.app_id,
        broker=[f"kafka://{host}" for host in hosts.split(",")],
        broker_credentials=_credentials(settings),
        store="rocksdb://",
        datadir=str(identity.data_dir / "tables"),
        Worker=PandaWorker,
        topic_partitions=settings.partitions,
        topic_replication_factor=settings.replication,
        topic_disable_leader=True,
        table_standby_replicas=0,
        processing_guarantee="at_least_once",
        broker_commit_interval=0.5,
        broker_commit_every=1000,
        # With a static member id a killed worker is back within 2 to 3 seconds; without, after the session timeout.
        consumer_group_instance_id=identity.member_id,
        broker_session_timeout=10,
        broker_heartbeat_interval=2,
        broker_rebalance_timeout=15,
        # Applies to changelogs too: "latest" would lose rows.
        consumer_auto_offset_reset="earliest",
        producer_acks=-1,
        # Acknowledgements are awaited, so a record that lingers only delays the one that waits for it.
        producer_linger=0,
        producer_max_batch_size=262_144,
        stream_buffer_maxsize=16_384,
        stream_publish_on_commit=False,
        stream_wait_empty=True,
        worker_redirect_stdouts=False,
        # Bare names such as WEB_PORT in the environment would override what is passed here.
        env_prefix="PANDA_FAUST_",
        canonical_url=identity.canonical_url,
        web_port=identity.web_port,
        web_bind="127.0.0.1",
        web_tables_enabled=False,
        web_router_enabled=False,
        web_metrics_enabled=False,
    )

    async def forget(*args: Any, **kwargs: Any) -> None:
        app.forget()

    app.on_partitions_assigned.connect(forget, weak=False)
    app.on_partitions_revoked.connect(forget, weak=False)
    return app


def _credentials(settings: Settings) -> faust.SASLCredentials | faust.SSLCredentials | None:
    protocol = settings.kafka_security_protocol
    cafile = str(settings.kafka_ssl_cafile) if settings.kafka_ssl_cafile else None
    context = ssl.create_default_context(cafile=cafile) if protocol.endswith("SSL") else None
    if protocol.startswith("SASL"):
        password = settings.kafka_sasl_password
        return faust.SASLCredentials(
            username=settings.kafka_sasl_username,
            password=password.get_secret_value() if password else None,
            mechanism=SASLMechanism(settings.kafka_sasl_mechanism),
            ssl_context=context,
        )
    return faust.SSLCredentials(context=context) if context else None
