"""Table `execution`. Key instrument: its working orders and positions. Key `shard/<number>`: how far a shard has come.

Rebuilt by matching `<ns>.signals.validated` against market.ticks again.
"""

from __future__ import annotations

from panda_streams.domain.orders import Order
from panda_streams.domain.positions import Position
from tables import Row

__all__ = ["NAME", "ExecutionRow", "ShardRow", "shard_key"]

NAME = "execution"
_SHARD = "shard/"


def shard_key(number: int) -> str:
    """The key of a shard's own row; an instrument's id has an exchange and a colon, so the two never meet."""
    return f"{_SHARD}{number}"


class ExecutionRow(Row):
    schema_version: int = 2
    orders: tuple[Order, ...] = ()
    """Working orders, oldest first."""
    positions: dict[str, Position] = {}  # noqa: RUF012  pydantic copies defaults
    """By strategy_id; what is flat is absent."""
    made: int = 0
    """Orders that the desk has decided without a cause of their own: their ids are counted with it."""
    ended: tuple[str, ...] = ()
    """The last orders that ended, oldest first, and all that ended in the last micro-batch: taken out of the mirror
    again after a restart."""


class ShardRow(Row):
    schema_version: int = 2
    first: int
    """Offset in market.ticks from which the shard was taken: earlier ticks were no longer kept."""
    sequence: int = 0
    """Next sequence number of what the shard says."""
    working: tuple[str, ...] = ()
    """Instruments with working orders."""
    held: tuple[str, ...] = ()
    """Instruments in which a strategy holds a position."""
    seen: dict[str, tuple[int, int | None]] = {}  # noqa: RUF012
    """Last price, in smallest units, and volume of the day of each instrument that is worked or held, and of the
    underlying of a contract that is held."""
    told: dict[str, int] = {}  # noqa: RUF012
    """The prices of what is held that risk was told last, in smallest units."""
    time: int = 0
    """Event time of the last record of market.ticks that was handled."""
    ticked: int = 0
    """Event time of the last tick."""
    silent: bool = False
    """True while risk has been told that no tick comes."""
    place: tuple[str, str, int] = ("", "", 0)
    """Source, run and offset of that record: where a command stands that comes from outside of the log."""
    day_ended: str | None = None
    """The last trading date whose end was said."""
    ended: int | None = None
    """Event time of the end of the data, once it has passed: no beat follows that could carry a mark."""
    lost: int = -1
    """Risk's number of the last verdict that could not be processed and whose orders have ended for it."""
