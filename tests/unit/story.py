"""A day of one instrument at the paper account: what a desk says of verdicts and ticks, as the log would have it."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from panda_streams.brokers.paper import PaperTrader
from panda_streams.domain.calendar import Calendar
from panda_streams.domain.desk import Change
from panda_streams.domain.exchange import accept
from panda_streams.domain.instruments import Instrument, InstrumentKind
from panda_streams.domain.matching import PaperMarket, QueueModel
from panda_streams.domain.orders import Fill, Product, Role, Ticket, order_id
from panda_streams.domain.paper_desk import PaperDesk
from panda_streams.domain.protection import Protection
from panda_streams.domain.signals import Intent, Side, Signal, Terms
from panda_streams.domain.ticks import Depth, DepthLevel, Place, traded_since
from panda_streams.events import OrderUpdate, Validated
from panda_streams.rerun import Moment
from tests.unit.builders import T0, a_signal, a_tick

__all__ = ["INSTRUMENT", "Story", "a_trader", "moments_of"]

INSTRUMENT = Instrument(exchange="NSE", symbol="INFY", kind=InstrumentKind.EQUITY)


def a_trader(**changed: Any) -> PaperTrader:
    settings = {
        "latency_ms": 500,
        "latency_spread_ms": 0,
        "slippage": Decimal("0.0001"),
        "participation": Decimal("0.25"),
        "queue": QueueModel.THROUGH,
    }
    return PaperTrader(Calendar.simulated(), PaperMarket(**{**settings, **changed}))


def moments_of(
    prices: Sequence[Decimal | int],
    step_ms: int = 1000,
    *,
    begin: int = T0,
    volumes: Sequence[int] | None = None,
    books: bool = False,
) -> list[Moment]:
    """A tick of each price, a record each; with `books` every other one has a best bid and ask and an order book."""
    moments = []
    for row, price in enumerate(prices):
        units, quoted = int(price * 100), books and row % 2
        more = {"volume": volumes[row]} if volumes is not None else {}
        if quoted:
            more |= {"bid": units - 5, "ask": units + 5}
        tick = a_tick(units, row=row, time=begin + row * step_ms, **more)
        bids = tuple(DepthLevel(units - 5 * level, 20 * level) for level in (1, 2))
        asks = tuple(DepthLevel(units + 5 * level, 20 * level) for level in (1, 2))
        moments.append(Moment(Place("sim", "1", 0, row), tick.time, tick, Depth(bids, asks) if quoted else None))
    return moments


class Story:
    """What execution says of one instrument; `say` a strategy's signals by the tick that causes them, then `run`."""

    def __init__(
        self,
        moments: list[Moment],
        trader: PaperTrader | None = None,
        product: Product = Product.MIS,
        protection: Protection | None = None,
    ) -> None:
        self.moments = moments
        self.trader = trader or a_trader()
        self.updates: list[OrderUpdate] = []
        self._product = product
        self._protection = protection
        self._flattened: int | None = None
        self._verdicts: list[Validated] = []

    def say(self, at: int, intent: Intent, *, quantity: int = 10, terms: Terms | None = None) -> None:
        """Say a signal at the tick of a number; it is validated as it is."""
        side = Side.SELL if intent is Intent.EXIT else Side.BUY
        moment = self.moments[at]
        assert moment.tick is not None
        cause = moment.place.ref(moment.tick.row, moment.time)
        signal: Signal = a_signal(intent, side=side, cause=cause, sequence=len(self._verdicts))
        signal = signal.model_copy(update={"terms": terms or Terms()})
        role = Role.EXIT if intent is Intent.EXIT else Role.ENTRY
        ticket = Ticket(
            order_id=order_id("paper", signal.signal_id, role),
            role=role,
            side=side,
            quantity=quantity,
            product=self._product,
        )
        self._verdicts.append(
            Validated(
                world="sim",
                namespace="paper",
                signal=signal,
                tickets=(ticket,) if intent in (Intent.ENTRY, Intent.EXIT) else (),
                time=moment.time,
                rules=(),
                producer="risk",
                sequence=len(self._verdicts),
            )
        )

    def flatten(self, at: int) -> None:
        """Close everything after the tick of a number, as an operator would."""
        self._flattened = at

    def run(self) -> None:
        """Let the desk meet everything: a verdict before the ticks of its time, as on the replay clock."""
        protections = {"Momentum": self._protection} if self._protection is not None else {}
        desk, volume = PaperDesk("paper", INSTRUMENT, self.trader, protections=protections), None
        waiting = sorted(self._verdicts, key=lambda verdict: verdict.time)
        for moment in self.moments:
            while waiting and waiting[0].time <= moment.time:
                self._judged(desk, waiting.pop(0))
            assert moment.tick is not None
            traded, volume = traded_since(volume, moment.tick.volume), moment.tick.volume
            depth = moment.depth
            self._said(desk.meet(moment.tick, moment.place, lambda _, depth=depth: depth, traded))
            if moment.tick.row == self._flattened:
                self._said(desk.flatten("action", moment.place.ref(2**31, moment.time), moment.time))

    def _judged(self, desk: PaperDesk, verdict: Validated) -> None:
        signal = verdict.signal
        at = max(signal.cause.time + self.trader.latency(signal.signal_id), verdict.time)
        if signal.intent is Intent.CANCEL:
            desk.cancel(signal.strategy_id, signal.side, at)
        elif signal.intent is Intent.MODIFY:
            desk.modify(signal.strategy_id, signal.side, at, signal.terms.price, signal.terms.trigger)
        for ticket in verdict.tickets:
            self._said(desk.place(accept(signal, ticket, verdict.time, INSTRUMENT, self.trader), verdict.time))

    def _said(self, changes: Sequence[Change]) -> None:
        for change in changes:
            order = change.order
            fields = {name: getattr(order, name) for name in OrderUpdate.model_fields if hasattr(order, name)}
            self.updates.append(
                OrderUpdate(
                    **fields,
                    world="sim",
                    namespace="paper",
                    reason=change.reason,
                    time=change.time,
                    fill=change.fill,
                    producer="execution/0",
                    sequence=len(self.updates),
                )
            )

    # As the log is read

    def orders(self) -> list[list[OrderUpdate]]:
        """The updates of each order, in the order in which the orders began."""
        found: dict[str, list[OrderUpdate]] = {}
        for update in self.updates:
            found.setdefault(update.order_id, []).append(update)
        return list(found.values())

    def fills(self) -> tuple[tuple[int, Fill], ...]:
        return tuple((update.sequence, update.fill) for update in self.updates if update.fill is not None)

    def verdict_of(self, update: OrderUpdate) -> Validated | None:
        """The verdict on an order's signal."""
        return next((one for one in self._verdicts if one.signal.signal_id == update.signal_id), None)
