"""Shards: which partition an instrument lives on."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from panda_streams.domain.instruments import Instruments

__all__ = ["ShardMap"]


@dataclass(frozen=True, slots=True)
class ShardMap:
    """Maps each instrument to its shard: a function of its id and the number of partitions.

    An index is only watched, never traded, and is copied to every shard, so that a strategy finds it beside each
    instrument that it trades.
    """

    partitions: int
    instruments: Instruments

    def shards(self, instrument_id: str) -> range:
        """The shards that a tick of this instrument belongs to; raises KeyError for an unknown instrument."""
        if not self.instruments[instrument_id].tradable:
            return range(self.partitions)
        shard = zlib.crc32(instrument_id.encode()) % self.partitions
        return range(shard, shard + 1)
