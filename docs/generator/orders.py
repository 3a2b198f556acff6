"""docs/orders.md: states, transitions, roles and reasons of orders."""

from __future__ import annotations

from pathlib import Path

from docs.generator.fields import meanings, prose
from docs.generator.markdown import head_of, table
from panda_streams.domain.lifecycle import TRANSITIONS, OrderEvent
from panda_streams.domain.matching import QueueModel
from panda_streams.domain.orders import OrderState, Reason, Role

__all__ = ["orders_page"]


def orders_page(page: Path) -> str:
    diagram = ["stateDiagram-v2", "    [*] --> INTENT"]
    rows = []
    for state, events in TRANSITIONS.items():
        diagram += [f"    {state} --> {after}: {event}" for event, after in events.items() if after is not state]
        diagram += [f"    {state} --> [*]"] if state.terminal else []
        rows += [(f"`{state}`", f"`{event}`", f"`{after}`") for event, after in events.items()]
    drawn = "\n".join(diagram)
    return "\n".join(
        [
            head_of(page),
            f"## States\n\n```mermaid\n{drawn}\n```\n",
            table(("state", "means"), meanings(OrderState)),
            f"## Events\n\n{table(('event', 'means'), meanings(OrderEvent))}",
            f"## Transitions\n\nWhat is not here cannot be.\n\n{table(('in', 'comes', 'then'), rows)}",
            f"## Roles\n\n{prose(Role)}\n\n{table(('role', 'is for'), meanings(Role))}",
            f"## Reasons\n\n{prose(Reason)}\n\n{table(('reason', 'means'), meanings(Reason))}",
            f"## When a resting order is filled\n\n{table(('PANDA_PAPER_QUEUE', 'filled'), meanings(QueueModel))}",
        ]
    )
