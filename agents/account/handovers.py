"""What is nobody's, given to a strategy or closed: sent to its instrument's desk, whose updates say what came of it."""

from __future__ import annotations

from agents.account.said import Said
from panda_streams.domain.broker_orders import given_key, got_key, moved_id
from panda_streams.domain.orders import UNATTRIBUTED, OrderState, Role
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.signals import Side
from panda_streams.events import Action, ActionKind, OrderUpdate
from tables.risk import HandingOver, RiskRow

__all__ = ["finish_handovers", "hand_over", "unowned"]

_HANDOVERS = 50
"""Handovers that the row remembers, should their ends never be heard of."""


def unowned(row: RiskRow, action: Action) -> str:
    """Why nothing can be handed over, and what to do; empty if it can."""
    nobodys = row.account.books.get(UNATTRIBUTED)
    held = nobodys.positions if nobodys is not None else {}
    if action.instrument not in held:
        there = ", ".join(f"{shares} {name}" for name, shares in sorted(held.items())) or "nothing"
        return f"the book {UNATTRIBUTED} holds {there}: name one of that"
    if action.what is ActionKind.CLOSE:
        return ""
    if action.strategy_id not in row.account.books or action.strategy_id == UNATTRIBUTED:
        known = ", ".join(sorted(name for name in row.account.books if name != UNATTRIBUTED)) or "none"
        return f"{action.strategy_id} has no book here yet: name one that has, of {known}"
    return ""


def hand_over(row: RiskRow, action: Action, shards: ShardMap, said: Said) -> RiskRow:
    """Send the command on: what comes of it is heard by its updates."""
    assert action.instrument is not None, "it was looked for"
    said.handover(action, action.instrument, shards.shards(action.instrument)[0], row.time)
    handing = HandingOver(action_id=action.action_id, instrument=action.instrument, strategy_id=action.strategy_id)
    return row.model_copy(update={"handovers": (*row.handovers, handing)[-_HANDOVERS:]})


def finish_handovers(row: RiskRow, update: OrderUpdate, said: Said) -> RiskRow:
    """Say what came of the handovers that an order's update, which the row has taken in, is the end of."""
    ended = []
    for handing in row.handovers:
        end = _end(row, handing, update) if handing.instrument == update.instrument else None
        if end is not None:
            done, detail = end
            said.completed(handing.action_id, row.time, detail, done=done)
            ended.append(handing)
    if not ended:
        return row
    left = tuple(handing for handing in row.handovers if handing not in ended)
    return row.model_copy(update={"handovers": left, "version": row.version + 1})


def _end(row: RiskRow, handing: HandingOver, update: OrderUpdate) -> tuple[bool, str] | None:
    """Whether it was done, and what is to be said of it; None if it goes on."""
    name, strategy_id, action = handing.instrument, handing.strategy_id, handing.action_id
    if strategy_id is not None and update.order_id == moved_id(update.namespace, got_key(action)):
        signed = update.quantity if update.side is Side.BUY else -update.quantity
        return True, f"{signed} {name} are {strategy_id}'s now"
    if update.strategy_id != UNATTRIBUTED or update.order_id == moved_id(update.namespace, given_key(action)):
        return None
    nobodys = row.account.books.get(UNATTRIBUTED)
    left = nobodys.positions.get(name, 0) if nobodys is not None else 0
    if not left:
        if strategy_id is None:
            return True, f"nothing is left of {name} in the book {UNATTRIBUTED}"
        return False, f"nothing was left of {name} in the book {UNATTRIBUTED}"
    # One that never arrived is tried again by itself.
    if update.role is Role.FLATTEN and update.state.terminal and update.state is not OrderState.ABSENT:
        why = update.note or update.reason or "more was found meanwhile"
        return False, f"{left} {name} are in the book {UNATTRIBUTED}, the order to close is {update.state}: {why}"
    return None
