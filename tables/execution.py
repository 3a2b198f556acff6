"""Table `execution`. Key instrument: its working orders and positions. Key `shard/<number>`: what a shard has said.

Rebuilt by matching `<ns>.signals.validated` against market.ticks again.
"""

from __future__ import annotations

from panda_streams.domain.orders import Order
from tables import Row

__all__ = ["NAME", "ExecutionRow", "ShardRow", "shard_key"]

NAME = "execution"
_SHARD = "shard/"


def shard_key(number: int) -> str:
    """The key of a shard's own row; an instrument's id has an exchange and a colon, so the two never meet."""
    return f"{_SHARD}{number}"


class ExecutionRow(Row):
    orders: dict[str, Order] = {}  # noqa: RUF012  pydantic copies defaults
    """Working orders by id, oldest first."""
    positions: dict[str, int] = {}  # noqa: RUF012
    """Shares by strategy_id; what is flat is absent."""
    ended: tuple[str, ...] = ()
    """The last orders that ended, oldest first: taken out of the mirror again after a restart."""


class ShardRow(Row):
    first: int
    """Offset in market.ticks from which the shard was taken: earlier ticks were no longer kept."""
    sequence: int = 0
    """Next sequence number of the shard's updates and fills."""
    working: tuple[str, ...] = ()
    """Instruments with working orders."""
    prices: dict[str, int] = {}  # noqa: RUF012
    """Last price of the instruments in which a strategy holds a position, in smallest units."""
    ended: int | None = None
    """Event time of the end of the data, once it has passed: no beat follows that could carry a mark."""
