"""Tables whose rows are JSON bytes and whose changelog records can be awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import faust

__all__ = ["LogTable", "make_table"]


class LogTable(faust.Table):
    """A Faust table that keeps the futures of its changelog records.

    A row is durable only once its changelog record is acknowledged: await `acknowledged()` before anything that
    must not happen without the row.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sent: list[Any] = []

    def on_key_set(self, key: bytes, value: bytes) -> None:
        self._sent.append(self.send_changelog(self.partition_for_key(key), key, value))

    @property
    def unacknowledged(self) -> int:
        """Rows that were set and not yet awaited."""
        return len(self._sent)

    async def acknowledged(self) -> None:
        """Return once every row that was set is acknowledged by Kafka."""
        sent, self._sent = self._sent, []
        if sent:
            await asyncio.gather(*sent)

    def rows(self) -> Iterator[tuple[bytes, bytes]]:
        """The rows of this worker's partitions."""
        yield from self.items()


def make_table(app: faust.App, name: str, help: str) -> LogTable:
    """Declare a table of `app`, in RocksDB with buffers that suit many small tables on one machine."""
    table = LogTable(
        app,
        name=name,
        key_type=bytes,
        value_type=bytes,
        partitions=app.conf.topic_partitions,
        help=help,
        # RocksDB's defaults are 2 GiB of cache and 192 MiB of write buffers per partition and table. A dict of its
        # own for each table: Faust changes it.
        options={
            "block_cache_size": 8 << 20,
            "write_buffer_size": 4 << 20,
            "max_write_buffer_number": 2,
            "target_file_size_base": 8 << 20,
            "max_open_files": 64,
        },
    )
    app.tables.add(table)
    return table
