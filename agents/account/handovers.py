"""What is nobody's, given to a strategy or closed: sent to its instrument's desk, whose updates say what came of it."""

from __future__ import annotations

from agents.account.said import Said
from panda_streams.domain.broker_orders import given_key, got_key, moved_id, next_try
from panda_streams.domain.orders import UNATTRIBUTED, OrderState, Reason, Role, own_order_id
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
    namespace, action_id, name = action.namespace, action.action_id, action.instrument
    assert name is not None, "it was looked for"
    said.handover(action, name, shards.shards(name)[0], row.time)
    if action.strategy_id is None:
        order_id = own_order_id(namespace, UNATTRIBUTED, name, action_id, Role.FLATTEN)
    else:
        order_id = moved_id(namespace, got_key(action_id))
    handing = HandingOver(action_id=action_id, strategy_id=action.strategy_id, order_id=order_id)
    return row.model_copy(update={"handovers": {**row.handovers, name: handing}})


def finish_handover(row: RiskRow, update: OrderUpdate, said: Said) -> RiskRow:
    """Say what came of a handover, if an order's update, which the row has taken in, is the end of it."""
    name = update.instrument
    handing = row.handovers.get(name)
    if handing is None:
        return row
    others = {other: known for other, known in row.handovers.items() if other != name}
    again = update.state is OrderState.ABSENT and update.reason is Reason.NEVER_ARRIVED and _nobodys(row).get(name, 0)
    if update.order_id == handing.order_id and again:
        order_id = next_try(update.namespace, handing.order_id, Role.FLATTEN, handing.attempt)
        tried = handing.model_copy(update={"order_id": order_id, "attempt": handing.attempt + 1})
        return row.model_copy(update={"handovers": {**others, name: tried}, "version": row.version + 1})
    end = _end(handing, update, _nobodys(row).get(name, 0))
    if end is None:
        return row
    done, detail = end
    said.completed(handing.action_id, row.time, detail, done=done)
    return row.model_copy(update={"handovers": others, "version": row.version + 1})


def _end(handing: HandingOver, update: OrderUpdate, left: int) -> tuple[bool, str] | None:
    """Whether it was done, and what is to be said of it; None if it goes on."""
    name, whom = update.instrument, handing.strategy_id
    if whom is not None:
        if update.order_id == handing.order_id:
            return True, f"{update.quantity if update.side is Side.BUY else -update.quantity} {name} are {whom}'s now"
        given = update.order_id == moved_id(update.namespace, given_key(handing.action_id))
        if update.strategy_id == UNATTRIBUTED and not left and not given:
            return False, f"nothing was left of {name} in the book {UNATTRIBUTED}"
        return None
    if update.strategy_id == UNATTRIBUTED and not left:
        return True, f"nothing is left of {name} in the book {UNATTRIBUTED}"
    if update.order_id == handing.order_id and update.state.terminal:
        why = update.note or update.reason or "more was found meanwhile"
        return False, f"{left} {name} are in the book {UNATTRIBUTED}, the order to close is {update.state}: {why}"
    return None


def _nobodys(row: RiskRow) -> dict[str, int]:
    """What is nobody's, by instrument."""
    book = row.account.books.get(UNATTRIBUTED)
    return dict(book.positions) if book is not None else {}
