"""Binary ticks, read by the official client's own parser."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from kiteconnect import KiteTicker
from msgspec.structs import replace

from panda_streams.domain.instruments import Instrument
from panda_streams.domain.ticks import Depth, DepthLevel
from panda_streams.kite_frames import Mode, frame
from panda_streams.kitesim.frames import packet
from panda_streams.kitesim.market import InstrumentState
from tests.unit.builders import INDEX, SHARE, T0
from tests.unit.kitesim.bench import DEPTH

TOKEN = 408065
STATE = InstrumentState(
    instrument=SHARE.id,
    day=1,
    price=157_370,
    quantity=7,
    volume=1_192_471,
    bid=157_340,
    ask=157_370,
    time=T0 + 999,
    open=156_915,
    high=157_500,
    low=156_105,
    close=156_780,
    turnover=157_037 * 3,
    traded=3,
    start=T0,
    minute=(1, 1, 1, 1),
)


def parsed(data: bytes) -> list[dict[str, Any]]:
    ticks: list[dict[str, Any]] = KiteTicker("key", "token")._parse_binary(data)
    return ticks


def a_packet(mode: Mode, instrument: Instrument = SHARE, token: int = TOKEN, depth: Depth = DEPTH) -> bytes:
    return packet(mode, token, instrument, STATE, depth)


def test_the_client_reads_back_what_was_packed() -> None:
    full, quote, ltp = parsed(frame([a_packet(mode) for mode in (Mode.FULL, Mode.QUOTE, Mode.LTP)]))

    assert [tick["mode"] for tick in (full, quote, ltp)] == ["full", "quote", "ltp"]
    assert ltp == {"tradable": True, "mode": "ltp", "instrument_token": TOKEN, "last_price": 1573.7}
    assert {**full, "mode": "quote"} == {**full, **quote}
    assert full["ohlc"] == {"open": 1569.15, "high": 1575, "low": 1561.05, "close": 1567.8}
    assert (full["average_traded_price"], full["volume_traded"], full["last_traded_quantity"]) == (
        1570.37,
        1_192_471,
        7,
    )
    assert (full["total_buy_quantity"], full["total_sell_quantity"]) == (150, 300)
    assert full["exchange_timestamp"].timestamp() == T0 // 1000
    assert full["last_trade_time"] == full["exchange_timestamp"]
    assert full["depth"]["buy"][0] == {"quantity": 10, "price": 1499.95, "orders": 1}
    assert full["depth"]["sell"][4] == {"quantity": 100, "price": 1500.25, "orders": 1}


def test_a_side_of_the_book_has_five_levels_whatever_there_is() -> None:
    deep = Depth((), tuple(DepthLevel(150_000 + level, 1) for level in range(9)))

    (tick,) = parsed(frame([a_packet(Mode.FULL, depth=deep)]))

    assert [level["quantity"] for level in tick["depth"]["buy"]] == [0] * 5
    assert [level["price"] for level in tick["depth"]["sell"]] == [1500.0, 1500.01, 1500.02, 1500.03, 1500.04]


@pytest.mark.parametrize(("mode", "length"), [(Mode.LTP, 8), (Mode.QUOTE, 28), (Mode.FULL, 32)])
def test_an_index_has_packets_of_its_own(mode: Mode, length: int) -> None:
    data = a_packet(mode, INDEX, 256_265)
    (tick,) = parsed(frame([data]))

    assert len(data) == length
    assert (tick["tradable"], tick["last_price"]) == (False, 1573.7)
    if mode is not Mode.LTP:
        assert tick["ohlc"] == {"open": 1569.15, "high": 1575, "low": 1561.05, "close": 1567.8}


def test_currencies_are_sent_in_smaller_parts() -> None:
    rupees = replace(SHARE, exchange="CDS", decimals=4)

    (tick,) = parsed(frame([packet(Mode.LTP, 256 * 5000 + 3, rupees, STATE, DEPTH)]))

    assert tick["last_price"] == 15.737


def test_a_number_too_large_for_the_wire_is_the_largest() -> None:
    (tick,) = parsed(frame([packet(Mode.QUOTE, TOKEN, SHARE, replace_volume(2**40), DEPTH)]))

    assert tick["volume_traded"] == 2**31 - 1


def replace_volume(volume: int) -> InstrumentState:
    state = replace(STATE)
    state.volume = volume
    return state


@pytest.mark.parametrize(("name", "mode"), [("ticker_full", Mode.FULL), ("ticker_quote", Mode.QUOTE)])
def test_a_packet_is_that_of_the_official_sample_byte_by_byte(name: str, mode: Mode, shared_data: Path) -> None:
    mocks = shared_data / "kiteconnect-mocks"
    official = base64.b64decode((mocks / f"{name}.packet").read_text())
    (tick,) = parsed(frame([official]))
    said = json.loads((mocks / f"{name}.json").read_text())
    assert tick["last_price"] == said["last_price"]

    paise = {part: round(tick["ohlc"][part] * 100) for part in ("open", "high", "low", "close")}
    state = InstrumentState(
        instrument=SHARE.id,
        day=1,
        price=round(tick["last_price"] * 100),
        quantity=tick["last_traded_quantity"],
        volume=tick["volume_traded"],
        time=int(tick["exchange_timestamp"].timestamp()) * 1000 if mode is Mode.FULL else T0,
        turnover=round(tick["average_traded_price"] * 100),
        traded=1,
        start=T0,
        minute=(1, 1, 1, 1),
        **paise,
    )
    ours = packet(mode, tick["instrument_token"], SHARE, state, _book(tick))

    # Ours has one order a level, and as total quantities those of the levels that are shown.
    assert _without_counts(ours) == _without_counts(official)


def _book(tick: dict[str, Any]) -> Depth:
    sides = [
        tuple(DepthLevel(round(level["price"] * 100), level["quantity"]) for level in levels)
        for levels in tick.get("depth", {"buy": [], "sell": []}).values()
    ]
    return Depth(*sides)


def _without_counts(data: bytes) -> bytes:
    blank = bytearray(data)
    blank[20:28] = bytes(8)
    for level in range((len(blank) - 64) // 12 if len(blank) > 64 else 0):
        blank[64 + 12 * level + 8 : 64 + 12 * level + 12] = bytes(4)
    return bytes(blank)
