"""Joins broker, market and memory: whatever is decided is durable before anybody hears of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from panda_streams.kitesim.broker import Broker, Outbox
from panda_streams.kitesim.market import InstrumentState
from panda_streams.kitesim.orders import BookOrder
from panda_streams.kitesim.sessions import Sessions
from panda_streams.kitesim.store import Store

__all__ = ["Engine"]

Listener = Callable[[Outbox, tuple[str, ...]], None]
"""Hears of what has become durable: the outbox, and the instruments whose state has changed."""


class Engine:
    """The broker of one file, as it was left there."""

    def __init__(self, store: Store, broker: Broker, secret: str) -> None:
        self.store = store
        self.broker = broker
        self.sessions = Sessions(secret, store.sessions())
        self.listeners: list[Listener] = []
        self.failure: Exception | None = None
        """What broke: from then on what the memory holds and what the file holds may differ, and the process has to
        end; it starts again with what the file holds."""
        counters = store.counters()
        broker.restore(counters, store.orders(counters.date), store.trades(counters.date), store.gtts())
        store.load_account(broker.account)
        store.load_market(broker.view)

    def commit(self, places: Mapping[int, int] | None = None) -> None:
        """Make durable what was decided since the last time, as one transaction, and tell of it.

        `places`: by shard the offset of the first record that is not wholly worked through.
        """
        outbox, view = self.broker.take(), self.broker.view
        changed = tuple(view.changed)
        try:
            with self.store:
                self.store.keep(outbox, self.broker.counters, self.broker.account)
                self.store.keep_market(view, places or {})
                if self.sessions.changed:
                    self.store.keep_sessions(self.sessions)
                    self.sessions.changed = False
        except Exception as error:
            self.failure = error
            raise
        for listener in self.listeners:
            listener(outbox, changed)

    def state(self, instrument_id: str) -> InstrumentState | None:
        return self.broker.view.state(instrument_id)

    def history(self, order: BookOrder) -> list[BookOrder]:
        """The rows of an order's history, the first one first."""
        return self.store.history(order.order_id)
