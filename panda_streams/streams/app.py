"""Builds the Faust application of a worker, with the settings that a trading worker needs."""

from __future__ import annotations

import ssl

import faust
from faust.types.auth import SASLMechanism
from mode import Service

from panda_streams.identity import Identity, Role
from panda_streams.settings import Settings
from panda_streams.streams.loop import AgentLoop
from panda_streams.streams.worker import PandaWorker

__all__ = ["BROKER_REBALANCE_S", "BROKER_SESSION_S", "PandaApp", "make_app"]

BROKER_SESSION_S = 10.0
BROKER_REBALANCE_S = 15.0
_MIB = 1024 * 1024


class PandaApp(faust.App):
    """A Faust application that starts some services before its first event, and whose agents share one loop."""

    early: tuple[Service, ...] = ()
    """Started, in order, before the consumer: no event is handled until all of them are up."""
    agent_loop: AgentLoop
    """Set by the composition root."""
    recovered: int | None = None
    """Generation of the group whose tables were recovered last: set by faust_fixes.mend_recovery."""

    async def on_start(self) -> None:
        await super().on_start()
        await self.agent_loop.start()
        for service in self.early:
            self.add_dependency(service)
            await service.maybe_start()

    def on_rebalance_end(self) -> None:
        """Called by Faust once the tables of a new assignment are recovered and the flow goes on."""
        super().on_rebalance_end()
        self.agent_loop.begin()

    async def on_stop(self) -> None:
        # Before Faust closes the tables; what is acknowledged now is committed when the consumer stops.
        await self.agent_loop.release()
        await super().on_stop()
        await self.agent_loop.stop()


def make_app(identity: Identity, settings: Settings, hosts: str) -> PandaApp:
    """Make the application of `identity` on the Kafka at `hosts`; connects to nothing yet."""
    return PandaApp(
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
        broker_session_timeout=BROKER_SESSION_S,
        broker_heartbeat_interval=2,
        broker_rebalance_timeout=BROKER_REBALANCE_S,
        # Applies to changelogs too: "latest" would lose rows.
        consumer_auto_offset_reset="earliest",
        # Of a partition. Each fetch costs about a millisecond, whatever it brings. An arm's partitions have several
        # writers: what a larger fetch brings would not fit (inputs.HOLD) and be read twice.
        consumer_max_fetch_size=4 * _MIB if identity.role is Role.BRAIN else _MIB,
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
