"""Table `execution`, key: instrument. Working orders and the shares behind the marks.

Rebuilt by matching `<ns>.signals.validated` against market.ticks again.
"""

from __future__ import annotations

from panda_streams.domain.orders import Order
from panda_streams.events import OrderUpdate
from tables import Row

__all__ = ["NAME", "ExecutionRow"]

NAME = "execution"


class ExecutionRow(Row):
    applied: int = -1
    """Offset of the last validated signal applied."""
    heard: dict[str, int] = {}  # noqa: RUF012  pydantic copies defaults
    """High-water mark of each producer."""
    sequence: int = 0
    """Next sequence number of the instrument's updates and fills."""
    orders: dict[str, Order] = {}  # noqa: RUF012
    """Working orders by id, oldest first."""
    positions: dict[str, int] = {}  # noqa: RUF012
    """Shares by strategy_id; what is flat is absent."""
    said: tuple[OrderUpdate, ...] = ()
    """What the last change of the row says, said again after a restart."""
