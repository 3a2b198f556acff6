"""Table `trader`. Key namespace: the one row of what the account has asked of its broker. Key `known/<id>`: what is
remembered of a broker's order that needs no more attention.

It cannot be rebuilt from the log alone: what a broker answered is in `<ns>.broker.reports`, and in its own book.
"""

from __future__ import annotations

from panda_streams.domain.brokerage import BrokerOrder
from panda_streams.domain.callbook import CallBook, Ended, Stranger
from panda_streams.domain.values import Value
from tables import Row

__all__ = ["NAME", "KnownRow", "Reconciliation", "TraderRow", "known_key"]

NAME = "trader"
_KNOWN = "known/"


def known_key(broker_id: str) -> str:
    return f"{_KNOWN}{broker_id}"


class Reconciliation(Value):
    """One comparison of what the broker holds with the books."""

    at: int
    """Wall time, milliseconds since the epoch."""
    instruments: int
    """That were compared."""
    differences: tuple[Stranger, ...] = ()
    """What was found, and booked as `_unattributed`."""


class TraderRow(Row):
    schema_version: int = 1
    book: CallBook = CallBook()
    sequence: int = 0
    """Next sequence number of what the trader says."""
    clock: int = 0
    """On the replay clock: event time up to which the simulated broker was told of."""
    version: int = -1
    """Of the simulated broker's book, as it was read last."""
    quarantine: tuple[BrokerOrder, ...] = ()
    """Orders with a label of this account's making that no book explains."""
    unlisted: tuple[Stranger, ...] = ()
    """What the account holds in instruments that are not in the list: no desk can keep it."""
    reconciled: Reconciliation | None = None
    found: int = 0
    """How often the broker had something that no book of the arm explains."""
    overdue: tuple[str, ...] = ()
    """Unknown orders whose day at the broker is over: an operator decides."""
    revision: int = 0
    """Counts the changes of the row: its version in the mirror."""


class KnownRow(Row):
    schema_version: int = 1
    ended: Ended
