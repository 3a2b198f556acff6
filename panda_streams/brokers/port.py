"""What a broker is to the rest: a description that is always there, and a trader for its arm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Protocol

from panda_streams.domain.fate import Execution
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.orders import Order
from panda_streams.domain.ticks import Depth, Tick
from panda_streams.errors import SettingsError
from panda_streams.settings import Settings

__all__ = ["Broker", "Trader", "find_broker", "registered_brokers"]

_GROUP = "panda_streams.brokers"


class Trader(Protocol):
    """Trades for one account. A simulating trader decides each fill from the tick log alone."""

    @property
    def latency_ms(self) -> int:
        """Event time from an order's cause until the market can fill it."""

    def match(self, order: Order, instrument: Instrument, tick: Tick, depth: Depth | None) -> tuple[Execution, ...]:
        """Say what `tick` gives `order`: nothing, or trades that fill it whole, one for each price.

        Called for each tick of the order's instrument after the order's cause and from `order.live_at` on, in the
        order of the log, until it fills the order. Must be a function of its arguments: the same ticks are matched
        again after a crash.
        """


@dataclass(frozen=True, slots=True)
class Broker:
    """What is known of a broker whether or not its arm runs."""

    namespace: str
    title: str
    currency: str
    live: bool
    """True if its orders move real money: a strategy must then consent with `<namespace>_trading_enabled: true`."""
    trader: Callable[[Settings], Trader] | None
    """Makes the trader of its arm; None where this version has none yet, and the arm refuses to start."""


def registered_brokers() -> dict[str, Broker]:
    """All brokers that an installed package registers, by namespace."""
    brokers: dict[str, Broker] = {}
    for entry_point in sorted(entry_points(group=_GROUP), key=lambda found: found.name):
        broker: Broker = entry_point.load()
        if broker.namespace != entry_point.name:
            raise SettingsError(
                f"the entry point {entry_point.name} of {_GROUP} registers a broker named {broker.namespace}",
                fix="give both the same name in that package",
            )
        brokers[broker.namespace] = broker
    return brokers


def find_broker(namespace: str) -> Broker:
    """The broker registered as `namespace`; raises SettingsError that lists what is registered."""
    brokers = registered_brokers()
    if namespace not in brokers:
        raise SettingsError(
            f"no installed package registers a broker named {namespace!r}",
            fix=f"use one of {', '.join(brokers)}, or install a package with an entry point of that name in the "
            f"group {_GROUP}",
        )
    return brokers[namespace]
