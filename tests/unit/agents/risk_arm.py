"""A risk agent on a bench, with what the brain, execution and operators say to it, and what it says."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import orjson

from agents.risk import RiskAgent
from panda_streams.brokers.port import Broker
from panda_streams.codec import decode, encode
from panda_streams.domain.bookings import Booking
from panda_streams.domain.orders import Fill, OrderState
from panda_streams.domain.risk.account import Account, Book
from panda_streams.domain.risk.limits import LimitSet
from panda_streams.domain.risk.modes import Latch
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.signals import Intent, Signal
from panda_streams.events import (
    Action,
    ActionKind,
    Adjusted,
    Booked,
    Completed,
    DayEnd,
    Flatten,
    Handover,
    Level,
    Prices,
    Rejected,
    Silence,
    StageBeat,
    Stopped,
    Validated,
)
from panda_streams.topics import level_key
from strategies.config import StrategyConfig
from tables import read_row
from tables.risk import RiskRow
from tests.unit.agents.fakes import INSTRUMENTS, TRADER, a_config, a_context
from tests.unit.bench import Bench
from tests.unit.builders import INFY, T0, a_beat, a_ref, a_signal, an_update

__all__ = ["PAPER", "SECOND", "ZERODHA", "RiskArm"]

PAPER = Broker("paper", "Paper", "INR", live=False, trader=None)
ZERODHA = Broker("zerodha", "Zerodha", "INR", live=True, trader=None)
SECOND = 1000


class RiskArm:
    """On the wall clock unless `ordered`. Records of a topic take the next offset there."""

    def __init__(
        self,
        config: StrategyConfig | None = None,
        broker: Broker = PAPER,
        *,
        ordered: bool = False,
        shards: int = 1,
        partition: int = 0,
        limits: LimitSet | None = None,
    ) -> None:
        self.config = config or a_config()
        self.namespace = broker.namespace
        context = a_context(self.config, namespace=self.namespace, partitions=shards, ordered=ordered)
        self.context = replace(context, limits=(limits or LimitSet()).tightened(context.limits))
        self.shards = ShardMap(shards, INSTRUMENTS)
        self.bench = Bench(lambda: RiskAgent(self.context, broker, TRADER, self.shards), partition)
        self.offsets = {"signals.raw": -1, "orders.updates": -1, "audit": -1}

    # What it is told

    def deliver(self, topic: str, value: bytes) -> None:
        self.offsets[topic] += 1
        self.bench.deliver(f"{self.namespace}.{topic}", self.offsets[topic], value)

    def signal(
        self,
        sequence: int,
        intent: Intent = Intent.ENTRY,
        *,
        config: str | None = None,
        time: int = T0,
        shard: int = 0,
        price: str = "1000",
        **fields: Any,
    ) -> Signal:
        cause = a_ref(row=sequence, offset=sequence, time=time, shard=shard)
        version = config or self.config.version
        signal = a_signal(intent, price=price, sequence=sequence, config=version, cause=cause, **fields)
        self.deliver("signals.raw", encode(signal))
        return signal

    def update(
        self,
        sequence: int,
        order_id: str,
        state: OrderState,
        fill: Fill | None,
        *,
        time: int = T0,
        shard: int = 0,
        **changes: Any,
    ) -> None:
        instrument = {"instrument": fill.instrument, "strategy_id": fill.strategy_id} if fill else {}
        update = an_update(
            order_id,
            state,
            fill,
            sequence=sequence,
            time=time,
            shard=shard,
            namespace=self.namespace,
            **instrument,
        )
        self.deliver("orders.updates", encode(update.model_copy(update=changes)))

    def filled(self, sequence: int, fill: Fill, *, shard: int = 0) -> None:
        """A fill that ends its order."""
        self.update(sequence, fill.order_id, OrderState.FILLED, fill, time=fill.time, shard=shard)

    def day_end(self, sequence: int, on: date, *, time: int, shard: int = 0) -> None:
        end = DayEnd(
            world="sim",
            namespace=self.namespace,
            date=on,
            time=time,
            producer=f"execution/{shard}",
            sequence=sequence,
        )
        self.deliver("orders.updates", encode(end))

    def prices(self, sequence: int, price: str, *, time: int, shard: int = 0) -> None:
        """Say the last price of INFY."""
        prices = Prices(
            world="sim",
            namespace=self.namespace,
            time=time,
            prices={INFY: Decimal(price)},
            producer=f"execution/{shard}",
            sequence=sequence,
        )
        self.deliver("orders.updates", encode(prices))

    def silence(self, sequence: int, *, silent: bool = True, since: int = T0, time: int = T0, shard: int = 0) -> None:
        silence = Silence(
            world="sim",
            namespace=self.namespace,
            silent=silent,
            since=since,
            time=time,
            producer=f"execution/{shard}",
            sequence=sequence,
        )
        self.deliver("orders.updates", encode(silence))

    def act(self, what: ActionKind, action_id: str = "a1", **fields: Any) -> Completed:
        """What became at once of an operator's action."""
        self.deliver_action(what, action_id, **fields)
        return self.completed()[-1]

    def deliver_action(
        self, what: ActionKind, action_id: str = "a1", *, amount: str | None = None, **fields: Any
    ) -> None:
        action = Action(
            world=fields.pop("world", "sim"),
            namespace=self.namespace,
            action_id=action_id,
            what=what,
            amount=None if amount is None else Decimal(amount),
            who="me",
            at=0,
            reason="because",
            **fields,
        )
        self.deliver("audit", encode(action))

    def beat(self, topic: str, producer: str, time: int) -> None:
        self.deliver(topic, encode(a_beat(producer, time)))

    def set_mode(self, scope: str, value: str, *, reason: str = "lunch") -> None:
        level = Level(world="sim", scope=scope, setting="mode", value=value, who="me", at=0, reason=reason)
        self.context.levels.apply("control", level_key(scope, "mode"), encode(level))

    # What it says

    def validated(self) -> list[Validated]:
        return [event for event in self._shard_events() if isinstance(event, Validated)]

    def adjusted(self) -> list[Adjusted]:
        return [event for event in self._shard_events() if isinstance(event, Adjusted)]

    def flattens(self) -> list[tuple[int | None, Flatten]]:
        """The commands, with the shards that they go to."""
        sent = self.bench.to(f"{self.namespace}.signals.validated")
        events = zip(sent, self._shard_events(), strict=True)
        return [(output.partition, event) for output, event in events if isinstance(event, Flatten)]

    def handovers(self) -> list[Handover]:
        return [event for event in self._shard_events() if isinstance(event, Handover)]

    def _shard_events(self) -> list[Validated | Adjusted | Flatten | Handover]:
        kinds = {"validated": Validated, "adjusted": Adjusted, "flatten": Flatten, "handover": Handover}
        sent = self.bench.to(f"{self.namespace}.signals.validated")
        return [decode(kinds[orjson.loads(output.value)["kind"]], output.value) for output in sent]

    def rejected(self) -> list[Rejected]:
        return [decode(Rejected, output.value) for output in self.bench.to(f"{self.namespace}.signals.rejected")]

    def bookings(self) -> list[Booking]:
        sent = self.bench.to(f"{self.namespace}.orders.filled")
        return [decode(Booked, output.value).booking for output in sent]

    def completed(self) -> list[Completed]:
        return [event for event in self._audited() if isinstance(event, Completed)]

    def stopped(self) -> list[Latch]:
        return [event.latch for event in self._audited() if isinstance(event, Stopped)]

    def _audited(self) -> list[Completed | Stopped]:
        kinds = {"completed": Completed, "stopped": Stopped}
        sent = self.bench.to(f"{self.namespace}.audit")
        return [decode(kinds[orjson.loads(output.value)["kind"]], output.value) for output in sent]

    def beats(self) -> list[tuple[int | None, int]]:
        outputs = self.bench.beats_to(f"{self.namespace}.signals.validated")
        return [(output.partition, decode(StageBeat, output.value).time) for output in outputs]

    def account(self) -> Account:
        """As it is stored."""
        return read_row(RiskRow, self.bench.rows[self.namespace.encode()]).account

    def book(self) -> Book:
        return self.account().books["Momentum"]
