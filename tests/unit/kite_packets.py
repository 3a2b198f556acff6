"""Packets of Kite for tests, with what does not matter filled in."""

from __future__ import annotations

from struct import pack
from typing import Any

from panda_streams.kite_frames import Full, IndexFull, LastPrice, Quote

__all__ = ["INFY_TOKEN", "NIFTY_TOKEN", "a_book", "a_full", "a_last_price", "a_quote", "an_index"]

INFY_TOKEN = 408065
NIFTY_TOKEN = 256265

Level = tuple[int, int, int]
"""Quantity, price, orders."""


def a_book(bids: list[Level], asks: list[Level]) -> bytes:
    """The order book of a full packet; levels that are not given are empty."""
    sides = [(side + [(0, 0, 0)] * 5)[:5] for side in (bids, asks)]
    return b"".join(pack(">IIHH", *level, 0) for side in sides for level in side)


BOOK = a_book([(10, 139_990, 1), (20, 139_980, 2)], [(30, 140_010, 3)])


def a_full(token: int = INFY_TOKEN, price: int = 140_000, *, exchange_s: int = 0, **fields: Any) -> Full:
    named = {
        "quantity": 5,
        "average_price": price,
        "volume": 1000,
        "buy_quantity": 300,
        "sell_quantity": 400,
        "open": price,
        "high": price,
        "low": price,
        "close": price,
        "last_trade_s": exchange_s,
        "open_interest": 0,
        "open_interest_high": 0,
        "open_interest_low": 0,
        "book": BOOK,
        **fields,
    }
    return Full(token=token, price=price, exchange_s=exchange_s, **named)


def a_quote(token: int = INFY_TOKEN, price: int = 140_000, volume: int = 1000) -> Quote:
    return Quote(token, price, 5, price, volume, 300, 400, price, price, price, price)


def a_last_price(token: int = INFY_TOKEN, price: int = 140_000) -> LastPrice:
    return LastPrice(token, price)


def an_index(token: int = NIFTY_TOKEN, price: int = 1_570_000, *, exchange_s: int = 0) -> IndexFull:
    return IndexFull(token, price, price, price, price, price, 0, exchange_s)
