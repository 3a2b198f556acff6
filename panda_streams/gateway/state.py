"""The state of a world as people see it: assembled from the records in Redis, for the gateway and `panda status`.

Pure: texts in, views out. What is absent is None with a reason, never 0; a record that cannot be read, or that belongs
to another world, is absent and named among the problems.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from panda_streams.brokers.port import Broker
from panda_streams.domain.orders import UNATTRIBUTED
from panda_streams.events import Health
from panda_streams.gateway.stages import stages
from panda_streams.gateway.stops import stop_view
from panda_streams.gateway.views import (
    ArmState,
    NamespaceView,
    PortfolioView,
    PositionView,
    ProcessView,
    StageView,
    State,
    SummaryView,
)
from panda_streams.identity import World
from panda_streams.keys import STAMP, Keys
from panda_streams.mirrored import (
    BrokerRecord,
    FanoutRecord,
    LinkRecord,
    OrderRecord,
    PortfolioRecord,
    PositionRecord,
    RiskRecord,
    StrategiesRecord,
    TraderRecord,
)

__all__ = [
    "FRESH_MS",
    "Raw",
    "RawArm",
    "assemble",
    "broker_records",
    "known_namespaces",
    "stamp_problem",
]

FRESH_MS = 10_000
"""A process reports every second: one that has been silent for longer does not run, and its numbers stand still."""

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class RawArm:
    """An arm's records as they are in Redis, by key."""

    risk: str | None = None
    portfolios: Mapping[str, str] = field(default_factory=dict)
    """By strategy id."""
    positions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By strategy id and instrument."""
    orders: Mapping[str, str] = field(default_factory=dict)
    link: str | None = None
    trader: str | None = None


@dataclass(frozen=True, slots=True)
class Raw:
    """All records of a world as they are in Redis."""

    stamp: str | None = None
    strategies: str | None = None
    fanout: Mapping[str, str] = field(default_factory=dict)
    """By key; empty as long as the brain has sent nothing."""
    arms: Mapping[str, RawArm] = field(default_factory=dict)
    health: Mapping[str, str] = field(default_factory=dict)
    """By key, of every scope."""


def broker_records(brokers: Mapping[str, Broker]) -> dict[str, BrokerRecord]:
    """The brokers that are installed here, as the brain would list them."""
    return {
        broker.namespace: BrokerRecord(
            namespace=broker.namespace,
            title=broker.title,
            currency=broker.currency,
            live=broker.live,
            trader=broker.trader is not None,
        )
        for broker in brokers.values()
    }


def known_namespaces(strategies: str | None, installed: Iterable[str]) -> list[str]:
    """Every broker account that is registered or that a strategy lists, paper first."""
    record = _read(StrategiesRecord, "", strategies, [])
    names = set(installed)
    if record is not None:
        names |= {broker.namespace for broker in record.brokers}
        names |= {name for strategy in record.strategies for name in strategy.brokers}
    return sorted(names, key=lambda name: (name != "paper", name))


def stamp_problem(stamp: str | None, world: str) -> str | None:
    """Why a Redis database with this stamp must not be read by a process of `world`; None if it may."""
    if stamp is None:
        return f"the Redis database has no stamp of a world ({STAMP})"
    record = _read(_StampWorld, STAMP, stamp, [])
    if record is None:
        return f"the key {STAMP} of the Redis database is not a stamp"
    if record.world != world:
        return f"the Redis database belongs to the world {record.world}, this process to {world}"
    return None


def assemble(raw: Raw, world: World, installed: Mapping[str, BrokerRecord], now: int) -> State:
    """Assemble the state from the records; `installed` names brokers that the brain has not told of yet."""
    problems: list[str] = []
    mismatch = stamp_problem(raw.stamp, world.name)
    if mismatch is not None:
        problems.append(mismatch)
    told = _read(StrategiesRecord, Keys("brain").strategies, raw.strategies, problems)
    brokers = {**installed, **{broker.namespace: broker for broker in (told.brokers if told else ())}}
    processes = _processes(raw.health, world, problems, now)
    counts = _fanout(raw.fanout, problems)
    feeds, brains = ([view for view in processes if view.role == role] for role in ("feed", "brain"))
    feed = next((view for view in feeds if view.fresh and view.state == "running"), None)

    views: list[NamespaceView] = []
    portfolios: dict[str, tuple[PortfolioView, ...]] = {}
    orders: dict[str, tuple[OrderRecord, ...]] = {}
    for namespace in known_namespaces(raw.strategies, installed):
        arm = raw.arms.get(namespace, RawArm())
        reports = [view for view in processes if view.namespace == namespace]
        risk = _read(RiskRecord, Keys(namespace).risk, arm.risk, problems)
        books = _portfolios(namespace, arm, world, reports, feed, problems, now)
        way = stages(feeds, brains, reports)
        link = _read(LinkRecord, Keys(namespace).link, arm.link, problems)
        trader = _read(TraderRecord, Keys(namespace).trader, arm.trader, problems)
        view = _namespace(namespace, brokers.get(namespace), told, reports, risk, books, counts, way)
        view = view.model_copy(update={"link": link, "at_broker": trader})
        views.append(view)
        portfolios[namespace] = books
        found = (
            _read(OrderRecord, Keys(namespace).order(name), text, problems) for name, text in sorted(arm.orders.items())
        )
        orders[namespace] = tuple(sorted((order for order in found if order), key=lambda order: order.time))
    return State(
        now=now,
        world=world.name,
        simulated=world.simulated,
        world_note=_world_note(world),
        namespaces=tuple(views),
        summaries={view.namespace: _summary(view, portfolios[view.namespace]) for view in views},
        portfolios=portfolios,
        orders=orders,
        strategies=told.strategies if told else (),
        strategies_at=told.at if told else None,
        processes=processes,
        problems=tuple(problems),
        # A database that was emptied has no stamp; the rows that come back name their world themselves.
        foreign_stamp=mismatch if raw.stamp is not None else None,
    )


class _StampWorld(BaseModel):
    world: str


def _world_note(world: World) -> str | None:
    if not world.simulated:
        return None
    if world.name == "sim":
        return "Simulated market"
    return f"Replay of {world.name.removeprefix('replay:')}"


def _read(kind: type[M], key: str, text: str | None, problems: list[str]) -> M | None:
    if text is None:
        return None
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the record"
        problems.append(f"the Redis key {key} cannot be read: {place}: {first['msg']}")
        return None


def _of_world(found: str, key: str, world: World, problems: list[str]) -> bool:
    if found == world.name:
        return True
    problems.append(f"the Redis key {key} belongs to the world {found}, this process to {world.name}")
    return False


_ORDER = {"feed": 0, "brain": 1, "kitesim": 2, "arm": 3, "gateway": 4}


def _processes(texts: Mapping[str, str], world: World, problems: list[str], now: int) -> tuple[ProcessView, ...]:
    views = []
    for key, text in texts.items():
        health = _read(Health, key, text, problems)
        if health is not None and _of_world(health.world, key, world, problems):
            views.append(ProcessView(**health.model_dump(), fresh=now - health.at <= FRESH_MS))
    return tuple(sorted(views, key=lambda view: (_ORDER.get(view.role, 9), view.scope, view.instance)))


def _fanout(texts: Mapping[str, str], problems: list[str]) -> dict[str, int] | None:
    counts: dict[str, int] = {}
    for key, text in texts.items():
        record = _read(FanoutRecord, key, text, problems)
        for namespace, count in (record.counts if record else {}).items():
            counts[namespace] = counts.get(namespace, 0) + count
    return counts if texts else None


def _portfolios(
    namespace: str,
    arm: RawArm,
    world: World,
    reports: list[ProcessView],
    feed: ProcessView | None,
    problems: list[str],
    now: int,
) -> tuple[PortfolioView, ...]:
    # A number that does not change holds as long as its arm runs: only then is it as young as the arm's last report.
    alive = max((view.at for view in reports if view.fresh and view.ready and view.state == "running"), default=0)

    def stale(at: int, time: int | None, is_open: bool) -> bool:
        if feed is None or now - at <= FRESH_MS:
            return False
        # An open position waits for the next tick of its instrument: it is behind only if event time went on.
        return not is_open or not alive or (feed.last_event_time or 0) - (time or 0) > FRESH_MS

    keys = Keys(namespace)
    books = []
    for strategy_id, text in sorted(arm.portfolios.items()):
        key = keys.portfolio(strategy_id)
        record = _read(PortfolioRecord, key, text, problems)
        if record is None or not _of_world(record.world, key, world, problems):
            continue
        if record.namespace != namespace:
            problems.append(f"the Redis key {key} holds a book of {record.namespace}")
            continue
        positions = []
        for instrument, position_text in sorted(arm.positions.get(strategy_id, {}).items()):
            found = _read(PositionRecord, keys.position(strategy_id, instrument), position_text, problems)
            if found is not None:
                held = found.quantity != 0
                at = found.at if held else max(found.at, alive)
                positions.append(PositionView(**found.model_dump(), stale=stale(at, found.time, held)))
        at = record.at if record.positions else max(record.at, alive)
        books.append(
            PortfolioView(
                namespace=namespace,
                strategy_id=strategy_id,
                currency=record.currency,
                simulated=record.simulated,
                capital=record.capital,
                cash=record.cash,
                equity=record.equity,
                realised=record.realised,
                unrealised=record.unrealised,
                charges=record.charges,
                open_positions=record.positions,
                fills=record.fills,
                bookings=record.bookings,
                bookings_waiting=record.bookings_waiting,
                gains=record.gains,
                time=record.time,
                at=at,
                stale=stale(at, record.time, record.positions > 0),
                positions=tuple(positions),
            )
        )
    return tuple(books)


def _namespace(
    namespace: str,
    broker: BrokerRecord | None,
    told: StrategiesRecord | None,
    reports: list[ProcessView],
    risk: RiskRecord | None,
    books: tuple[PortfolioView, ...],
    counts: dict[str, int] | None,
    way: tuple[StageView, ...],
) -> NamespaceView:
    running = [view for view in reports if view.fresh and view.state != "stopped"]
    arm = ArmState.STOPPED if reports or risk or books else ArmState.NONE
    if running:
        arm = ArmState.RUNNING
    waiting = None if counts is None else max(0, counts.get(namespace, 0) - (risk.signals if risk else 0))
    times = [view.last_event_time for view in reports] + [risk.time if risk else None]
    words = [view.at for view in reports] + [book.at for book in books] + ([risk.at] if risk else [])
    operators_mode = next((view.mode for view in running if view.mode), None)
    return NamespaceView(
        namespace=namespace,
        title=broker.title if broker else namespace,
        currency=broker.currency if broker else None,
        live=broker.live if broker else False,
        trader=broker.trader if broker else False,
        arm=arm,
        mode=risk.mode if risk else operators_mode,
        mode_reason=risk.mode_reason if risk else None,
        operators_mode=operators_mode,
        stops=tuple(stop_view(namespace, stop) for stop in risk.stops) if risk else (),
        day=risk.day if risk and risk.day and risk.day.date else None,
        ready=bool(running) and all(view.ready for view in running),
        detail="; ".join(view.detail for view in running if view.detail),
        lag=sum(view.lag or 0 for view in running) if any(view.lag is not None for view in running) else None,
        signals_waiting=waiting,
        signals=risk.signals if risk else None,
        validated=risk.validated if risk else None,
        rejected=risk.rejected if risk else None,
        refusals=risk.refusals if risk else {},
        recent_refusals=risk.recent_refusals if risk else (),
        strategies=tuple(
            strategy.strategy_id for strategy in (told.strategies if told else ()) if namespace in strategy.brokers
        ),
        stages=way,
        last_event_time=max((time for time in times if time is not None), default=None),
        at=max(words, default=None),
        reason=_reason(arm, broker, reports, books),
    )


def _reason(
    arm: ArmState, broker: BrokerRecord | None, reports: list[ProcessView], books: tuple[PortfolioView, ...]
) -> str:
    if arm is ArmState.NONE:
        if broker is None:
            return "no installed package registers this broker"
        return "no arm has run" if broker.trader else "no arm has run: this version has no trader for this broker"
    if arm is ArmState.STOPPED:
        stopped = all(view.state == "stopped" for view in reports)
        return "the arm was stopped" if stopped else "the arm does not report any more"
    return "" if books else "no book yet: the arm has handled no signal of a strategy"


def _summary(view: NamespaceView, books: Iterable[PortfolioView]) -> SummaryView:
    """What the strategies have together; what is nobody's was bought with none of their money."""
    books = [book for book in books if book.strategy_id != UNATTRIBUTED]
    currencies = sorted({book.currency for book in books})
    reason = view.reason
    if len(currencies) > 1:
        reason = f"its books are in several currencies ({', '.join(currencies)}), which are never added up"
    elif any(book.equity is None for book in books):
        reason = "a position has no last price yet"
    addable = len(currencies) == 1

    def total(amounts: Iterable[Decimal | None]) -> Decimal | None:
        found = list(amounts)
        known = [amount for amount in found if amount is not None]
        return sum(known, Decimal(0)) if addable and len(known) == len(found) else None

    return SummaryView(
        namespace=view.namespace,
        currency=currencies[0] if addable else view.currency,
        capital=total(book.capital for book in books),
        cash=total(book.cash for book in books),
        equity=total(book.equity for book in books),
        realised=total(book.realised for book in books),
        unrealised=total(book.unrealised for book in books),
        charges=total(book.charges for book in books),
        strategies=len(books),
        open_positions=sum(book.open_positions for book in books),
        fills=sum(book.fills for book in books),
        at=min((book.at for book in books), default=None),
        stale=any(book.stale for book in books),
        reason=reason,
    )
