"""What is nobody's, given to a strategy or closed: sent to its instrument's desk, whose updates say what came of it."""

from __future__ import annotations

from agents.account.said import Said
from panda_streams.domain.broker_orders import given_key, got_key, moved_id
from panda_streams.domain.orders import UNATTRIBUTED, OrderState, Reason, Role
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.signals import Side
from panda_streams.events import Action, ActionKind, OrderUpdate
from tables.risk import HandingOver, RiskRow

__all__ = ["finish_handover", "hand_over", "unowned"]


def unowned(row: RiskRow, action: Action) -> str:
    """Why nothing can be handed over, and what to do; empty if it can."""
    held = _nobodys(row)
    if action.instrument not in held:
        there = ", ".join(f"{shares} {name}" for name, shares in sorted(held.items())) or "nothing"
        return f"the book {UNATTRIBUTED} holds {there}: name one of that"
    if action.instrument in row.handovers:
        whom = row.handovers[action.instrument].strategy_id or "the market"
        return f"it is on its way to {whom} already: wait for the end of that"
    if action.what is ActionKind.CLOSE:
        return ""
    if action.strategy_id not in row.account.books or action.strategy_id == UNATTRIBUTED:
        known = ", ".join(sorted(name for name in row.account.books if name != UNATTRIBUTED)) or "none"
        return f"{action.strategy_id} has no book here yet: name one that has, of {known}"
    return ""


def hand_over(row: RiskRow, action: Action, shards: ShardMap, said: Said) -> RiskRow:
    """Send the command on: what comes of it is heard by its updates."""
    name = action.instrument
    assert name is not None, "it was looked for"
    said.handover(action, name, shards.shards(name)[0], row.time)
    return _noted(row, name, HandingOver(action_id=action.action_id, strategy_id=action.strategy_id))


def finish_handover(row: RiskRow, update: OrderUpdate, said: Said) -> RiskRow:
    """Say what came of a handover, if an order's update, which the row has taken in, is the end of it."""
    name = update.instrument
    handing = row.handovers.get(name)
    if handing is None:
        return row
    ours = update.order_id in handing.orders
    if update.strategy_id == UNATTRIBUTED and update.role is Role.FLATTEN:
        others = tuple(order_id for order_id in handing.orders if order_id != update.order_id)
        handing = handing.model_copy(update={"orders": others if update.state.terminal else (*others, update.order_id)})
    end = _end(handing, update, _nobodys(row).get(name, 0), ours=ours)
    if end is None:
        return row if handing == row.handovers[name] else _noted(row, name, handing)
    done, detail = end
    said.completed(handing.action_id, row.time, detail, done=done)
    return _noted(row, name, None)


def _end(handing: HandingOver, update: OrderUpdate, left: int, *, ours: bool) -> tuple[bool, str] | None:
    """Whether it was done, and what is to be said of it; None if it goes on. `ours`: the update is of an order that
    closes it."""
    name, whom, action_id = update.instrument, handing.strategy_id, handing.action_id
    if whom is not None and update.order_id == moved_id(update.namespace, got_key(action_id)):
        return True, f"{update.quantity if update.side is Side.BUY else -update.quantity} {name} are {whom}'s now"
    if update.strategy_id != UNATTRIBUTED or update.order_id == moved_id(update.namespace, given_key(action_id)):
        return None
    if not left:
        nothing = f"left of {name} in the book {UNATTRIBUTED}"
        return (True, f"nothing is {nothing}") if whom is None else (False, f"nothing was {nothing}")
    # One that never arrived is tried again, under another id, and what was cut into several orders has several ends.
    again = update.state is OrderState.ABSENT and update.reason is Reason.NEVER_ARRIVED
    if not ours or not update.state.terminal or again or handing.orders:
        return None
    why = update.note or update.reason or "more was found meanwhile"
    return False, f"{left} {name} are in the book {UNATTRIBUTED}, the order to close is {update.state}: {why}"


def _noted(row: RiskRow, name: str, handing: HandingOver | None) -> RiskRow:
    """The row with a handover of an instrument, or without one."""
    handovers = {other: known for other, known in row.handovers.items() if other != name}
    if handing is not None:
        handovers[name] = handing
    return row.model_copy(update={"handovers": handovers, "version": row.version + 1})


def _nobodys(row: RiskRow) -> dict[str, int]:
    """What is nobody's, by instrument."""
    book = row.account.books.get(UNATTRIBUTED)
    return dict(book.positions) if book is not None else {}
