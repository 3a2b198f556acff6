"""The trader of an account at a real broker. Input: `<ns>.broker.commands`, and the news of its courier. Row: what the
account has asked of its broker.

Outputs: `<ns>.broker.reports`. INTENT, then SENDING, durable, then the call: docs/zerodha.md has the protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from agents.context import Context
from agents.reading import read_commands
from agents.trading.mirrored import mirror_link, mirror_trader
from agents.trading.news import (
    Advanced,
    Answered,
    Compared,
    Dropping,
    News,
    Read,
    Resolved,
    Restarted,
    Starting,
)
from agents.trading.said import Said
from panda_streams.brokers.port import ConnectedTrader
from panda_streams.domain import callbook
from panda_streams.domain.callbook import Call, Ended, Heard
from panda_streams.domain.risk.modes import Mode
from panda_streams.domain.shards import ShardMap
from panda_streams.errors import BadEvent
from panda_streams.events import Command, CommandKind, Counted
from panda_streams.streams.agent import Agent, Output, Part
from panda_streams.streams.inputs import Item
from panda_streams.streams.sender import partition_of
from tables import read_row
from tables.trader import KnownRow, Reconciliation, TraderRow, known_key

__all__ = ["Carrier", "Standing", "TraderAgent"]

_UNLISTED = 50


class Carrier(Protocol):
    """Who carries the calls: it takes them from the row, and brings its news."""

    trouble: str
    wants_login: bool

    def start(self) -> None:
        """Begin; once the partition is taken over."""

    def take(self) -> list[News]:
        """The news since the last time."""

    def stored(self) -> None:
        """Hear that what was taken is durable and said."""

    def close(self) -> None:
        """End: the partition is given up."""


class Standing(NamedTuple):
    """How an account stands with its broker."""

    trouble: str
    """Why nothing can be sent; empty if all is well."""
    wants_login: bool
    found: int
    """How often the broker had something that no book of the arm explains."""


class TraderAgent(Agent):
    """Keeps what one account has asked of its broker."""

    name = "trader"

    def __init__(
        self,
        context: Context,
        trader: ConnectedTrader,
        shards: ShardMap,
        hire: Callable[[TraderAgent, Part], Carrier],
    ) -> None:
        self._context = context
        self._trader = trader
        self._map = shards
        self._hire = hire
        self.ordered = context.ordered
        self._carrier: Carrier | None = None
        self._part: Part | None = None
        self._home = partition_of(context.namespace.encode(), context.partitions)
        self.inputs = (read_commands(context.topic("broker.commands"), context.partitions),)

    def load(self, key: str, data: bytes) -> TraderRow | KnownRow:
        return read_row(KnownRow, data) if key.startswith("known/") else read_row(TraderRow, data)

    def open(self, part: Part) -> None:
        if part.partition == self._home:
            part.memory = self._carrier = self._hire(self, part)
            self._part = part
            part.memory.start()

    def close(self, part: Part) -> None:
        if part.memory is not None:
            if self._carrier is part.memory:
                self._carrier = None
            part.memory.close()

    @property
    def standing(self) -> Standing | None:
        """How it stands with the broker, where this worker has the account."""
        if self._carrier is None or self._part is None:
            return None
        return Standing(self._carrier.trouble, self._carrier.wants_login, self.row(self._part).found)

    def row(self, part: Part) -> TraderRow:
        """The account's row as it stands, what is about to be stored included."""
        return part.rows.get(self._context.namespace) or TraderRow()

    # What execution asks

    def step(self, part: Part, item: Item, offset: int) -> list[Output]:
        command: Command | Counted = item.event
        if part.partition != self._home:
            raise BadEvent(f"the account {self._context.namespace} lives on partition {self._home}")
        row = self.row(part)
        said = self._speak(row)
        if isinstance(command, Counted):
            heard = Heard(callbook.counted(row.book, command.instrument, command.quantity))
            self._keep(part, row, heard, said, command.time)
            return said.outputs
        match command.what:
            case CommandKind.PLACE:
                if command.request is None:
                    raise BadEvent("a command to place an order has no order")
                call = Call(
                    request=command.request,
                    shard=command.shard,
                    closes=command.closes,
                    time=command.time,
                    until=command.until,
                )
                heard = Heard(callbook.asked_place(row.book, call))
            case CommandKind.MODIFY:
                if command.change is None:
                    raise BadEvent("a command to change an order has no change")
                order_id, change, changes = command.order_id, command.change, command.changes
                heard = Heard(callbook.asked_change(row.book, order_id, change, command.time, changes))
            case CommandKind.CANCEL:
                heard = callbook.asked_cancel(row.book, command.order_id, command.time)
        self._keep(part, row, heard, said, command.time)
        return said.outputs

    # What the courier brings

    def news(self, part: Part) -> list[Output] | None:
        if part.memory is None:
            return None
        taken = part.memory.take()
        if not taken:
            return None
        outputs: list[Output] = []
        for news in taken:
            row = self.row(part)
            said = self._speak(row)
            row = self._note(row, news)
            self._keep(part, row, self._heard(part, row, news), said, _wall(news))
            outputs += said.outputs
        return outputs

    def _heard(self, part: Part, row: TraderRow, news: News) -> Heard:
        match news:
            case Restarted():
                return callbook.restarted(row.book, news.now)
            case Starting():
                return callbook.starting(row.book, news.due, news.now)
            case Answered():
                return callbook.answered(row.book, news.due, news.answer, news.now)
            case Dropping():
                return callbook.put_off(row.book, news.now, halted=news.halted)
            case Read():
                return callbook.read_book(
                    row.book,
                    news.book,
                    news.now,
                    asked_at=news.asked_at,
                    absent_after_ms=int(1000 * self._trader.pace.absent_after_s),
                    own=self._trader.own,
                    remembered=lambda broker_id: self._remembered(part, broker_id),
                )
            case Compared():
                return callbook.reconciled(row.book, news.holdings, news.now, apart=news.apart)
            case Resolved():
                return callbook.resolved(row.book, news.order_id, news.now)
            case Advanced():
                return Heard(row.book)

    @staticmethod
    def _note(row: TraderRow, news: News) -> TraderRow:
        if isinstance(news, Advanced):
            return row.model_copy(update={"clock": news.progress.time, "version": news.progress.version})
        if isinstance(news, Compared):
            reconciled = Reconciliation(at=news.now.wall, instruments=len({h.instrument for h in news.holdings}))
            return row.model_copy(update={"reconciled": reconciled})
        return row

    def _remembered(self, part: Part, broker_id: str) -> Ended | None:
        found: KnownRow | None = part.rows.get(known_key(broker_id))
        return found.ended if found is not None else None

    def _speak(self, row: TraderRow) -> Said:
        return Said(self._context, row.sequence, row.clock)

    def _keep(self, part: Part, row: TraderRow, heard: Heard, said: Said, wall: int) -> None:
        """Put what has changed, and say it."""
        update: dict[str, Any] = {"book": heard.book}
        for order_id, instrument, shard, word in heard.words:
            said.report(order_id, instrument, shard, word)
        for broker_id, ended in heard.ended:
            part.rows.put(known_key(broker_id), KnownRow(ended=ended))
        listed = [stranger for stranger in heard.strangers if self._context.instruments.get(stranger.instrument)]
        for stranger in listed:
            said.stranger(stranger, self._map.shards(stranger.instrument)[0])
        if len(listed) < len(heard.strangers):
            unlisted = [stranger for stranger in heard.strangers if stranger not in listed]
            update["unlisted"] = (*row.unlisted, *unlisted)[-_UNLISTED:]
        if heard.strangers or heard.quarantined:
            update["found"] = row.found + len(heard.strangers) + len(heard.quarantined)
        if heard.strangers and row.reconciled is not None:
            update["reconciled"] = row.reconciled.model_copy(update={"differences": heard.strangers})
        for order in heard.quarantined:
            said.quarantined(order, wall)
            update["quarantine"] = (*update.get("quarantine", row.quarantine), order)
        if any(order_id not in heard.book.calls for order_id in row.overdue):
            update["overdue"] = tuple(order_id for order_id in row.overdue if order_id in heard.book.calls)
        for order_id in heard.overdue:
            if order_id in row.overdue:
                continue
            update["overdue"] = (*update.get("overdue", row.overdue), order_id)
            said.stop(
                f"overdue/{order_id}",
                Mode.REDUCING,
                wall,
                f"nobody can say any more whether the order {order_id} was at the broker: its book of that day is gone",
            )
        part.rows.put(
            self._context.namespace,
            row.model_copy(update={**update, "sequence": said.sequence, "revision": row.revision + 1}),
        )

    # How far it has come

    def reached(self, part: Part, reached: int) -> int | None:
        """On the replay clock it speaks for a broker that has a time of its own."""
        if not self._context.ordered:
            return reached
        return min(reached, self.row(part).clock) or None

    def beat(self, part: Part, reached: int, now: float) -> list[Output]:
        return Said(self._context, 0, 0).beat(reached) if part.partition == self._home else []

    # The mirror

    def stored(self, part: Part, rows: Mapping[str, Any]) -> None:
        row = rows.get(self._context.namespace)
        if row is not None:
            mirror_trader(self._context, row)
        if part.memory is not None:
            part.memory.stored()

    def mirror(self, rows: Iterable[tuple[bytes, bytes]]) -> Iterable[None]:
        """Write this worker's part of the mirror again: the account's row and its line to the broker, if it is here."""
        if self._carrier is not None:
            mirror_link(self._context, self._trader.endpoint, self._carrier.trouble)
        for key, value in rows:
            if key == self._context.namespace.encode():
                mirror_trader(self._context, read_row(TraderRow, value))
            yield


def _wall(news: News) -> int:
    return 0 if isinstance(news, Advanced) else news.now.wall
