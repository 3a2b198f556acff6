"""A frame of Kite's ticker, from its bytes: our packets against the dictionaries of the official client.

Both sides read the same frames of 100 packets, and every value that they give is compared first. The official client
computes all of them at once; ours leaves the order book, which is most of a full packet, as bytes until somebody asks
for it. So full mode is measured three times: as each side decodes it; with the order book of every packet asked for,
against the same dictionaries, which have theirs already; and on to the end, to the Tick and the Depth that the feed
publishes, which the dictionaries have to be turned into as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from random import Random
from struct import pack
from typing import Any

import click
from kiteconnect import KiteTicker

from benchmarks.measure import Result, cpu_us
from panda_streams.domain.ticks import Depth, DepthLevel, Tick
from panda_streams.kite_frames import Full, LastPrice, Packet, Quote, decode, encode, price_divisor

_PACKETS = 100
_BEGIN_S = 1_787_541_300
"""A trading day in August 2026, 09:15 in India, seconds since the epoch."""
_NAME = "a packet of Kite's ticker, CPU microseconds: the official client's against ours"


def _full(random: Random, number: int) -> Full:
    price, second = 5 * random.randrange(2_000, 60_000), _BEGIN_S + random.randrange(20_000)
    levels = [(random.randrange(1, 9_999), price + 5 * step, random.randrange(1, 99)) for step in (*range(-5, 0),)]
    asks = [(quantity, 2 * price - bid, orders) for quantity, bid, orders in reversed(levels)]
    book = b"".join(pack(">IIHH", *level, 0) for level in (*reversed(levels), *reversed(asks)))
    day = (price, price + 500, price - 500, price - 100)
    counts = [random.randrange(1, 10_000_000) for _ in range(3)]
    return Full((number + 1) << 8 | 1, price, 7, price - 3, *counts, *day, second, 0, 0, 0, second, book)


def _frames() -> dict[str, tuple[bytes, list[Packet]]]:
    random = Random(1)
    full = [_full(random, number) for number in range(_PACKETS)]
    quote = [
        Quote(p.token, p.price, p.quantity, p.average_price, p.volume, p.buy_quantity, p.sell_quantity, *_ohlc(p))
        for p in full
    ]
    last = [LastPrice(p.token, p.price) for p in full]
    packets: dict[str, Sequence[Packet]] = {"full": full, "quote": quote, "ltp": last}
    return {mode: (encode(some), list(some)) for mode, some in packets.items()}


def _ohlc(packet: Quote | Full) -> tuple[int, int, int, int]:
    return packet.open, packet.high, packet.low, packet.close


def _check(packet: Packet, told: dict[str, Any]) -> None:
    """Raise AssertionError unless both sides say the same of a packet, in each field."""
    divisor = float(price_divisor(packet.token))
    assert (packet.token, packet.price / divisor) == (told["instrument_token"], told["last_price"])
    if not isinstance(packet, Quote | Full):
        return
    assert (
        dict(zip(("open", "high", "low", "close"), (p / divisor for p in _ohlc(packet)), strict=True)) == told["ohlc"]
    )
    assert (packet.quantity, packet.volume) == (told["last_traded_quantity"], told["volume_traded"])
    assert packet.average_price / divisor == told["average_traded_price"]
    assert (packet.buy_quantity, packet.sell_quantity) == (told["total_buy_quantity"], told["total_sell_quantity"])
    if isinstance(packet, Full):
        times = (told["exchange_timestamp"], told["last_trade_time"])
        assert [packet.time, packet.last_trade_time] == [_milliseconds(time) for time in times]
        assert [packet.open_interest, packet.open_interest_high, packet.open_interest_low] == [
            told[name] for name in ("oi", "oi_day_high", "oi_day_low")
        ]
        assert packet.depth == _depth(told, divisor)
        assert list(packet.orders) == [level["orders"] for side in ("buy", "sell") for level in told["depth"][side]]


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)


def _depth(told: dict[str, Any], divisor: float) -> Depth:
    bids, asks = (
        tuple([DepthLevel(round(level["price"] * divisor), level["quantity"]) for level in told["depth"][side]])
        for side in ("buy", "sell")
    )
    return Depth(bids, asks)


def _ours(data: bytes, names: dict[int, str]) -> list[tuple[Tick, Depth | None]]:
    """A frame as the feed publishes it."""
    ticks = []
    for row, packet in enumerate(decode(data).packets):
        bid, ask = packet.best
        name, time = names[packet.token], packet.time or 0
        ticks.append((Tick(name, packet.price, packet.quantity, packet.volume, bid, ask, time, row), packet.depth))
    return ticks


def _theirs(
    parse: Callable[[bytes], list[dict[str, Any]]], data: bytes, names: dict[int, str]
) -> list[tuple[Tick, Depth]]:
    """The same from the official client's dictionaries."""
    ticks = []
    for row, told in enumerate(parse(data)):
        depth = _depth(told, 100)
        tick = Tick(
            names[told["instrument_token"]],
            round(told["last_price"] * 100),
            told["last_traded_quantity"],
            told["volume_traded"],
            depth.bids[0].price,
            depth.asks[0].price,
            _milliseconds(told["exchange_timestamp"]),
            row,
        )
        ticks.append((tick, depth))
    return ticks


def measure() -> list[Result]:
    parse = KiteTicker("key", "token")._parse_binary
    results = []
    for mode, (data, packets) in _frames().items():
        theirs = parse(data)
        assert decode(data) == (packets, 0, 0)
        for packet, told in zip(packets, theirs, strict=True):
            _check(packet, told)
        their_us, our_us = (us / _PACKETS for us in cpu_us([lambda d=data: parse(d), lambda d=data: decode(d)]))
        click.echo(f"{mode}: {1e6 / our_us:,.0f} packets a CPU second, the official client {1e6 / their_us:,.0f}")
        goal = 10 if mode == "full" else None
        results.append(Result.at_least(f"{_NAME}, mode {mode}", their_us, our_us, goal))
    data, packets = _frames()["full"]
    names = {packet.token: f"NSE:SHARE{number:03}" for number, packet in enumerate(packets)}
    assert _ours(data, names) == _theirs(parse, data, names)
    dicts, asked, to_ticks, ours = (
        us / _PACKETS
        for us in cpu_us(
            [
                lambda: parse(data),
                lambda: [(packet, packet.depth) for packet in decode(data).packets],
                lambda: _theirs(parse, data, names),
                lambda: _ours(data, names),
            ]
        )
    )
    return [
        *results,
        Result.at_least(f"{_NAME}, mode full, order book asked for", dicts, asked, 10),
        Result.at_least(f"{_NAME}, mode full, to a Tick and its Depth", to_ticks, ours),
    ]
