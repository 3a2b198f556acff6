"""Ends a worker whose Kafka was replaced by another one while it ran."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from mode import Service

from panda_streams.errors import StampMismatch

__all__ = ["ClusterGuard"]

_log = logging.getLogger(__name__)

_INTERVAL_S = 1.0


class ClusterGuard(Service):
    """Asks Kafka every second which cluster it is.

    A worker reconnects by itself after an outage. If another world's Kafka listens on the address by then, it would
    join that world's group under its own stamp, which was compared at its start. `expected` is the cluster id of that
    moment; the composition root sets it before the service starts.
    """

    expected: str = ""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        self._options = options

    @Service.task
    async def _watch(self) -> None:
        admin: AIOKafkaAdminClient | None = None
        while not self.should_stop:
            try:
                if admin is None:
                    admin = AIOKafkaAdminClient(**self._options, request_timeout_ms=3000)
                    await admin.start()
                self.compare(str((await admin.describe_cluster())["cluster_id"]))
            except (KafkaError, OSError, TimeoutError):
                # Away: health says so. The next look starts with a new connection.
                if admin is not None:
                    await admin.close()
                    admin = None
            await asyncio.sleep(_INTERVAL_S)
        if admin is not None:
            await admin.close()

    def compare(self, found: str) -> None:
        """End the process at once if the cluster is another one: nothing is acknowledged on the way out."""
        if found != self.expected:
            _log.critical(
                "stopping: this worker's Kafka was cluster %s, now cluster %s answers at its address; start the worker "
                "again in the world that it belongs to",
                self.expected,
                found,
            )
            logging.shutdown()
            os._exit(StampMismatch.exit_code)
