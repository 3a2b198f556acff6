"""Commits of a rival: in the background, as often as the workers'. A loop that awaits each commit is easier to beat."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

__all__ = ["Commits"]

_INTERVAL_S = 0.5
"""Of the workers: see panda_streams.streams.app."""


class Commits:
    """Commits what a consumer's loop has done, beside the loop."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._offsets: dict[TopicPartition, int] = {}
        self._task = asyncio.create_task(self._run())

    def done(self, fetched: Mapping[TopicPartition, Sequence[Any]]) -> None:
        """Take note that these records are handled, and all that was said of them is acknowledged."""
        for place, records in fetched.items():
            self._offsets[place] = records[-1].offset + 1

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL_S)
            if self._offsets:
                offsets, self._offsets = self._offsets, {}
                await self._consumer.commit(offsets)

    async def stop(self) -> None:
        """Stop, and raise what a commit has raised."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if not self._task.cancelled():
            self._task.result()
