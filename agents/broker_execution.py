"""The execution agent of an account at a real broker. Inputs: market.ticks, `<ns>.signals.validated`,
`<ns>.broker.reports`.

It decides; the trader acts: `<ns>.broker.commands` say what is to be sent, and only a report says what became of it.
"""

from __future__ import annotations

from decimal import Decimal

from agents.context import Context
from agents.desks.shard import DeskRow, Seen, Shard
from agents.execution import Execution
from agents.reading import FEEDBACK_MS, read_reports
from panda_streams.brokers.port import ConnectedTrader
from panda_streams.domain.broker_desk import BrokerDesk
from panda_streams.domain.brokerage import OrderRequest
from panda_streams.domain.callbook import Stranger
from panda_streams.domain.desk import Change
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.orders import Order
from panda_streams.domain.signals import Intent, OrderType, Validity
from panda_streams.domain.ticks import Place, TickRef, price_of
from panda_streams.events import Adjusted, Handover, OrderReport, StrangerReport, Validated
from panda_streams.streams.agent import Output, Part
from panda_streams.streams.inputs import Item
from tables.execution import ExecutionRow, shard_key

__all__ = ["BrokerExecution"]

_ENTRY_MS = 60_000
"""Event time for which an entry may be sent, where its strategy says nothing about the age of a quote."""
_BY_BROKER = Decimal(-1)
"""Market protection that is left to the broker: of exits whose strategy names none, which must go out all the same."""


class BrokerExecution(Execution[BrokerDesk]):
    """Works the orders of one account on this worker's shards, through its trader."""

    def __init__(self, context: Context, trader: ConnectedTrader) -> None:
        super().__init__(context, trader)
        self._broker = trader
        self._reports = context.topic("broker.reports")
        self.inputs = (*self.inputs, read_reports(self._reports))

    def open(self, part: Part) -> None:
        super().open(part)
        self._await_reports(part)

    def _await_reports(self, part: Part) -> None:
        """Wait for the broker's clock while an order of the shard is out, and no longer: nothing else can be said."""
        shard = part.rows.get(shard_key(part.partition))
        part.inputs.logs[self._reports].awaited = shard is not None and bool(shard.working)

    def _make_desk(self, instrument: Instrument, row: ExecutionRow) -> BrokerDesk:
        namespace = self._context.namespace
        return BrokerDesk(
            namespace, instrument, self._broker, row.orders, row.positions, self._protections, made=row.made
        )

    # Records

    def step(self, part: Part, item: Item, offset: int) -> list[Output]:
        event = item.event
        if not isinstance(event, OrderReport | StrangerReport | Handover):
            return super().step(part, item, offset)
        shard = self._shard(part)
        source, run, at = shard.place
        place = Place(source, run, part.partition, at)
        if isinstance(event, Handover):
            row, time = self._row(part, event.instrument), max(event.time, shard.time)
            changes = row.desk.hand_over(event.strategy_id, event.action_id, place.ref(-1, time))
            return self._say(part, event.instrument, row, changes) if changes else []
        acts = max(event.time + FEEDBACK_MS, shard.time) if self._context.ordered else event.time
        if isinstance(event, StrangerReport):
            return self._take_over(part, event.stranger, place.ref(-1, acts))
        row = self._row(part, event.instrument)
        changes = row.desk.hear(event.order_id, event.word, place, acts)
        return self._say(part, event.instrument, row, changes) if changes or row.desk.changed else []

    def _take_over(self, part: Part, stranger: Stranger, cause: TickRef) -> list[Output]:
        """Book what is nobody's: at the last price of the market where the broker has none for it."""
        name, seen = stranger.instrument, self._shard(part).seen
        decimals, row = self._context.instruments[name].decimals, self._row(part, name)
        if stranger.price <= 0 and name in seen:
            stranger = stranger.model_copy(update={"price": price_of(seen[name].price, decimals)})
        # Nobody has looked at its ticks so far: until the next one, it is worth what it is booked at.
        seen.setdefault(name, Seen(int(stranger.price.scaleb(decimals)), None))
        return self._say(part, name, row, row.desk.take_over(stranger, cause))

    def _admit(self, part: Part, validated: Validated) -> list[Output]:
        signal, shard = validated.signal, self._shard(part)
        row = self._row(part, signal.instrument)
        changes = self._place(row.desk, validated)
        quoted = self._quoted(signal)
        if signal.instrument not in shard.seen and quoted is not None:
            shard.seen[signal.instrument] = quoted
        return self._say(part, signal.instrument, row, changes)

    def _change(self, part: Part, validated: Validated) -> list[Output]:
        signal, row = validated.signal, self._row(part, validated.signal.instrument)
        if signal.intent is Intent.CANCEL:
            changes = row.desk.cancel(signal.strategy_id, signal.side, validated.time)
        else:
            terms = signal.terms
            changes = row.desk.modify(signal.strategy_id, signal.side, validated.time, terms.price, terms.trigger)
        return self._say(part, signal.instrument, row, changes) if changes or row.desk.changed else []

    # What the books gain and lose without a trade

    def _adjusted(self, part: Part, event: Adjusted) -> list[Output]:
        before = self._held(part, event.instrument)
        return super()._adjusted(part, event) + self._counted(part, event.instrument, before, event.time)

    def _settle(self, part: Part, shard: Shard, name: str, place: Place, time: int) -> list[Output]:
        before = self._held(part, name)
        return super()._settle(part, shard, name, place, time) + self._counted(part, name, before, time)

    def _held(self, part: Part, name: str) -> int:
        """What all books hold of an instrument."""
        return sum(position.quantity for position in self._row(part, name).desk.positions.values())

    def _counted(self, part: Part, name: str, before: int, time: int) -> list[Output]:
        gained = self._held(part, name) - before
        if not gained:
            return []
        shard = self._shard(part)
        part.rows.put(shard_key(part.partition), shard)
        return [self._said.counted(part.partition, shard, name, gained, time)]

    # What is said

    def _say(self, part: Part, name: str, row: DeskRow[BrokerDesk], changes: list[Change]) -> list[Output]:
        outputs = super()._say(part, name, row, changes)
        shard = self._shard(part)
        for ask in row.desk.asks:
            placing = not ask.cancel and ask.change is None
            last = self._last(shard, name) if ask.order.overnight else None
            request = self._request(ask.order, last) if placing else None
            until = self._until(ask.order) if placing else None
            if ask.change is not None:
                ask = ask._replace(change=ask.change.model_copy(update={"last_price": last}))
            outputs.append(self._said.command(part.partition, shard, ask, request, until))
        row.desk.asks.clear()
        self._await_reports(part)
        return outputs

    def beat(self, part: Part, reached: int, now: float) -> list[Output]:
        return [*super().beat(part, reached, now), self._said.beat_to_trader(part.partition, reached)]

    def _last(self, shard: Shard, name: str) -> Decimal | None:
        """The last price of an instrument that the shard has seen."""
        seen = shard.seen.get(name)
        return None if seen is None else price_of(seen.price, self._context.instruments[name].decimals)

    def _request(self, order: Order, last: Decimal | None) -> OrderRequest:
        ttl = order.validity is Validity.TTL and order.expires_at is not None
        protected = order.order_type in (OrderType.MARKET, OrderType.SL_M)
        return OrderRequest(
            order_id=order.order_id,
            tag=self._broker.tag(order.order_id),
            instrument=order.instrument,
            side=order.side,
            quantity=order.remaining,
            product=order.product,
            order_type=order.order_type,
            validity=order.validity,
            ttl_minutes=max((order.expires_at - order.live_at) // 60_000, 1) if ttl and order.expires_at else None,
            price=order.price,
            trigger=order.trigger,
            market_protection=self._protection(order) if protected else None,
            overnight=order.overnight,
            last_price=last,
        )

    def _protection(self, order: Order) -> Decimal:
        config = self._context.strategies.get(order.strategy_id)
        account = config.accounts.get(self._context.namespace) if config is not None else None
        set_by = account.market_protection if account is not None else None
        return _BY_BROKER if set_by is None else set_by

    def _until(self, order: Order) -> int | None:
        if order.reduces:
            return None
        config = self._context.strategies.get(order.strategy_id)
        account = config.accounts.get(self._context.namespace) if config is not None else None
        return order.cause.time + (_ENTRY_MS if account is None else 1000 * account.max_quote_age_s)
