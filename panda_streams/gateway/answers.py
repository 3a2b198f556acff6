"""What the gateway answers: one function a path, from the state to plain JSON values."""

from __future__ import annotations

from typing import Any

from panda_streams.gateway.views import NamespaceView, PortfolioView, PositionView, ProcessView, State, SummaryView

__all__ = [
    "NotKnown",
    "namespaces",
    "orders",
    "page",
    "portfolio",
    "portfolios",
    "processes",
    "risk",
    "strategies",
    "summary",
]

Json = dict[str, Any]

_RISK = {
    "namespace",
    "currency",
    "live",
    "arm",
    "mode",
    "mode_reason",
    "operators_mode",
    "stops",
    "day",
    "signals",
    "validated",
    "rejected",
    "refusals",
    "recent_refusals",
    "at",
    "reason",
}
"""Fields of a namespace that its risk page has."""


class NotKnown(Exception):
    """What was asked for is not there: becomes a 404 with a code, a message and what to do."""

    def __init__(self, code: str, message: str, fix: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fix = fix


def namespaces(state: State) -> Json:
    return _answer(state, namespaces=[_aged(view, state.now) for view in state.namespaces])


def summary(state: State, namespace: str) -> Json:
    _find(state, namespace)
    return _answer(state, **_aged(state.summaries[namespace], state.now))


def portfolios(state: State, namespace: str) -> Json:
    _find(state, namespace)
    return _answer(
        state, namespace=namespace, portfolios=[_portfolio(book, state.now) for book in state.portfolios[namespace]]
    )


def portfolio(state: State, namespace: str, strategy_id: str) -> Json:
    view = _find(state, namespace)
    books = {book.strategy_id: book for book in state.portfolios[namespace]}
    if strategy_id in books:
        return _answer(state, **_portfolio(books[strategy_id], state.now))
    if strategy_id in view.strategies:
        reason = view.reason or "the arm has handled no signal of it yet"
        raise NotKnown(
            "PORTFOLIO_ABSENT",
            f"{namespace} has no book of {strategy_id} yet: {reason}",
            f"{view.signals_waiting or 0} signals wait for {namespace}; GET /api/v1/namespaces shows its arm",
        )
    known = sorted({*books, *view.strategies})
    raise NotKnown(
        "STRATEGY_UNKNOWN",
        f"{namespace} has no strategy {strategy_id!r}",
        f"use one of {', '.join(known)}" if known else f"no strategy lists {namespace} among its brokers",
    )


def orders(state: State, namespace: str) -> Json:
    _find(state, namespace)
    return _answer(
        state, namespace=namespace, orders=[order.model_dump(mode="json") for order in state.orders[namespace]]
    )


def risk(state: State, namespace: str) -> Json:
    """Mode, stops, day and refusals of one account; null with a reason where its arm has said nothing."""
    view = _find(state, namespace).model_dump(mode="json", include=_RISK)
    return _answer(state, **view, age_ms=_age(view["at"], state.now))


def strategies(state: State) -> Json:
    return _answer(
        state,
        strategies=[strategy.model_dump(mode="json") for strategy in state.strategies],
        at=state.strategies_at,
        age_ms=_age(state.strategies_at, state.now),
        reason="" if state.strategies_at is not None else "no brain has reported its strategies",
    )


def processes(state: State) -> Json:
    return _answer(state, processes=[_aged(view, state.now) for view in state.processes])


def page(state: State) -> Json:
    """Everything at once, for the page: without ages, which the browser counts itself, so that it changes seldom."""
    return _answer(
        state,
        world_note=state.world_note,
        namespaces=[
            {
                **view.model_dump(mode="json"),
                "summary": state.summaries[view.namespace].model_dump(mode="json"),
                "portfolios": [book.model_dump(mode="json") for book in state.portfolios[view.namespace]],
                "orders": [order.model_dump(mode="json") for order in state.orders[view.namespace]],
            }
            for view in state.namespaces
        ],
        strategies=[strategy.model_dump(mode="json") for strategy in state.strategies],
        processes=[view.model_dump(mode="json") for view in state.processes],
        problems=list(state.problems),
    )


def _answer(state: State, **fields: Any) -> Json:
    return {"world": state.world, **fields, "simulated": state.simulated, "now": state.now}


def _find(state: State, namespace: str) -> NamespaceView:
    view = state.namespace(namespace)
    if view is None:
        known = ", ".join(known.namespace for known in state.namespaces)
        raise NotKnown("NAMESPACE_UNKNOWN", f"no broker is named {namespace!r}", f"use one of {known}")
    return view


def _portfolio(book: PortfolioView, now: int) -> Json:
    return {**_aged(book, now), "positions": [_aged(position, now) for position in book.positions]}


def _aged(view: NamespaceView | SummaryView | PortfolioView | PositionView | ProcessView, now: int) -> Json:
    return {**view.model_dump(mode="json"), "age_ms": _age(view.at, now)}


def _age(at: int | None, now: int) -> int | None:
    return None if at is None else max(0, now - at)
