"""What an account has asked of its broker: pure functions of one book, whose every change is durable before its effect.

A call is QUEUED once its command was read, SENDING before it leaves, and from then on only the broker's word tells
what became of it: an answer, its book, or the lack of it there. Nothing is ever sent twice under one id.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from panda_streams.domain.brokerage import (
    Answer,
    AnswerKind,
    BrokerBook,
    BrokerHolding,
    BrokerOrder,
    BrokerStatus,
    BrokerTrade,
    BrokerTrigger,
    Known,
    Modification,
    OrderRequest,
    Word,
)
from panda_streams.domain.calendar import trading_date
from panda_streams.domain.orders import Reason
from panda_streams.domain.rates import Rates
from panda_streams.domain.signals import Side
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

_AGAIN_MS = 2000
"""What has not shown in the broker's book is asked for again after this long: a cancellation, another quantity, or a
change that got no clear answer; and then ever more rarely."""
_AGAIN_AT_MOST_MS = 30_000
_THROTTLED_MS = 1100
"""A call that came too fast waits for the next second of the broker's clock."""
_SKEW_MS = 60_000
"""By how much the broker's clock may be behind ours: a trigger that is older than its command by more is not its."""


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
    """What it is to become and, as far as is known, is not yet."""
    cancel: bool = False
    """True once it is to be cancelled."""
    wait_until: int = 0
    """Wall time before which nothing more is sent about it."""
    modified: int = 0
    asked: int = 0
    """How often the broker was asked for what its book does not show yet: the change, or the cancellation."""
    told: tuple[str, int, int] | None = None
    """Status, quantity filled and trades that its desk was told of last."""

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


# What the desks ask


def asked_place(book: CallBook, call: Call) -> CallBook:
    """Take an order in; one that is known is left as it is."""
    name = call.request.order_id
    return book if name in book.calls else _with(book, name, call.model_copy(update={"since": call.time}))


def asked_change(book: CallBook, name: str, change: Modification, time: int) -> CallBook:
    """Note what an order is to become: of two changes that were not sent the later one counts, field by field."""
    call = book.calls.get(name)
    if call is None:
        return book
    fields = {**(call.change or Modification()).model_dump(exclude_none=True), **change.model_dump(exclude_none=True)}
    if call.state is CallState.QUEUED:
        request = call.request.model_copy(update=fields)
        return _with(book, name, call.model_copy(update={"request": request, "time": time}))
    return _with(
        book, name, call.model_copy(update={"change": Modification.model_validate(fields), "time": time, "asked": 0})
    )


def asked_cancel(book: CallBook, name: str, time: int) -> Heard:
    """Note that an order is to be cancelled; one that was never sent is dropped."""
    call = book.calls.get(name)
    if call is None:
        return Heard(book)
    if call.state is CallState.QUEUED:
        return _dropped(book, name, time, None)
    return Heard(_with(book, name, call.model_copy(update={"cancel": True, "change": None, "time": time, "asked": 0})))


# What is sent


def due(book: CallBook, now: Moment, *, entries: bool, exits: bool) -> Due | None:
    """The next call that may be sent: cancellations first, then what closes, changes, and at last what opens.

    `entries` and `exits` say whether orders may be placed that open and that only reduce.
    """
    best: tuple[int, int] | None = None
    found: Due | None = None
    for number, (name, call) in enumerate(book.calls.items()):
        if call.wait_until > now.wall:
            continue
        if call.state is CallState.TAKEN and call.cancel:
            # What was asked for already makes no exit wait: a broker may take a minute to cancel.
            kind, rank = CallKind.CANCEL, 2 if call.asked else 0
        elif call.state is CallState.QUEUED and call.closes and exits:
            kind, rank = CallKind.PLACE, 1
        elif call.state is CallState.TAKEN and call.change is not None and exits:
            kind, rank = CallKind.MODIFY, 2
        elif call.state is CallState.QUEUED and not call.closes and entries:
            kind, rank = CallKind.PLACE, 3
        else:
            continue
        if best is not None and best <= (rank, number):
            continue
        if book.rates.allows(now.broker, placing=_counts(kind, call), reserve=rank < 3):
            best, found = (rank, number), Due(kind, name, call)
    return found


def put_off(book: CallBook, now: Moment, *, halted: bool) -> Heard:
    """Drop what will never be sent: entries that are too old, all entries if the arm is `halted`, and what the broker's
    limit for the day leaves no room for."""
    words: list[tuple[str, str, int, Word]] = []
    for name, call in list(book.calls.items()):
        if call.state is not CallState.QUEUED:
            continue
        if not call.closes and halted:
            reason = Reason.ARM_HALTED
        elif call.until is not None and now.broker > call.until:
            reason = Reason.TOO_LATE
        elif _counts(CallKind.PLACE, call) and book.rates.spent(now.broker, reserve=call.closes):
            reason = Reason.BROKER_LIMIT
        else:
            continue
        heard = _dropped(book, name, now.broker, reason)
        book, words = heard.book, [*words, *heard.words]
    return Heard(book, tuple(words))


def starting(book: CallBook, due: Due, now: Moment) -> Heard:
    """Note that a call is about to leave: durable before it does."""
    call, name = due.call, due.order_id
    rates = book.rates.counted(now.broker, placing=_counts(due.kind, call))
    book = book.model_copy(update={"rates": rates})
    if due.kind is CallKind.PLACE:
        call = call.model_copy(update={"state": CallState.SENDING, "sent_at": now.wall, "day": _day(now)})
        word = Word(known=Known.SENDING, time=now.broker)
        return Heard(_with(book, name, call), (_told(name, call, word),))
    modified = call.modified + (due.kind is CallKind.MODIFY)
    asked = call.asked + 1
    update = {"modified": modified, "asked": asked, "wait_until": now.wall + _again(asked)}
    return Heard(_with(book, name, call.model_copy(update=update)))


def _counts(kind: CallKind, call: Call) -> bool:
    """Whether a call is an order to the broker's limits: what rests with the broker itself is none until it fires."""
    return kind is CallKind.PLACE and not call.request.overnight


def answered(book: CallBook, due: Due, answer: Answer, now: Moment) -> Heard:
    """Take in what the broker answered to a call."""
    name = due.order_id
    call = book.calls.get(name)
    if call is None:
        return Heard(book)
    if due.kind is not CallKind.PLACE:
        return Heard(_with(book, name, _changed(call, due, answer, now)))
    match answer.kind:
        case AnswerKind.TAKEN:
            call = call.model_copy(update={"state": CallState.TAKEN, "broker_id": answer.broker_id})
            word = Word(known=Known.TAKEN, time=now.broker, broker_id=answer.broker_id)
            return Heard(_with(book, name, call), (_told(name, call, word),))
        case AnswerKind.REFUSED:
            word = Word(known=Known.REFUSED, time=now.broker, text=answer.text)
            return Heard(_without(book, name), (_told(name, call, word),))
        case AnswerKind.THROTTLED | AnswerKind.LOGGED_OUT:
            if call.cancel:
                return _dropped(book, name, now.broker, None)
            wait = now.wall + _THROTTLED_MS
            return Heard(_with(book, name, call.model_copy(update={"state": CallState.QUEUED, "wait_until": wait})))
        case AnswerKind.UNSURE:
            return _lost(book, name, call, now, answer.text)


def _changed(call: Call, due: Due, answer: Answer, now: Moment) -> Call:
    wait = {"wait_until": now.wall + _again(call.asked)}
    if due.kind is CallKind.CANCEL or answer.kind not in (AnswerKind.TAKEN, AnswerKind.REFUSED):
        return call.model_copy(update=wait)  # the book tells whether it is done
    change = due.call.change
    if call.change != change or change is None:
        return call  # another one was asked for meanwhile
    if answer.kind is AnswerKind.TAKEN:
        # Of a quantity the book tells, too: an order that stays too large closes more than there is.
        left = None if change.quantity is None else Modification(quantity=change.quantity)
        return call.model_copy(update={"change": left, **(wait if left is not None else {})})
    shrinks = change.quantity is not None and change.quantity < (call.quantity or call.request.quantity)
    return call.model_copy(update={"change": None, "cancel": shrinks, "asked": 0})


def _again(asked: int) -> int:
    """How long what was asked for so often is waited for."""
    return min(_AGAIN_MS * 2 ** (min(asked, 10) - 1), _AGAIN_AT_MOST_MS) if asked else _AGAIN_MS


def restarted(book: CallBook, now: Moment) -> Heard:
    """Take over a book: what was on its way when its owner ended is unknown."""
    words: list[tuple[str, str, int, Word]] = []
    for name, call in list(book.calls.items()):
        if call.state is CallState.SENDING:
            heard = _lost(book, name, call, now, "the arm ended while it was on its way")
            book, words = heard.book, [*words, *heard.words]
    return Heard(book, tuple(words))


# What the broker has


def read_book(
    book: CallBook,
    found: BrokerBook,
    now: Moment,
    *,
    asked_at: int,
    absent_after_ms: int,
    own: Callable[[str | None], bool],
    remembered: Callable[[str], Ended | None],
) -> Heard:
    """Take in the broker's book, which was asked for at wall time `asked_at`.

    An unknown order that a book does not have is absent once that was asked for `absent_after_ms` after it was sent,
    on the same day if it is one of the day: `now` on the broker's clock is of the book's day. `own` tells our labels,
    `remembered` what is known of an order by the broker's id.
    """
    trades: dict[str, list[BrokerTrade]] = {}
    for trade in found.trades:
        trades.setdefault(trade.broker_id, []).append(trade)
    resting = _resting(book, found, trades, now, remembered)
    tags = {call.request.tag: name for name, call in book.calls.items() if not call.request.overnight}
    words: list[tuple[str, str, int, Word]] = []
    ended: list[tuple[str, Ended]] = []
    strangers: list[Stranger] = []
    quarantined: list[BrokerOrder] = []
    seen: set[str] = set()
    placed = set(resting.placed.values())
    for order in (*resting.orders, *(order for order in found.orders if order.broker_id not in placed)):
        dealt = trades.get(order.broker_id, [])
        name = resting.names.get(order.broker_id) or book.by_broker(order.broker_id)
        name = name or (tags.get(order.tag) if order.tag is not None else None)
        if name is None and order.broker_id in resting.unclear:
            continue
        # A second order under one label is none of ours.
        if name is None or book.calls[name].broker_id not in (None, order.broker_id):
            beyond = _beyond(order, dealt, remembered(order.broker_id))
            if beyond is not None:
                strangers += beyond
                filled = sum(trade.quantity for trade in dealt)
                ended.append((order.broker_id, Ended(order_id=None, filled=filled)))
                if own(order.tag) and remembered(order.broker_id) is None:
                    quarantined.append(order)
            continue
        call = book.calls[name]
        seen.add(name)
        filled = sum(trade.quantity for trade in dealt)
        if filled < order.filled:
            continue  # its trades come with a later look
        there = {"state": CallState.TAKEN, "broker_id": order.broker_id, "quantity": order.quantity}
        call = _compared(call.model_copy(update=there), order)
        if order.status is BrokerStatus.PAST:
            book = _without(book, name)
            words.append(_told(name, call, Word(known=Known.DROPPED, time=now.broker, reason=Reason.BOOK_GONE)))
            ended.append((order.broker_id, Ended(order_id=name, filled=_told_of(call))))
            continue
        if order.broker_id in resting.fired:
            # Its order shows with the next look, or it is of an earlier day.
            told = (BrokerStatus.PENDING.value, *(call.told[1:] if call.told is not None else (0, 0)))
            book = _with(book, name, call.model_copy(update={"told": told}))
            continue
        told = (order.status.value, filled, len(dealt))
        if told == call.told:
            book = _with(book, name, call)
            continue
        new = filled - _told_of(call)
        book = _counted(book, order.instrument, new if order.side is Side.BUY else -new)
        word = Word(
            known=Known.BOOK,
            time=max(order.time, *(trade.time for trade in dealt)) if dealt else order.time,
            broker_id=order.broker_id,
            order=order,
            trades=tuple(dealt),
            text=order.text,
        )
        words.append(_told(name, call, word))
        if order.status.terminal:
            book = _without(book, name)
            ids = (order.broker_id, resting.placed.get(order.broker_id))
            ended += [(broker_id, Ended(order_id=name, filled=filled)) for broker_id in ids if broker_id is not None]
        else:
            book = _with(book, name, call.model_copy(update={"told": told}))
    for stranger in strangers:
        book = _counted(book, stranger.instrument, stranger.quantity)
    overdue: list[str] = []
    for name, call in list(book.calls.items()):
        if name in seen or call.state not in (CallState.UNKNOWN, CallState.TAKEN):
            continue
        if call.request.overnight and found.triggers is None:
            continue
        day_over = not call.request.overnight and call.day < _day(now)
        late = asked_at >= call.sent_at + absent_after_ms
        if day_over and call.state is CallState.UNKNOWN:
            overdue.append(name)
        elif (missed := _missed(call, now, late=late, day_over=day_over)) is not None:
            book = _without(book, name)
            words.append(_told(name, call, missed))
            if call.broker_id is not None:
                ended.append((call.broker_id, Ended(order_id=name, filled=_told_of(call))))
    return Heard(book, tuple(words), tuple(ended), tuple(strangers), tuple(quarantined), tuple(overdue))


def _missed(call: Call, now: Moment, *, late: bool, day_over: bool) -> Word | None:
    """What a book says of a call that it does not show; None if that proves nothing. `late`: it was read late enough
    for an order to be there that was taken."""
    if call.state is CallState.UNKNOWN:
        return Word(known=Known.ABSENT, time=now.broker) if late else None
    if day_over:
        return Word(known=Known.DROPPED, time=now.broker, reason=Reason.BOOK_GONE)
    if not call.request.overnight or not (late or call.told is not None):
        return None
    # It was deleted: a list may leave it out then.
    return Word(known=Known.DROPPED, time=now.broker, reason=None if call.cancel else Reason.BROKER_CANCELLED)


class _Resting(NamedTuple):
    """What of ours rests with the broker itself, as if each trigger and the order that it places were one order."""

    orders: list[BrokerOrder]
    names: dict[str, str]
    """Our orders, by the trigger's id."""
    placed: dict[str, str]
    """The orders that triggers have placed, by the trigger's id."""
    fired: set[str]
    """Triggers that have placed an order which the book does not show."""
    unclear: set[str]
    """Orders that may be of a trigger which rests by its list: that is the older of the two, and the next one tells."""


def _resting(
    book: CallBook,
    found: BrokerBook,
    trades: dict[str, list[BrokerTrade]],
    now: Moment,
    remembered: Callable[[str], Ended | None],
) -> _Resting:
    """Find our triggers, by the broker's id or, after an answer was lost, by what they say. In `trades`, those of the
    orders that they have placed are put under the trigger's id. What others' triggers place is listed by itself.
    """
    by_id = {order.broker_id: order for order in found.orders}
    by_trigger = {order.placed_by: order for order in found.orders if order.placed_by is not None}
    explained = {trigger.placed for trigger in found.triggers or ()}
    unexplained = [order for order in found.orders if order.broker_id not in explained]
    resting = _Resting([], {}, {}, set(), set())
    for trigger in found.triggers or ():
        name = book.by_broker(trigger.broker_id)
        if name is None and remembered(trigger.broker_id) is None:
            taken = resting.names.values()
            name = next((n for n, call in book.calls.items() if n not in taken and _may_be(call, trigger)), None)
        if name is None:
            continue
        resting.names[trigger.broker_id] = name
        placed = by_id.get(trigger.placed or "") or by_trigger.get(trigger.broker_id)
        if placed is None:
            order = _unplaced(trigger, book.calls[name], now)
            resting.orders.append(order)
            if order.status is BrokerStatus.PENDING:
                resting.fired.add(trigger.broker_id)
            elif order.status is BrokerStatus.TRIGGER_PENDING:
                like = (one for one in unexplained if _may_be_placed(one, trigger, remembered))
                resting.unclear.update(one.broker_id for one in like)
            continue
        resting.placed[trigger.broker_id] = placed.broker_id
        ours = {"broker_id": trigger.broker_id, "tag": None}
        resting.orders.append(placed.model_copy(update={**ours, "trigger": trigger.trigger}))
        trades[trigger.broker_id] = trades.pop(placed.broker_id, [])
    return resting


def _may_be(call: Call, trigger: BrokerTrigger) -> bool:
    """Whether a trigger may be the one that a call, whose answer was lost, has made."""
    request = call.request
    return (
        request.overnight
        and call.broker_id is None
        and call.sent_at > 0
        and trigger.created >= call.since - _SKEW_MS
        and (request.instrument, request.side, request.product, request.quantity, request.price, request.trigger)
        == (trigger.instrument, trigger.side, trigger.product, trigger.quantity, trigger.price, trigger.trigger)
    )


def _may_be_placed(order: BrokerOrder, trigger: BrokerTrigger, remembered: Callable[[str], Ended | None]) -> bool:
    """Whether an order that says nothing of where it comes from may be the one that a trigger has placed."""
    return (
        order.tag is None
        and order.placed_by is None
        and order.time >= trigger.time
        and (order.instrument, order.side, order.product, order.quantity, order.price)
        == (trigger.instrument, trigger.side, trigger.product, trigger.quantity, trigger.price)
        and remembered(order.broker_id) is None
    )


def _unplaced(trigger: BrokerTrigger, call: Call, now: Moment) -> BrokerOrder:
    """A trigger as an order, of whose own order the book knows nothing."""
    status = trigger.status
    if status is BrokerStatus.OPEN:
        seen = call.told is not None and call.told[0] == BrokerStatus.PENDING
        past = trading_date(trigger.time) < trading_date(now.broker)
        status = BrokerStatus.PAST if past and seen else BrokerStatus.PENDING
    return BrokerOrder(
        broker_id=trigger.broker_id,
        tag=None,
        instrument=trigger.instrument,
        side=trigger.side,
        product=trigger.product,
        order_type=call.request.order_type.value,
        status=status,
        quantity=trigger.quantity,
        filled=0,
        price=trigger.price,
        trigger=trigger.trigger,
        text=trigger.text,
        time=trigger.time,
    )


def _told_of(call: Call) -> int:
    """Shares whose trades its desk was told of."""
    return call.told[1] if call.told is not None else 0


def counted(book: CallBook, instrument: str, quantity: int) -> CallBook:
    """Take note that the arm's books hold more, or less, without a trade."""
    return _counted(book, instrument, quantity)


def differences(book: CallBook, holdings: Iterable[BrokerHolding], apart: Collection[str] = ()) -> dict[str, int]:
    """What the account holds beyond the arm's books, by instrument; negative where it holds less. What is `apart` is
    not compared."""
    beyond = {instrument: -quantity for instrument, quantity in book.held.items()}
    for holding in holdings:
        beyond[holding.instrument] = beyond.get(holding.instrument, 0) + holding.quantity
    return {name: quantity for name, quantity in sorted(beyond.items()) if quantity and name not in apart}


def reconciled(book: CallBook, holdings: Sequence[BrokerHolding], now: Moment, *, apart: Collection[str] = ()) -> Heard:
    """Compare what the account holds with what the arm's books hold in all; the difference is nobody's."""
    total: dict[str, list[BrokerHolding]] = {}
    for holding in holdings:
        total.setdefault(holding.instrument, []).append(holding)
    strangers = []
    for instrument, quantity in differences(book, holdings, apart).items():
        found = total.get(instrument, [])
        price = next((holding.price for holding in found if holding.price > 0), Decimal(0))
        strangers.append(
            Stranger(
                key=f"difference/{instrument}/{now.wall}",
                instrument=instrument,
                quantity=quantity,
                price=price,
                product=found[0].product if found else "",
                time=now.broker,
                text=f"the broker holds {quantity + book.held.get(instrument, 0)}, "
                f"the books of the arm {book.held.get(instrument, 0)}",
            )
        )
        book = _counted(book, instrument, quantity)
    return Heard(book, strangers=tuple(strangers))


def resolved(book: CallBook, name: str, now: Moment) -> Heard:
    """Take an operator's word that an unknown order never arrived."""
    call = book.calls.get(name)
    if call is None or call.state is not CallState.UNKNOWN:
        return Heard(book)
    return Heard(_without(book, name), (_told(name, call, Word(known=Known.ABSENT, time=now.broker)),))


def _day(now: Moment) -> str:
    return trading_date(now.broker).isoformat()


def _told(name: str, call: Call, word: Word) -> tuple[str, str, int, Word]:
    return name, call.request.instrument, call.shard, word


def _beyond(order: BrokerOrder, dealt: list[BrokerTrade], known: Ended | None) -> list[Stranger] | None:
    """The trades of an order that no book was told of; None if there is nothing new about it."""
    filled = sum(trade.quantity for trade in dealt)
    if known is not None and filled <= known.filled:
        return None
    if known is None and not dealt and (not order.tag or order.status.terminal):
        return None
    left, new = (known.filled if known is not None else 0), list[Stranger]()
    for trade in dealt:
        if left >= trade.quantity:
            left -= trade.quantity
            continue
        new.append(
            Stranger(
                key=f"trade/{trade.exchange}/{trade.trade_id}/{trade.broker_id}",
                instrument=trade.instrument,
                quantity=trade.quantity if trade.side is Side.BUY else -trade.quantity,
                price=trade.price,
                product=trade.product,
                time=trade.time,
                text=f"trade {trade.trade_id} of the broker's order {order.broker_id}",
            )
        )
    return new


def _compared(call: Call, order: BrokerOrder) -> Call:
    """Forget a change that the broker's book shows."""
    change = call.change
    if change is None:
        return call
    missing = (
        (change.quantity is not None and change.quantity != order.quantity)
        or (change.price is not None and change.price != order.price)
        or (change.trigger is not None and change.trigger != order.trigger)
    )
    return call if missing else call.model_copy(update={"change": None})


def _lost(book: CallBook, name: str, call: Call, now: Moment, text: str) -> Heard:
    word = Word(known=Known.UNKNOWN, time=now.broker, text=text)
    return Heard(_with(book, name, call.model_copy(update={"state": CallState.UNKNOWN})), (_told(name, call, word),))


def _dropped(book: CallBook, name: str, time: int, reason: Reason | None) -> Heard:
    word = Word(known=Known.DROPPED, time=time, reason=reason)
    return Heard(_without(book, name), (_told(name, book.calls[name], word),))


def _with(book: CallBook, name: str, call: Call) -> CallBook:
    return book.model_copy(update={"calls": {**book.calls, name: call}})


def _without(book: CallBook, name: str) -> CallBook:
    return book.model_copy(update={"calls": {key: call for key, call in book.calls.items() if key != name}})


def _counted(book: CallBook, instrument: str, quantity: int) -> CallBook:
    held = {**book.held, instrument: book.held.get(instrument, 0) + quantity}
    return book.model_copy(update={"held": {name: shares for name, shares in held.items() if shares}})
