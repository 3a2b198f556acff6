"""What an arm shows of itself in the mirror: its books, and the account as its risk has it."""

from __future__ import annotations

import json
from decimal import Decimal

import redis

from panda_streams.keys import Keys
from tests.chaos.compare import ArmAccount, ArmBook

__all__ = ["read_books"]


def read_books(url: str, namespace: str) -> tuple[dict[str, ArmBook], ArmAccount | None]:
    """The books by strategy_id, and the account; None while the arm shows none."""
    keys, books = Keys(namespace), {}
    with redis.Redis.from_url(url, decode_responses=True) as client:
        for strategy_id in sorted(client.smembers(keys.portfolios)):
            record = json.loads(client.get(keys.portfolio(strategy_id)) or "{}")
            places = [keys.position(strategy_id, name) for name in client.smembers(keys.positions(strategy_id))]
            positions = [json.loads(text) for text in (client.mget(places) if places else []) if text]
            books[strategy_id] = ArmBook(
                capital=Decimal(record["capital"]),
                cash=Decimal(record["cash"]),
                charges=Decimal(record["charges"]),
                realised=Decimal(record["realised"]),
                fills=record["fills"],
                bookings=record["bookings"],
                positions={row["instrument"]: row["quantity"] for row in positions if row["quantity"]},
            )
        text = client.get(keys.risk)
    if not text:
        return books, None
    risk = json.loads(text)
    cash = Decimal(risk["cash"])
    return books, ArmAccount(risk["signals"], risk["validated"], risk["rejected"], cash)
