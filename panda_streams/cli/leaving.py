"""What would stay behind at a broker if everything were stopped now: a reason to ask before it is."""

from __future__ import annotations

import time

from panda_streams.gateway.views import State

__all__ = ["ASK_S", "Leaving", "left_behind"]

ASK_S = 10.0
"""A second Ctrl-C within so many seconds is the answer."""
_SIMULATED = "simulator"


def left_behind(state: State) -> str:
    """What live arms have at brokers that are no simulator, in a sentence; empty if nothing."""
    found = []
    for view in state.namespaces:
        if not view.live or view.link is None or view.link.endpoint == _SIMULATED:
            continue
        positions = sum(book.open_positions for book in state.portfolios.get(view.namespace, ()))
        orders = len(state.orders.get(view.namespace, ()))
        if positions or orders:
            found.append(
                f"{view.namespace} ({view.link.endpoint}) has {_count(positions, 'open position')} and "
                f"{_count(orders, 'working order')}"
            )
    return "; ".join(found)


class Leaving:
    """Whether to stop at a Ctrl-C, or to ask first. `behind` is kept up to date by who watches the deployment."""

    def __init__(self) -> None:
        self.behind = ""
        self._asked = float("-inf")

    def question(self, now: float | None = None) -> str:
        """What to ask before all is stopped; empty if there is nothing to ask, or it was asked a moment ago."""
        now = time.monotonic() if now is None else now
        if not self.behind or now - self._asked < ASK_S:
            return ""
        self._asked = now
        return (
            f"{self.behind}, which stay at the broker without the arm: stops at the exchange work, nothing else does. "
            f"Ctrl-C again within {ASK_S:g} s stops everything; `panda flatten` closes them first"
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
