"""Shards: which partition an instrument lives on."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from panda_streams.domain.instruments import Instruments

__all__ = ["ShardMap"]


@dataclass(frozen=True, slots=True)
class ShardMap:
    """Maps each instrument to its shard: a function of its id, or its underlying's, and the number of partitions.

    An index is only watched, never traded, and is copied to every shard, so that a strategy finds it beside each
    instrument that it trades. Derivatives live with their underlying: a share's on the share's shard, an index's on
    the one that `home` names, so that all of them are on one.
    """

    partitions: int
    instruments: Instruments
    _known: dict[str, range] = field(default_factory=dict, init=False, repr=False, compare=False)

    def shards(self, instrument_id: str) -> range:
        """The shards that a tick of this instrument belongs to; raises KeyError for an unknown instrument."""
        known = self._known.get(instrument_id)
        if known is None:
            known = self._known[instrument_id] = self._shards(instrument_id)
        return known

    def home(self, underlying_id: str) -> int:
        """The one shard of all derivatives of an underlying."""
        return zlib.crc32(underlying_id.encode()) % self.partitions

    def _shards(self, instrument_id: str) -> range:
        instrument = self.instruments[instrument_id]
        if not instrument.tradable:
            return range(self.partitions)
        shard = self.home(instrument.underlying or instrument_id)
        return range(shard, shard + 1)
