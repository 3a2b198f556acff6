"""What is asked of the trader, and what becomes of a call on its way: queued, sending, answered or not."""

from __future__ import annotations

from panda_streams.domain.brokerage import (
    Answer,
    AnswerKind,
    Known,
    Modification,
    Word,
)
from panda_streams.domain.callbook.book import (
    Call,
    CallBook,
    CallKind,
    CallState,
    Due,
    Heard,
    Moment,
    day_of,
    dropped,
    lost,
    put,
    taken_out,
    unchanged,
    waits,
    worded,
)
from panda_streams.domain.orders import Reason

__all__ = ["answered", "asked_cancel", "asked_change", "asked_place", "due", "put_off", "restarted", "starting"]

_THROTTLED_MS = 1100
"""A call that came too fast waits for the next second of the broker's clock."""
_CANCEL = {"cancel": True, "asked": 0, "wait_until": 0}
"""A cancellation does not wait for what was asked for before it."""


def asked_place(book: CallBook, call: Call) -> CallBook:
    """Take an order in; one that is known is left as it is."""
    name = call.request.order_id
    return book if name in book.calls else put(book, name, call.model_copy(update={"since": call.time}))


def asked_change(book: CallBook, name: str, change: Modification, time: int, changes: int) -> CallBook:
    """Note what an order is to become, as the `changes`th change of it: of two that were not sent the later one counts,
    field by field."""
    call = book.calls.get(name)
    if call is None:
        return book
    change = _merged(call.change, change)
    call = call.model_copy(
        update={"change": change, "changes": changes, "terms": None, "asked": 0, "time": time},
    )
    if call.state is CallState.QUEUED:
        return put(book, name, _reworded(call))
    return put(book, name, call.model_copy(update={"wait_until": 0}) if _shrinks(call, change) else call)


def _merged(earlier: Modification | None, later: Modification) -> Modification:
    """Two changes as one: the later one counts, field by field."""
    return later if earlier is None else earlier.model_copy(update=later.model_dump(exclude_none=True))


def _reworded(call: Call) -> Call:
    """A call that is not sent, in the words that were asked for since."""
    if call.change is None:
        return call
    request = call.request.model_copy(update=call.change.model_dump(exclude_none=True))
    return call.model_copy(update={"request": request, "change": None})


def _shrinks(call: Call, change: Modification) -> bool:
    """Whether a change makes an order smaller: one that stays too large closes more than there is."""
    return change.quantity is not None and change.quantity < (call.quantity or call.request.quantity)


def asked_cancel(book: CallBook, name: str, time: int) -> Heard:
    """Note that an order is to be cancelled; one that was never sent is dropped."""
    call = book.calls.get(name)
    if call is None:
        return Heard(book)
    if call.state is CallState.QUEUED:
        return dropped(book, name, time, None)
    return Heard(put(book, name, call.model_copy(update={**_CANCEL, "change": None, "time": time})))


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
        elif call.state is CallState.TAKEN and _to_be_changed(call, now) and exits:
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
        heard = dropped(book, name, now.broker, reason)
        book, words = heard.book, [*words, *heard.words]
    return Heard(book, tuple(words))


def starting(book: CallBook, due: Due, now: Moment) -> Heard:
    """Note that a call is about to leave: durable before it does."""
    call, name = due.call, due.order_id
    rates = book.rates.counted(now.broker, placing=_counts(due.kind, call))
    book = book.model_copy(update={"rates": rates})
    if due.kind is CallKind.PLACE:
        call = call.model_copy(update={"state": CallState.SENDING, "sent_at": now.wall, "day": day_of(now)})
        word = Word(known=Known.SENDING, time=now.broker)
        return Heard(put(book, name, call), (worded(name, call, word),))
    modified = call.modified + (due.kind is CallKind.MODIFY)
    asked = call.asked + 1
    update = {"modified": modified, "asked": asked, "wait_until": now.wall + waits(asked)}
    return Heard(put(book, name, call.model_copy(update=update)))


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
        return Heard(put(book, name, _changed(call, due, answer, now)))
    match answer.kind:
        case AnswerKind.TAKEN:
            call = call.model_copy(update={"state": CallState.TAKEN, "broker_id": answer.broker_id})
            word = Word(known=Known.TAKEN, time=now.broker, broker_id=answer.broker_id)
            return Heard(put(book, name, call), (worded(name, call, word),))
        case AnswerKind.REFUSED:
            word = Word(known=Known.REFUSED, time=now.broker, text=answer.text)
            return Heard(taken_out(book, name), (worded(name, call, word),))
        case AnswerKind.THROTTLED | AnswerKind.LOGGED_OUT:
            if call.cancel:
                return dropped(book, name, now.broker, None)
            queued = {"state": CallState.QUEUED, "wait_until": now.wall + _THROTTLED_MS}
            return Heard(put(book, name, _reworded(call.model_copy(update=queued))))
        case AnswerKind.UNSURE:
            return lost(book, name, call, now, answer.text)


def _changed(call: Call, due: Due, answer: Answer, now: Moment) -> Call:
    wait = {"wait_until": now.wall + waits(call.asked)}
    change = due.call.change
    if due.kind is CallKind.CANCEL or change is None:
        return call.model_copy(update=wait)  # the book tells whether it is done
    if call.cancel:
        return call  # asked for meanwhile: what became of the change does not matter
    again = call.change == change
    match answer.kind:
        case AnswerKind.TAKEN:
            # A smaller quantity is asked for until the book shows it.
            repeated = Modification(quantity=change.quantity) if again and _shrinks(call, change) else None
            taken = _merged(call.taken, change)
            if repeated is not None:
                taken = taken.model_copy(update={"quantity": None})
            left = repeated if again else call.change
            return call.model_copy(update={"change": left, "taken": taken, "taken_at": now.broker, **wait})
        case AnswerKind.REFUSED if again and _shrinks(call, change):
            return call.model_copy(update={"change": None, **_CANCEL})
        case AnswerKind.REFUSED if again:
            prices = change.model_copy(update={"quantity": None})
            if change.quantity is None or not _moves(prices):
                return unchanged(call.model_copy(update={"change": None}), change, now, answer.text)
            # It may be the prices that are refused: the quantity is asked for alone.
            alone = {"change": Modification(quantity=change.quantity), "wait_until": 0}
            return unchanged(call.model_copy(update=alone), prices, now, answer.text)
        case AnswerKind.REFUSED:
            return call  # another one was asked for meanwhile
        case _:
            return call.model_copy(update=wait)


def _to_be_changed(call: Call, now: Moment) -> bool:
    """Whether the broker may be asked for a change now: after one that it has not made, more of that kind waits."""
    change, unmade = call.change, call.unmade
    if change is None or unmade is None or call.hold_until <= now.wall:
        return change is not None
    if change.quantity is not None:
        return _shrinks(call, change) or unmade.quantity is None
    return not _moves(unmade)


def _moves(change: Modification) -> bool:
    """Whether a change is one of prices."""
    return change.price is not None or change.trigger is not None


def restarted(book: CallBook, now: Moment) -> Heard:
    """Take over a book: what was on its way when its owner ended is unknown."""
    words: list[tuple[str, str, int, Word]] = []
    for name, call in list(book.calls.items()):
        if call.state is CallState.SENDING:
            heard = lost(book, name, call, now, "the arm ended while it was on its way")
            book, words = heard.book, [*words, *heard.words]
    return Heard(book, tuple(words))
