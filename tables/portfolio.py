"""Table `portfolio`, key: strategy_id. A strategy's book at this account.

Rebuilt by folding `<ns>.orders.filled` and `<ns>.marks`.
"""

from __future__ import annotations

from panda_streams.domain.ledger import Portfolio
from tables import Row

__all__ = ["NAME", "PortfolioRow"]

NAME = "portfolio"


class PortfolioRow(Row):
    portfolio: Portfolio
    sequence: int = 0
    """Next sequence number of the snapshots, and the version of the row in the mirror."""
