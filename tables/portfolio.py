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
    applied: dict[str, int] = {}  # noqa: RUF012  pydantic copies defaults
    """Offset of the last record applied, by topic."""
    heard: dict[str, int] = {}  # noqa: RUF012
    """High-water mark of each producer."""
    sequence: int = 0
    """Next sequence number of the snapshots, and the version of the row in the mirror."""
