"""Table `portfolio`, key: strategy_id. A strategy's book at this account.

Rebuilt by folding `<ns>.orders.filled` and `<ns>.marks`.
"""

from __future__ import annotations

from panda_streams.domain.bookings import Booking
from panda_streams.domain.ledger import Portfolio
from tables import Row

__all__ = ["NAME", "PortfolioRow"]

NAME = "portfolio"


class PortfolioRow(Row):
    schema_version: int = 2
    portfolio: Portfolio
    fills: int = 0
    """Fills booked since the world began, over all resets of the book."""
    waiting: tuple[Booking, ...] = ()
    """Bookings that wait for fills which come before them, in their order."""
    sequence: int = 0
    """Next sequence number of the snapshots, and the version of the row in the mirror."""
