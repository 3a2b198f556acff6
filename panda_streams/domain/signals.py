"""Signals: what a strategy wants, said once and the same to every broker."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from enum import StrEnum

from panda_streams.domain.ticks import TickRef
from panda_streams.domain.values import Value

__all__ = ["Decision", "Intent", "Quote", "Side", "Signal", "identify"]


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"


class Intent(StrEnum):
    """ENTRY opens or adds; EXIT closes what the arm holds and never more."""

    ENTRY = "ENTRY"
    EXIT = "EXIT"


class Decision(Value):
    """What a strategy's step returns: an instrument that it trades, a side and an intent."""

    instrument: str
    side: Side
    intent: Intent


class Quote(Value):
    """The last state of the traded instrument that its shard had seen when the signal was made."""

    tick: TickRef
    price: Decimal
    bid: Decimal | None
    ask: Decimal | None


class Signal(Value):
    """A strategy's wish, without any fact of an account: every listed broker receives these very bytes."""

    kind: str = "signal"
    world: str
    signal_id: str
    strategy_id: str
    config: str
    """Version of the strategy's configuration: a hash of what decides its signals."""
    instrument: str
    side: Side
    intent: Intent
    cause: TickRef
    quote: Quote | None
    producer: str
    sequence: int
    """Position in its producer's stream: a consumer keeps one high-water mark per producer."""


def identify(*parts: object) -> str:
    """Derive an id from its cause: the same parts give the same 32 hexadecimal digits, on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
