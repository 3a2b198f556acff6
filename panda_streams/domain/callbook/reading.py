"""What the broker's own book says of the calls, and of what is nobody's."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from panda_streams.domain.brokerage import (
    BrokerBook,
    BrokerOrder,
    BrokerStatus,
    BrokerTrade,
    BrokerTrigger,
    Known,
    Modification,
    Word,
)
from panda_streams.domain.calendar import trading_date
from panda_streams.domain.callbook.book import (
    Call,
    CallBook,
    CallState,
    Ended,
    Heard,
    Moment,
    Stranger,
    counted,
    day_of,
    put,
    taken_out,
    told_to_desk,
    unchanged,
    worded,
)
from panda_streams.domain.orders import Reason
from panda_streams.domain.signals import Side

__all__ = ["read_book"]

_MADE = {"unmade": None, "unmade_text": "", "refusals": 0, "hold_until": 0}
"""Of a call whose change the broker has made."""
_SHOWN_MS = 10_000
"""What the broker's clock may take from receiving a change of prices to showing it in the book: after that, the
exchange has not made it."""
_SKEW_MS = 60_000
"""By how much the broker's clock may be behind ours: a trigger that is older than its command by more is not its."""


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
        call = _compared(call.model_copy(update=there), order, now)
        if order.status is BrokerStatus.PAST:
            book = taken_out(book, name)
            words.append(worded(name, call, Word(known=Known.DROPPED, time=now.broker, reason=Reason.BOOK_GONE)))
            ended.append((order.broker_id, Ended(order_id=name, filled=told_to_desk(call))))
            continue
        if order.broker_id in resting.fired:
            # Its order shows with the next look, or it is of an earlier day.
            told = (BrokerStatus.PENDING.value, *(call.told[1:] if call.told is not None else (0, 0)))
            book = put(book, name, call.model_copy(update={"told": told}))
            continue
        told = (order.status.value, filled, len(dealt))
        terms = (order.quantity, order.price, order.trigger)
        moving = call.change is not None or call.taken is not None or order.status is BrokerStatus.PENDING
        settled = not moving and not call.cancel
        if told == call.told and (terms == call.terms or not settled):
            book = put(book, name, call)
            continue
        new = filled - told_to_desk(call)
        book = counted(book, order.instrument, new if order.side is Side.BUY else -new)
        # What has not changed there is news by what was asked for.
        time = now.broker if told == call.told else max([order.time, *(trade.time for trade in dealt)])
        word = Word(
            known=Known.BOOK,
            time=time,
            broker_id=order.broker_id,
            order=order,
            trades=tuple(dealt),
            changes=call.changes if settled else None,
            text=order.text or ("" if terms == call.terms else call.unmade_text),
        )
        words.append(worded(name, call, word))
        if order.status.terminal:
            book = taken_out(book, name)
            ids = (order.broker_id, resting.placed.get(order.broker_id))
            ended += [(broker_id, Ended(order_id=name, filled=filled)) for broker_id in ids if broker_id is not None]
        else:
            update = {"told": told, "terms": terms if settled else call.terms}
            book = put(book, name, call.model_copy(update=update))
    for stranger in strangers:
        book = counted(book, stranger.instrument, stranger.quantity)
    overdue: list[str] = []
    for name, call in list(book.calls.items()):
        if name in seen or call.state not in (CallState.UNKNOWN, CallState.TAKEN):
            continue
        if call.request.overnight and found.triggers is None:
            continue
        day_over = not call.request.overnight and call.day < day_of(now)
        late = asked_at >= call.sent_at + absent_after_ms
        if day_over and call.state is CallState.UNKNOWN:
            overdue.append(name)
        elif (missed := _missed(call, now, late=late, day_over=day_over)) is not None:
            book = taken_out(book, name)
            words.append(worded(name, call, missed))
            if call.broker_id is not None:
                ended.append((call.broker_id, Ended(order_id=name, filled=told_to_desk(call))))
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


def _compared(call: Call, order: BrokerOrder, now: Moment) -> Call:
    """Forget a change that the broker's book shows, or has not shown in time, though the broker had received it."""
    if order.status is BrokerStatus.PENDING:
        return call
    # What was not asked for yet is not done by what is there: an earlier change may be on its way.
    change, taken = call.change, call.taken
    if change is not None and call.asked and _shows(order, change) and not _contradicts(taken, change):
        call = call.model_copy(update={"change": None, **_MADE})
    if taken is None:
        return call
    if _shows(order, taken):
        return call.model_copy(update={"taken": None, **_MADE})
    if now.broker < call.taken_at + _SHOWN_MS:
        return call
    return unchanged(call.model_copy(update={"taken": None}), taken, now, order.text)


def _contradicts(taken: Modification | None, change: Modification) -> bool:
    """Whether a change takes back what the broker has received and not shown: then the book does not answer it."""
    if taken is None:
        return False
    pairs = ((taken.quantity, change.quantity), (taken.price, change.price), (taken.trigger, change.trigger))
    return any(None not in pair and pair[0] != pair[1] for pair in pairs)


def _shows(order: BrokerOrder, change: Modification) -> bool:
    """Whether an order is in the book as a change wants it."""
    return (
        change.quantity in (None, order.quantity)
        and change.price in (None, order.price)
        and change.trigger in (None, order.trigger)
    )
