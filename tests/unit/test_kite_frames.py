from __future__ import annotations

import base64
import json
from datetime import datetime
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kiteconnect import KiteTicker

from panda_streams.domain.ticks import Depth, DepthLevel
from panda_streams.kite_frames import (
    Full,
    IndexFull,
    IndexQuote,
    LastPrice,
    Packet,
    Quote,
    decode,
    encode,
    price_divisor,
)
from tests.unit.kite_packets import INFY_TOKEN, a_book, a_full, a_last_price, a_quote, an_index

OFFICIAL = KiteTicker("key", "token")


def framed(packets: list[bytes]) -> bytes:
    return pack(">H", len(packets)) + b"".join(pack(">H", len(packet)) + packet for packet in packets)


def told(packet: Packet) -> dict[str, Any]:
    """A packet as the official client tells it."""
    divisor = float(price_divisor(packet.token))
    traded = isinstance(packet, Quote | Full)
    modes = {LastPrice: "ltp", Quote: "quote", IndexQuote: "quote"}
    fields: dict[str, Any] = {
        "tradable": packet.token & 0xFF != 9,
        "mode": modes.get(type(packet), "full"),
        "instrument_token": packet.token,
        "last_price": packet.price / divisor,
    }
    if isinstance(packet, LastPrice):
        return fields
    ohlc = {name: getattr(packet, name) / divisor for name in ("open", "high", "low", "close")}
    change = (fields["last_price"] - ohlc["close"]) * 100 / ohlc["close"] if ohlc["close"] else 0
    fields |= {"ohlc": ohlc, "change": change}
    if traded:
        fields |= {
            "last_traded_quantity": packet.quantity,
            "average_traded_price": packet.average_price / divisor,
            "volume_traded": packet.volume,
            "total_buy_quantity": packet.buy_quantity,
            "total_sell_quantity": packet.sell_quantity,
        }
    if isinstance(packet, Full | IndexFull):
        fields["exchange_timestamp"] = packet.time or 0
    if isinstance(packet, Full):
        fields |= {
            "last_trade_time": packet.last_trade_time or 0,
            "oi": packet.open_interest,
            "oi_day_high": packet.open_interest_high,
            "oi_day_low": packet.open_interest_low,
            "orders": packet.orders,
            "depth": packet.depth,
        }
    return fields


def officially(data: bytes) -> list[dict[str, Any]]:
    """What the official client reads, its naive times as milliseconds and its order book as a Depth."""
    ticks = OFFICIAL._parse_binary(data)
    for tick in ticks:
        for name in ("exchange_timestamp", "last_trade_time"):
            if name in tick:
                tick[name] = round(tick[name].timestamp() * 1000)
        if "depth" in tick:
            divisor, sides = price_divisor(tick["instrument_token"]), tick.pop("depth")
            tick["orders"] = tuple(level["orders"] for side in ("buy", "sell") for level in sides[side])
            bids, asks = (
                tuple(DepthLevel(round(e["price"] * divisor), e["quantity"]) for e in sides[side] if e["quantity"])
                for side in ("buy", "sell")
            )
            tick["depth"] = Depth(bids, asks) if bids or asks else None
    return ticks


numbers = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2**31, 2**32 - 1])).map(lambda n: pack(">I", n))
segments = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 200])
tokens = st.builds(lambda exchange, segment: pack(">I", exchange << 8 | segment), st.integers(0, 2**24 - 1), segments)


def packets_of(length: int) -> st.SearchStrategy[bytes]:
    rest = length // 4 - 1
    return st.builds(
        lambda token, more: token + b"".join(more), tokens, st.lists(numbers, min_size=rest, max_size=rest)
    )


known = st.sampled_from([8, 28, 32, 44, 184]).flatmap(packets_of)


@given(st.lists(known, max_size=6))
def test_every_field_is_what_the_official_client_reads(packets: list[bytes]) -> None:
    data = framed(packets)

    decoded = decode(data)

    assert [told(packet) for packet in decoded.packets] == officially(data)
    assert (decoded.unknown, decoded.missing) == (0, 0)


@given(st.lists(known, max_size=6))
def test_a_frame_is_written_as_it_was_read(packets: list[bytes]) -> None:
    data = framed(packets)

    assert encode(decode(data).packets) == data


@given(st.lists(known, max_size=4), st.data())
def test_a_frame_that_is_cut_off_gives_its_whole_packets_and_counts_the_others(
    packets: list[bytes], data: st.DataObject
) -> None:
    whole = framed(packets)
    cut = data.draw(st.integers(2, len(whole)))

    decoded = decode(whole[:cut])

    assert decoded.packets == decode(whole).packets[: len(decoded.packets)]
    assert len(decoded.packets) + decoded.missing == len(packets)


@given(st.binary(max_size=600))
def test_no_bytes_raise(data: bytes) -> None:
    decode(data)


def test_a_packet_of_an_unknown_length_is_counted_and_passed_over() -> None:
    packets = encode([a_quote(), a_last_price()])
    (quote, last) = packets[4:48], packets[50:]

    decoded = decode(framed([quote, b"new kind", b"x" * 100, last]))

    assert [type(packet) for packet in decoded.packets] == [Quote, LastPrice, LastPrice]
    assert (decoded.unknown, decoded.missing) == (1, 0)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x01", b"\x00\x00"])
def test_a_heartbeat_holds_nothing(data: bytes) -> None:
    assert decode(data) == ([], 0, 0)


@pytest.mark.parametrize("mode", ["full", "quote"])
def test_an_official_packet_says_what_its_json_says(shared_data: Path, mode: str) -> None:
    mocks = shared_data / "kiteconnect-mocks"
    raw = base64.b64decode((mocks / f"ticker_{mode}.packet").read_text())
    expected = json.loads((mocks / f"ticker_{mode}.json").read_text())

    (packet,) = decode(framed([raw])).packets

    assert isinstance(packet, Full | Quote)
    assert (packet.token, packet.price / 100) == (expected["instrument_token"], expected["last_price"])
    assert (packet.quantity, packet.volume) == (expected["last_quantity"], expected["volume"])
    assert (packet.buy_quantity, packet.sell_quantity) == (expected["buy_quantity"], expected["sell_quantity"])
    assert packet.average_price / 100 == expected["average_price"]
    assert {name: getattr(packet, name) / 100 for name in expected["ohlc"]} == expected["ohlc"]
    if mode == "full":
        assert isinstance(packet, Full)
        assert packet.depth is not None
        stamps = [expected["timestamp"], expected["last_trade_time"]]
        assert [packet.time, packet.last_trade_time] == [
            datetime.fromisoformat(stamp).timestamp() * 1000 for stamp in stamps
        ]
        for levels, side in [(packet.depth.bids, "buy"), (packet.depth.asks, "sell")]:
            assert [(level.price / 100, level.quantity) for level in levels] == [
                (level["price"], level["quantity"]) for level in expected["depth"][side]
            ]
        assert packet.orders == tuple(e["orders"] for side in ("buy", "sell") for e in expected["depth"][side])
        assert packet.best == (packet.depth.bids[0].price, packet.depth.asks[0].price)


@pytest.mark.parametrize(("segment", "divisor"), [(1, 100), (2, 100), (3, 10**7), (6, 10**4), (9, 100), (12, 10**4)])
def test_the_tokens_segment_says_what_prices_are_divided_by(segment: int, divisor: int) -> None:
    assert price_divisor(1000 << 8 | segment) == divisor


def test_levels_on_which_nobody_waits_are_left_out() -> None:
    one_sided = a_full(book=a_book([(10, 139_990, 1)], []))

    assert one_sided.best == (139_990, None)
    assert one_sided.depth == Depth((DepthLevel(139_990, 10),), ())
    assert a_full(book=a_book([], [])).depth is None


def test_a_time_that_is_not_told_is_none() -> None:
    assert a_full(exchange_s=0).time is None
    assert an_index(exchange_s=1_625_461_887).time == 1_625_461_887_000
    assert a_quote(INFY_TOKEN).time is None


def test_the_fall_of_an_index_is_a_negative_change() -> None:
    data = framed([pack(">6Ii", 256265, 1_570_000, 1, 2, 3, 1_571_000, -1000)])

    (index,) = decode(data).packets

    assert isinstance(index, IndexQuote)
    assert index.change == -1000
