"""What a broker is to the rest: a description that is always there, and a trader for its arm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from importlib.metadata import entry_points
from typing import Protocol, runtime_checkable

from panda_streams.domain.brokerage import BrokerClient
from panda_streams.domain.calendar import Calendar
from panda_streams.domain.contract_note import Tally
from panda_streams.domain.exchange import Exchange, Market
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.orders import Fill
from panda_streams.errors import SettingsError
from panda_streams.identity import World
from panda_streams.settings import Settings

__all__ = ["Broker", "ConnectedTrader", "Pace", "SimulatedTrader", "Trader", "find_broker", "registered_brokers"]

_GROUP = "panda_streams.brokers"


class Trader(Exchange, Protocol):
    """Answers for the broker of one account. Each method must be a function of its arguments: what it says is computed
    again after a crash."""

    @property
    def calendar(self) -> Calendar:
        """When its markets trade."""

    def counted(self, tally: Tally, fill: Fill, instrument: Instrument) -> Tally:
        """The account's trading day with a fill more, for its contract note."""

    def contract_note(self, tally: Tally, on: date) -> dict[str, dict[str, Decimal]]:
        """What the day's contract note still posts to each strategy, by head: nothing where there are none."""


class SimulatedTrader(Trader, Market, Protocol):
    """Trades for an account whose every fill is decided from the tick log alone."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a trader waits for its broker, in seconds of the wall's clock."""

    poll_s: float
    """Between two looks into the broker's book while an order is there, if nothing tells of a change."""
    look_s: float
    """Between two looks at the least, however often something tells of a change: a broker takes so many a second."""
    idle_s: float
    """Between two looks while none is."""
    absent_after_s: float
    """From sending until an order that the book does not have is taken for one that never arrived. Orders have shown
    minutes late; taken too short, an exit is sent twice."""
    settle_in_s: float
    """For which a new owner of the account waits: a call of the one before it may be under way for as long."""
    reconcile_s: float
    """Between two comparisons of all that the account holds with the books."""


@runtime_checkable
class ConnectedTrader(Trader, Protocol):
    """Trades for an account at a broker that is asked, and whose word may be late, doubled or missing."""

    @property
    def pace(self) -> Pace: ...

    @property
    def endpoint(self) -> str:
        """What is at the other end, in a word for people: `production` is real money, as no other word is."""

    def check(self, world: World) -> None:
        """Raise SettingsError if it may not trade in a world with its settings: asked before the arm starts."""

    def connect(self, world: World) -> BrokerClient:
        """Make the account's client; no call is made yet."""

    async def watch(self, world: World, hint: Callable[[], None]) -> None:
        """Call `hint` whenever the broker tells of a change of an order, until cancelled; it may miss some."""

    def tag(self, order_id: str) -> str:
        """The label under which the broker keeps an order: at most 20 letters and digits, a function of its id."""

    def own(self, tag: str | None) -> bool:
        """Whether a label is of this account's making."""


@dataclass(frozen=True, slots=True)
class Broker:
    """What is known of a broker whether or not its arm runs."""

    namespace: str
    title: str
    currency: str
    live: bool
    """True if its orders move real money: a strategy must then consent with `<namespace>_trading_enabled: true`."""
    trader: Callable[[Settings, Calendar], SimulatedTrader | ConnectedTrader] | None
    """Makes the trader of its arm, for a world's calendar; None where this version has none yet, and the arm refuses to
    start."""


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
