"""An execution agent on a bench, with ticks, verdicts and what it says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import orjson

from agents.paper_execution import PaperExecution
from panda_streams.brokers.paper import PaperTrader
from panda_streams.codec import decode, encode, encode_batch, encode_beat
from panda_streams.domain.orders import Product, Role, Ticket
from panda_streams.domain.risk.limits import LimitSet
from panda_streams.domain.signals import Intent, Side, Terms
from panda_streams.domain.ticks import Tick
from panda_streams.events import Beat, DayEnd, Mark, OrderUpdate, Phase, Prices, Silence, StageBeat, Validated
from tests.unit.agents.fakes import TICKS, TRADER, a_context
from tests.unit.bench import Bench, Killed
from tests.unit.builders import INFY, T0, a_batch, a_beat, a_ref, a_signal, a_tick

__all__ = ["SECOND", "VALIDATED", "Arm", "a_validated", "beat", "log_of", "played", "ticks_log"]

VALIDATED = "paper.signals.validated"
SECOND = 1000


def beat(offset: int, *, end: bool = False) -> bytes:
    return encode_beat(Beat("sim", "sim", "1", offset, T0 + offset * SECOND, Phase.OPEN, end))


def log_of(*records: int | tuple[int, Tick | None]) -> list[bytes]:
    """A log of records at seconds after the opening: a beat at a bare second or beside None, else the tick there."""
    log = []
    for offset, record in enumerate(records):
        second, tick = (record, None) if isinstance(record, int) else record
        time = T0 + second * SECOND
        if tick is None:
            log.append(encode_beat(Beat("sim", "sim", "1", offset, time, Phase.OPEN)))
        else:
            log.append(encode_batch(a_batch(msgspec.structs.replace(tick, row=offset, time=time), sequence=offset)))
    return log


def ticks_log(prices: Sequence[int | None]) -> list[bytes]:
    """A log with one record a second: a batch of one tick, or a beat where the price is None."""
    return [
        beat(offset)
        if price is None
        else encode_batch(a_batch(a_tick(price, row=offset, time=T0 + offset * SECOND), sequence=offset))
        for offset, price in enumerate(prices)
    ]


def a_validated(
    cause: int,
    number: int = 0,
    quantity: int = 5,
    *,
    side: Side = Side.BUY,
    role: Role = Role.ENTRY,
    product: Product = Product.MIS,
    instrument: str = INFY,
    intent: Intent = Intent.ENTRY,
    tickets: int = 1,
    second: int | None = None,
    **terms: Any,
) -> Validated:
    """A verdict on a signal that the tick at offset `cause` caused, `second` seconds after the opening."""
    time = T0 + (cause if second is None else second) * SECOND
    signal = a_signal(
        intent,
        side=side,
        sequence=number,
        cause=a_ref(row=cause, offset=cause, time=time),
        instrument=instrument,
        terms=Terms.model_validate(terms),
    )
    orders = [f"order-{number}", *(f"order-{number}-{n}" for n in range(1, tickets))] if tickets else []
    return Validated(
        world="sim",
        namespace="paper",
        signal=signal,
        tickets=tuple(
            Ticket(order_id=name, role=role, side=side, quantity=quantity, product=product) for name in orders
        ),
        time=time,
        rules=(),
        producer="risk",
        sequence=number,
    )


class Arm:
    """An execution agent on a bench; on the wall clock unless `ordered`."""

    def __init__(
        self,
        log: list[bytes],
        *,
        ordered: bool = False,
        trader: PaperTrader = TRADER,
        limits: LimitSet | None = None,
    ) -> None:
        self.ticks = log
        self.context = replace(a_context(ordered=ordered), limits=limits or LimitSet())
        self.bench = Bench(lambda: PaperExecution(self.context, trader))

    def tick(self, offset: int) -> None:
        self.bench.deliver(TICKS, offset, self.ticks[offset])

    def order(self, validated: Validated, offset: int = 0) -> None:
        self.say(offset, encode(validated))

    def say(self, offset: int, value: bytes) -> None:
        """Deliver a record of risk."""
        self.bench.deliver(VALIDATED, offset, value)

    def risk_beat(self, offset: int, time: int) -> None:
        self.bench.deliver(VALIDATED, offset, encode(a_beat("risk", time)))

    def updates(self) -> list[OrderUpdate]:
        return [event for event in self._said() if isinstance(event, OrderUpdate)]

    def said(self) -> list[OrderUpdate]:
        """The updates without those that were said again: no number has two contents."""
        said = {event.sequence: event for event in self._said()}
        assert all(event == said[event.sequence] for event in self._said())
        assert sorted(said) == list(range(len(said)))
        return [event for _, event in sorted(said.items()) if isinstance(event, OrderUpdate)]

    def day_ends(self) -> list[DayEnd]:
        return [event for event in self._said() if isinstance(event, DayEnd)]

    def prices(self) -> list[Prices]:
        return [event for event in self._said() if isinstance(event, Prices)]

    def silences(self) -> list[Silence]:
        return [event for event in self._said() if isinstance(event, Silence)]

    def _said(self) -> list[OrderUpdate | DayEnd | Prices | Silence]:
        kinds = {"order": OrderUpdate, "day-end": DayEnd, "prices": Prices, "silence": Silence}
        sent = self.bench.to("paper.orders.updates")
        return [decode(kinds[orjson.loads(output.value)["kind"]], output.value) for output in sent]

    def fills(self) -> list[tuple[int, str]]:
        return [(u.fill.tick.offset, str(u.fill.price)) for u in self.updates() if u.fill]

    def marks(self) -> list[Mark]:
        return [decode(Mark, output.value) for output in self.bench.beats_to("paper.marks")]

    def beats(self) -> list[int]:
        return [decode(StageBeat, output.value).time for output in self.bench.beats_to("paper.orders.updates")]


def played(arm: Arm, orders: Sequence[tuple[int, bytes]], schedule: Sequence[str]) -> list[OrderUpdate]:
    """Deliver the ticks and the records of risk as `schedule` says, then all the rest; what was said, in its order."""
    tick = order = 0
    for move in [*schedule, "restart", *["tick"] * len(arm.ticks), *["order"] * len(orders)]:
        try:
            if move == "tick" and tick < len(arm.ticks):
                tick += 1
                arm.tick(tick - 1)
            elif move == "order" and order < len(orders):
                order += 1
                arm.bench.deliver(VALIDATED, *orders[order - 1])
            elif move == "restart":
                arm.bench.restart()
            elif move.startswith("kill"):
                arm.bench.kill_at = move.split()[-1]
        except Killed:
            arm.bench.restart()
    arm.bench.restart()
    return arm.said()
