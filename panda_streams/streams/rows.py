"""Tables whose rows are JSON, large ones packed, written a micro-batch at a time: changelog first, then the store.

Relies on private parts of Faust 0.15.3 and its RocksDB store (`_db_for_partition`, `_dbs`, `offset_key`,
`changelog_topic_name`), checked by faust_fixes.check_versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import faust
import rocksdict

from panda_streams.streams.packing import unpack
from panda_streams.topics import TopicKey, TopicSpec

__all__ = ["LogTable", "MAX_WRITE_BYTES", "changelogs", "make_table"]

MAX_WRITE_BYTES = 8 << 20
"""The largest micro-batch that a changelog takes: it is one batch of Kafka, appended whole or not at all."""

_CONFIG = {"max.message.bytes": str(MAX_WRITE_BYTES)}


class LogTable(faust.Table):
    """A Faust table that is written by partition and micro-batch instead of by key.

    Faust recovers it, shares it among workers and stores it; a write goes to the changelog by the loop's own producer
    and reaches the store here, as one atomic batch together with the changelog's offset.
    """

    def read(self, partition: int, key: bytes) -> bytes | None:
        """A row as it is stored."""
        value: bytes | None = self.data._db_for_partition(partition).get(key)
        return value

    def store(self, partition: int, rows: Mapping[bytes, bytes | None], offset: int) -> None:
        """Store rows whose changelog records are acknowledged, the last of them at `offset`; None removes a row."""
        store = self.data
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in rows.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(store.offset_key, str(offset).encode())
        store._db_for_partition(partition).write(batch)

    def stored_offset(self, partition: int) -> int | None:
        """Offset of the last changelog record in the store; None if it is empty."""
        value = self.data._db_for_partition(partition).get(self.data.offset_key)
        return int(value) if value is not None else None

    @property
    def changelog(self) -> str:
        """The full name of its changelog topic."""
        name: str = self.changelog_topic_name
        return name

    @property
    def partitions_here(self) -> list[int]:
        """The partitions whose rows this worker has."""
        return sorted(self.data._dbs)

    def rows(self, partition: int | None = None) -> Iterator[tuple[bytes, bytes]]:
        """The JSON of the rows of this worker's partitions, or of one of them; the loop's own rows are left out."""
        for number in self.partitions_here if partition is None else [partition]:
            hidden = self.data.offset_key
            for key, value in self.data._db_for_partition(number).items():
                if key != hidden and not key.startswith(b"\x00"):
                    yield key, unpack(value)


def make_table(app: faust.App, name: str, help: str) -> LogTable:
    """Declare a table of `app`, in RocksDB with buffers that suit many small tables on one machine."""
    table = LogTable(
        app,
        name=name,
        key_type=bytes,
        value_type=bytes,
        partitions=app.conf.topic_partitions,
        help=help,
        extra_topic_configs=dict(_CONFIG),
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


def changelogs(tables: Iterable[LogTable]) -> dict[str, TopicSpec]:
    """The changelog topics of tables, by full name: to be made before the worker joins its group.

    Faust would make them as it starts, and the group's leader leaves out of the assignment whatever Kafka does not yet
    know ("Ignoring missing topic"). Members with static ids keep that assignment through every restart, and a table
    whose changelog is not assigned is not recovered: without its files it begins anew.
    """
    config = {"min.cleanable.dirty.ratio": "0.5", **_CONFIG}
    return {
        table.changelog: TopicSpec(
            table.changelog, TopicKey.ORIGIN, "rows", "its worker", compacted=True, config=config
        )
        for table in tables
    }
