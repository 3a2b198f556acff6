"""What an account has asked of its broker: pure functions of one book, whose every change is durable before its effect.

A call is QUEUED once its command was read, SENDING before it leaves, and from then on only the broker's word tells
what became of it: an answer, its book, or the lack of it there. Nothing is ever sent twice under one id.
"""

from __future__ import annotations

from panda_streams.domain.callbook.book import (
    Call,
    CallBook,
    CallKind,
    CallState,
    Due,
    Ended,
    Heard,
    Moment,
    Stranger,
    counted,
)
from panda_streams.domain.callbook.reading import read_book
from panda_streams.domain.callbook.reconciling import differences, reconciled, resolved
from panda_streams.domain.callbook.sending import (
    answered,
    asked_cancel,
    asked_change,
    asked_place,
    due,
    put_off,
    restarted,
    starting,
)

__all__ = [
    "Call",
    "CallBook",
    "CallKind",
    "CallState",
    "Due",
    "Ended",
    "Heard",
    "Moment",
    "Stranger",
    "answered",
    "asked_cancel",
    "asked_change",
    "asked_place",
    "counted",
    "differences",
    "due",
    "put_off",
    "read_book",
    "reconciled",
    "resolved",
    "restarted",
    "starting",
]
