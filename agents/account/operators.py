"""What risk does for operators: each action once, with a word on what became of it."""

from __future__ import annotations

from decimal import Decimal

from agents.account.bookkeeping import Done, carry_out
from agents.account.handovers import hand_over, unowned
from agents.account.said import Said
from agents.context import Context
from panda_streams.domain.instruments import InstrumentKind
from panda_streams.domain.orders import UNATTRIBUTED, OrderState, Reason, Role
from panda_streams.domain.risk.limits import ACCOUNT
from panda_streams.domain.risk.modes import Latch, Mode, StopReason
from panda_streams.domain.risk.watch import funded
from panda_streams.domain.shards import ShardMap
from panda_streams.events import Action, ActionKind, OrderUpdate
from tables.risk import RiskRow

__all__ = ["act", "finish_flattening", "give_up_flattening"]

_ACTIONS = 50
"""Actions that the row remembers, so that one which comes twice is done once."""


def act(row: RiskRow, action: Action, context: Context, shards: ShardMap, said: Said) -> RiskRow:
    """Do what an operator wants done, unless it was done before."""
    if action.action_id in row.actions:
        return row
    row = row.model_copy(update={"actions": (*row.actions, action.action_id)[-_ACTIONS:], "version": row.version + 1})
    wrong = _misplaced(row, action, context)
    if wrong:
        said.completed(action.action_id, row.time, wrong, done=False)
        return row
    match action.what:
        case ActionKind.FLATTEN:
            return _flatten(row, action, said)
        case ActionKind.RESUME:
            return _resume(row, action, said)
        case ActionKind.ASSIGN | ActionKind.CLOSE:
            return hand_over(row, action, shards, said)
        case ActionKind.STOP:
            return _stop(row, action, said)
        case _:
            return _keep_books(row, action, context, shards, said)


def finish_flattening(row: RiskRow, said: Said) -> RiskRow:
    """Say that all positions are closed, once they are."""
    if row.flattening is None or row.account.reservations:
        return row
    if any(book.positions for name, book in row.account.books.items() if name != UNATTRIBUTED):
        return row
    said.completed(row.flattening, row.time, "all orders have ended and all positions are closed", done=True)
    return row.model_copy(update={"flattening": None, "version": row.version + 1})


def give_up_flattening(row: RiskRow, update: OrderUpdate, said: Said) -> RiskRow:
    """Say that a position stays open whose closing order has ended, as one that its broker has refused; an operator can
    flatten again then. One that never arrived is tried again by itself."""
    if row.flattening is None or update.role is not Role.FLATTEN or update.strategy_id == UNATTRIBUTED:
        return row
    gone = update.state.terminal and update.state not in (OrderState.FILLED, OrderState.ABSENT)
    book = row.account.books.get(update.strategy_id)
    held = book.positions.get(update.instrument, 0) if book is not None else 0
    if not (gone and held) or update.reason is Reason.FLATTENED:
        return row
    detail = (
        f"{held} {update.instrument} of {update.strategy_id} are still open, their order is {update.state}: "
        f"{update.note or update.reason}; flatten again once that is mended"
    )
    said.completed(row.flattening, row.time, detail, done=False)
    return row.model_copy(update={"flattening": None, "version": row.version + 1})


def _misplaced(row: RiskRow, action: Action, context: Context) -> str:
    """Why an action is for something that there is not here, and what to do; empty if it is not."""
    if action.world != context.world:
        return f"it is for the world {action.world}, this is {context.world}"
    if action.what in (ActionKind.ASSIGN, ActionKind.CLOSE):
        return unowned(row, action)
    if action.instrument is not None:
        instrument = context.instruments.get(action.instrument)
        if instrument is None:
            return f"{action.instrument} is not in the list of instruments"
        if instrument.kind is not InstrumentKind.EQUITY:
            return f"{action.instrument} is no share: only shares are split or given as a bonus"
    if action.strategy_id is not None and action.strategy_id not in row.account.books:
        config = context.strategies.get(action.strategy_id)
        if config is None or context.namespace not in config.accounts:
            return f"{action.strategy_id} has neither an account nor a book here: name one that has"
    return ""


def _flatten(row: RiskRow, action: Action, said: Said) -> RiskRow:
    """Halt from this record on, and have every shard end its orders and close its positions."""
    if row.flattening is not None:
        said.completed(
            action.action_id, row.time, "positions are being closed already: wait for the end of that", done=False
        )
        return row
    latch = Latch(
        reason=StopReason.FLATTENED,
        mode=Mode.HALTED,
        level=ACCOUNT,
        detail=f"{action.reason} ({action.who})",
        since=row.time,
    )
    others = tuple(known for known in row.latches if known.reason is not StopReason.FLATTENED)
    said.stopped(latch)
    said.flatten(action.action_id, row.time)
    row = row.model_copy(update={"latches": (*others, latch), "flattening": action.action_id})
    return finish_flattening(row, said)


def _stop(row: RiskRow, action: Action, said: Said) -> RiskRow:
    """The trader has found at the broker what the books do not explain."""
    latch = Latch(
        reason=StopReason.BROKER_BOOK,
        mode=action.mode or Mode.HALTED,
        level=ACCOUNT,
        detail=action.reason,
        since=row.time,
    )
    said.stopped(latch)
    return row.model_copy(update={"latches": (*row.latches, latch)})


def _resume(row: RiskRow, action: Action, said: Said) -> RiskRow:
    """Take the arm's own stops back. One whose cause still holds is found again at the next moment."""
    if row.flattening is not None:
        detail = "positions are still being closed: wait for the end of that"
        said.completed(action.action_id, row.time, detail, done=False)
        return row
    names = ", ".join(f"{latch.reason} of {latch.level}" for latch in row.latches)
    detail = f"taken back: {names}" if names else "the arm had not stopped itself"
    said.completed(action.action_id, row.time, detail, done=True)
    return row.model_copy(update={"latches": ()})


def _keep_books(row: RiskRow, action: Action, context: Context, shards: ShardMap, said: Said) -> RiskRow:
    known = context.strategies.get(action.strategy_id or "")
    config = known.accounts.get(context.namespace) if known is not None else None
    halted = context.levels.mode(context.namespace)[0].rank >= Mode.HALTED.rank
    capital = config.capital if config is not None else Decimal(0)
    done: Done = carry_out(row.account, action, capital, row.time, halted=halted)
    said.book(done.bookings)
    if done.bookings and action.instrument is not None and action.ratio is not None:
        said.adjusted(action.instrument, action.ratio, shards.shards(action.instrument)[0], row.time)
    said.completed(action.action_id, row.time, done.detail, done=done.done)
    day = row.day
    for booking in done.bookings:
        day = funded(day, booking, row.account.book(booking.strategy_id, capital), capital)
    return row.model_copy(update={"account": done.account, "day": day})
