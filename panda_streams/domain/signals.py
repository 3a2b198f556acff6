"""Signals: what a strategy wants, said once and the same to every broker."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from panda_streams.domain.ticks import TickRef
from panda_streams.domain.values import Value

__all__ = ["Decision", "Intent", "Quote", "Side", "Signal", "identify"]


class Side(StrEnum):
    """Which way an order goes."""

    BUY = "BUY"
    SELL = "SELL"


class Intent(StrEnum):
    """ENTRY opens or adds; EXIT closes what the arm holds and never more."""

    ENTRY = "ENTRY"
    EXIT = "EXIT"


class Decision(Value):
    """What a strategy's step returns: an instrument that it trades, a side and an intent."""

    instrument: str
    """An instrument that the strategy trades, as NSE:INFY, or the name of one of its contracts."""
    side: Side
    """BUY or SELL."""
    intent: Intent
    """ENTRY or EXIT."""


class Quote(Value):
    """The last state of the traded instrument that its shard had seen when the signal was made."""

    tick: TickRef
    """The tick that it was read from."""
    price: Decimal
    """Last traded price."""
    bid: Decimal | None
    """Best price to sell at, if the source recorded one."""
    ask: Decimal | None
    """Best price to buy at, if the source recorded one."""


class Signal(Value):
    """A strategy's wish, without any fact of an account: every listed broker receives these very bytes."""

    kind: Literal["signal"] = "signal"
    """Names the class of the record."""
    world: str
    """The world that the record belongs to: `sim`, `replay:<name>` or `live`."""
    signal_id: str
    """The signal's identity, derived from strategy, configuration version, instrument and cause."""
    strategy_id: str
    """The strategy that said it."""
    config: str
    """Version of the strategy's configuration: a hash of what decides its signals."""
    instrument: str
    """The instrument to trade, as NSE:INFY."""
    side: Side
    """BUY or SELL."""
    intent: Intent
    """ENTRY or EXIT."""
    cause: TickRef
    """The tick on which the strategy decided."""
    quote: Quote | None
    """The traded instrument's last quote then; None if its shard had seen none."""
    producer: str
    """`brain/<shard>/<strategy_id>`: whose sequence the record carries."""
    sequence: int
    """Position of its cause in the tick log and its number there; a consumer keeps one high-water mark per producer."""


def identify(*parts: object) -> str:
    """Derive an id from its cause: the same parts give the same 32 hexadecimal digits, on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
