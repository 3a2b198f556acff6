"""Shards: one home for each instrument that is traded, every shard for an index."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda_streams.domain.instruments import Instrument, InstrumentKind, Instruments
from panda_streams.domain.shards import ShardMap
from panda_streams.instrument_files import load_instruments

_INSTRUMENTS = load_instruments()
ids = st.sampled_from([instrument.id for instrument in _INSTRUMENTS])


@given(st.integers(1, 256), ids)
def test_what_can_be_traded_has_one_shard_and_an_index_has_all(partitions, instrument):
    shards = ShardMap(partitions, _INSTRUMENTS).shards(instrument)

    if _INSTRUMENTS[instrument].tradable:
        assert len(shards) == 1
        assert shards[0] in range(partitions)
    else:
        assert shards == range(partitions)


def test_the_map_is_the_same_on_every_machine_and_in_every_version():
    shards = ShardMap(4, _INSTRUMENTS)

    homes = {symbol: shards.shards(f"NSE:{symbol}")[0] for symbol in ("RELIANCE", "INFY", "TCS", "SBIN", "M&M")}

    assert homes == {"RELIANCE": 1, "INFY": 2, "TCS": 3, "SBIN": 1, "M&M": 1}


def test_shares_are_spread_over_the_shards():
    shards = ShardMap(4, _INSTRUMENTS)
    homes = [shards.shards(one.id)[0] for one in _INSTRUMENTS if one.tradable]

    assert {homes.count(shard) > len(homes) // 10 for shard in range(4)} == {True}


@given(st.integers(1, 256), ids)
def test_derivatives_live_on_one_shard_which_sees_their_underlying(partitions, underlying):
    future = Instrument(
        exchange="NFO", symbol="F", kind=InstrumentKind.FUTURE, underlying=underlying, expiry=date(2026, 8, 25)
    )
    shards = ShardMap(partitions, Instruments([*_INSTRUMENTS, future]))

    assert list(shards.shards("NFO:F")) == [shards.home(underlying)]
    assert shards.home(underlying) in shards.shards(underlying)


def test_an_unknown_instrument_has_no_shard():
    with pytest.raises(KeyError, match="NSE:NOPE"):
        ShardMap(4, _INSTRUMENTS).shards("NSE:NOPE")
