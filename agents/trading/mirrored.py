"""The trader in the mirror, for people to read."""

from __future__ import annotations

import orjson

from agents.context import Context
from panda_streams.domain.callbook import CallState
from panda_streams.keys import Keys
from tables.trader import TraderRow

__all__ = ["mirror_link", "mirror_trader"]


def mirror_trader(context: Context, row: TraderRow) -> None:
    """Put what the account has asked of its broker into the mirror."""
    states = [call.state for call in row.book.calls.values()]
    view = {
        "calls": {state.value: states.count(state) for state in CallState},
        "unknown": list(row.book.unknown),
        "overdue": list(row.overdue),
        "orders_today": row.book.rates.day,
        "orders_date": row.book.rates.date,
        "held": row.book.held,
        "quarantine": [order.model_dump(mode="json") for order in row.quarantine],
        "unlisted": [stranger.model_dump(mode="json") for stranger in row.unlisted],
        "reconciled": None if row.reconciled is None else row.reconciled.model_dump(mode="json"),
        "at": context.now_ms(),
    }
    context.mirror.put(Keys(context.namespace).trader, orjson.dumps(view), version=row.revision)


def mirror_link(context: Context, endpoint: str, trouble: str) -> None:
    """Put the line to the broker into the mirror: what is at its other end, and why nothing can be sent."""
    now = context.now_ms()
    view = {"endpoint": endpoint, "trouble": trouble, "at": now}
    context.mirror.put(Keys(context.namespace).link, orjson.dumps(view), version=now)
