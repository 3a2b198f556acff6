"""The book of calls: what an account has asked of its broker, each call from its command to its end."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from panda_streams.domain.brokerage import (
    BrokerBook,
    BrokerOrder,
    BrokerStatus,
    Known,
    Modification,
    OrderRequest,
    Word,
)
from panda_streams.domain.calendar import trading_date
from panda_streams.domain.orders import Reason
from panda_streams.domain.rates import Rates
from panda_streams.domain.values import Value

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
    "day_of",
    "dropped",
    "counted",
    "lost",
    "put",
    "taken_out",
    "told_to_desk",
    "unchanged",
    "waits",
    "worded",
]

_AGAIN_MS = 2000
"""What has not shown in the broker's book is asked for again after this long: a cancellation, another quantity, or a
change that got no clear answer; and then ever more rarely."""
_AGAIN_AT_MOST_MS = 30_000


class CallState(StrEnum):
    QUEUED = "QUEUED"
    """Not sent, or proved not to have been taken."""
    SENDING = "SENDING"
    """May be on its way."""
    UNKNOWN = "UNKNOWN"
    """Sent, and nobody knows whether it arrived."""
    TAKEN = "TAKEN"
    """At the broker."""


class CallKind(StrEnum):
    PLACE = "PLACE"
    MODIFY = "MODIFY"
    CANCEL = "CANCEL"


class Call(Value):
    """One order that was given to the trader, until it has ended."""

    request: OrderRequest
    shard: int
    """Of its instrument: where its desk is."""
    closes: bool
    """True if it only reduces."""
    time: int
    """Event time of the last command about it, milliseconds since the epoch."""
    since: int = 0
    """Event time of the first one."""
    until: int | None = None
    """Event time after which it is not sent any more; None for what must be sent however late."""
    state: CallState = CallState.QUEUED
    broker_id: str | None = None
    sent_at: int = 0
    """Wall time at which it last became SENDING, milliseconds since the epoch."""
    day: str = ""
    """The date then, on the broker's clock: only the book of that day tells of it."""
    quantity: int | None = None
    """As the broker's book had it last."""
    change: Modification | None = None
    """What the broker is to be asked for, or asked for again."""
    changes: int = 0
    """How many changes its desk has asked for."""
    taken: Modification | None = None
    """What the broker has received of them, and its book does not show so far."""
    taken_at: int = 0
    """The broker's time when it received that."""
    unmade: Modification | None = None
    """What the broker has not made, of the last change."""
    unmade_text: str = ""
    """Why, in its words."""
    refusals: int = 0
    """Changes in a row that the broker has not made."""
    hold_until: int = 0
    """Wall time before which it is asked for no more of that kind."""
    cancel: bool = False
    """True once it is to be cancelled."""
    wait_until: int = 0
    """Wall time before which nothing more is sent about it."""
    modified: int = 0
    asked: int = 0
    """How often the broker was asked for what its book does not show yet: the change, or the cancellation."""
    told: tuple[str, int, int] | None = None
    """Status, quantity filled and trades that its desk was told of last."""
    terms: tuple[int, Decimal | None, Decimal | None] | None = None
    """Quantity, price and trigger that its desk was told of last; None if it has asked for others since."""

    @property
    def shown(self) -> bool:
        """Whether the broker's book has shown it; of a trigger that has fired, its order too."""
        fired = self.request.overnight and self.told is not None and self.told[0] == BrokerStatus.PENDING
        return self.told is not None and not fired


class CallBook(Value):
    """The calls of one account."""

    calls: dict[str, Call] = {}  # noqa: RUF012  pydantic copies defaults
    """By order_id, oldest first."""
    rates: Rates = Rates()
    held: dict[str, int] = {}  # noqa: RUF012
    """What the books of the arm hold in all, by instrument: the sum of all trades that their desks were told of."""

    def by_broker(self, broker_id: str) -> str | None:
        """The order_id of a broker's order, if it is in hand."""
        return next((name for name, call in self.calls.items() if call.broker_id == broker_id), None)

    @property
    def overnight(self) -> bool:
        """Whether anything may rest with the broker itself."""
        return any(call.request.overnight for call in self.calls.values())

    @property
    def unknown(self) -> tuple[str, ...]:
        return tuple(name for name, call in self.calls.items() if call.state is CallState.UNKNOWN)

    @property
    def unseen(self) -> tuple[str, ...]:
        """Those that the broker has taken, and that its book has not shown so far."""
        return tuple(name for name, call in self.calls.items() if call.state is CallState.TAKEN and not call.shown)

    def in_step(self, found: BrokerBook) -> bool:
        """Whether the broker's book has all that was sent for the day, and the desks know all that it says was
        filled."""
        filled = {order.broker_id: order.filled for order in found.orders}
        sent = (c for c in self.calls.values() if c.state is not CallState.QUEUED and not c.request.overnight)
        return all(call.told is not None and filled.get(call.broker_id or "") == call.told[1] for call in sent)

    @property
    def live(self) -> bool:
        """Whether anything may be at the broker."""
        return any(call.state is not CallState.QUEUED for call in self.calls.values())


class Moment(NamedTuple):
    """When something is decided."""

    wall: int
    """Milliseconds since the epoch."""
    broker: int
    """On the broker's clock: the wall's, or a simulated broker's event time."""


class Ended(Value):
    """What is remembered of an order of ours that has ended, or of one that is nobody's, by the broker's id."""

    order_id: str | None
    filled: int
    """Shares whose trades some book was told of."""


class Stranger(Value):
    """What the account has gained beyond the orders of its arm: it goes into the book `_unattributed`."""

    key: str
    """Its identity: of a trade, or of the difference that was found."""
    instrument: str
    quantity: int
    """Shares, negative for a sale."""
    price: Decimal
    product: str
    time: int
    text: str
    """Where it comes from, for people."""


class Heard(NamedTuple):
    """What became of the book, and what is to be said of it."""

    book: CallBook
    words: tuple[tuple[str, str, int, Word], ...] = ()
    """Order, its instrument and shard, and what is known of it."""
    ended: tuple[tuple[str, Ended], ...] = ()
    """What is to be remembered, by the broker's id."""
    strangers: tuple[Stranger, ...] = ()
    quarantined: tuple[BrokerOrder, ...] = ()
    """Orders with a label of this account's making that no book of ours explains."""
    overdue: tuple[str, ...] = ()
    """Unknown orders that the broker's book cannot tell of any more: its day is over."""


class Due(NamedTuple):
    """The next thing to do: a call that may be sent now."""

    kind: CallKind
    order_id: str
    call: Call


def put(book: CallBook, name: str, call: Call) -> CallBook:
    """The book with a call, new or changed."""
    return book.model_copy(update={"calls": {**book.calls, name: call}})


def taken_out(book: CallBook, name: str) -> CallBook:
    """The book without a call."""
    return book.model_copy(update={"calls": {key: call for key, call in book.calls.items() if key != name}})


def counted(book: CallBook, instrument: str, quantity: int) -> CallBook:
    """The book once the arm's books hold more of an instrument, or less."""
    held = {**book.held, instrument: book.held.get(instrument, 0) + quantity}
    return book.model_copy(update={"held": {name: shares for name, shares in held.items() if shares}})


def worded(name: str, call: Call, word: Word) -> tuple[str, str, int, Word]:
    """A word on a call, with where it goes."""
    return name, call.request.instrument, call.shard, word


def lost(book: CallBook, name: str, call: Call, now: Moment, text: str) -> Heard:
    """Note that nobody knows whether a call arrived."""
    word = Word(known=Known.UNKNOWN, time=now.broker, text=text)
    return Heard(put(book, name, call.model_copy(update={"state": CallState.UNKNOWN})), (worded(name, call, word),))


def dropped(book: CallBook, name: str, time: int, reason: Reason | None) -> Heard:
    """End a call that was not sent and will not be."""
    word = Word(known=Known.DROPPED, time=time, reason=reason)
    return Heard(taken_out(book, name), (worded(name, book.calls[name], word),))


def unchanged(call: Call, change: Modification, now: Moment, text: str) -> Call:
    """Note that the broker has not made a change: its desk is told with the next look into the book, and what it asks
    for then waits the longer, the more changes of the order were not made."""
    refusals = call.refusals + 1
    hold_until = now.wall + waits(refusals)
    unmade = {"unmade": change, "unmade_text": text, "refusals": refusals, "hold_until": hold_until}
    return call.model_copy(update=unmade)


def waits(asked: int) -> int:
    """How long what was asked for so often is waited for, milliseconds."""
    return min(_AGAIN_MS * 2 ** (min(asked, 10) - 1), _AGAIN_AT_MOST_MS) if asked else _AGAIN_MS


def day_of(now: Moment) -> str:
    """The date of a moment, on the broker's clock."""
    return trading_date(now.broker).isoformat()


def told_to_desk(call: Call) -> int:
    """Shares whose trades its desk was told of."""
    return call.told[1] if call.told is not None else 0
