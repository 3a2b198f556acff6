"""What the execution agent knows of one shard, decoded: how far it has come, and its desks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from panda_streams.domain.desk import Change, Desk
from panda_streams.domain.instruments import Instruments
from tables.execution import ExecutionRow, ShardRow

__all__ = ["DeskRow", "Seen", "Shard"]

D = TypeVar("D", bound=Desk)

_ENDED = 20
"""Ended orders that a row goes on remembering once the mirror has been told."""


class Seen(NamedTuple):
    """The last state of an instrument."""

    price: int
    """In smallest units."""
    volume: int | None
    """Shares traded that day, if the source says so."""


@dataclass(slots=True)
class DeskRow(Generic[D]):
    """A row of the table, decoded: changed in place by the step that puts it."""

    desk: D
    ended: tuple[str, ...] = ()

    def take(self, changes: list[Change]) -> None:
        """Remember what has ended."""
        self.ended += tuple(change.order.order_id for change in changes if change.order.state.terminal)

    def forget(self) -> None:
        """Take note that the mirror was told of all that has ended; the last ones may not have reached it yet."""
        self.ended = self.ended[-_ENDED:]

    def dump(self) -> bytes:
        desk = self.desk
        row = ExecutionRow(
            orders=tuple(desk.orders.values()), positions=desk.positions, made=desk.made, ended=self.ended
        )
        return row.model_dump_json().encode()


@dataclass(slots=True)
class Shard:
    """The shard's own row, decoded: changed in place."""

    first: int
    sequence: int = 0
    working: dict[str, None] = field(default_factory=dict)
    held: dict[str, None] = field(default_factory=dict)
    seen: dict[str, Seen] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)
    time: int = 0
    ticked: int = 0
    silent: bool = False
    place: tuple[str, str, int] = ("", "", 0)
    day_ended: str | None = None
    ended: int | None = None
    lost: int = -1

    @classmethod
    def of(cls, row: ShardRow) -> Shard:
        seen = {name: Seen(*state) for name, state in row.seen.items()}
        return cls(
            first=row.first,
            sequence=row.sequence,
            working=dict.fromkeys(row.working),
            held=dict.fromkeys(row.held),
            seen=seen,
            told=dict(row.told),
            time=row.time,
            ticked=row.ticked,
            silent=row.silent,
            place=row.place,
            day_ended=row.day_ended,
            ended=row.ended,
            lost=row.lost,
        )

    def dump(self) -> bytes:
        row = ShardRow(
            first=self.first,
            sequence=self.sequence,
            working=tuple(self.working),
            held=tuple(self.held),
            seen={name: tuple(state) for name, state in self.seen.items()},
            told=self.told,
            time=self.time,
            ticked=self.ticked,
            silent=self.silent,
            place=self.place,
            day_ended=self.day_ended,
            ended=self.ended,
            lost=self.lost,
        )
        return row.model_dump_json().encode()

    def follow(self, name: str, desk: Desk, instruments: Instruments) -> None:
        """Take note of whether a desk has orders and positions, and forget what is no longer looked at."""
        for kept, there in ((self.working, desk.orders), (self.held, desk.positions)):
            if there:
                kept[name] = None
            else:
                kept.pop(name, None)
        if not desk.positions:
            watched = {*self.working, *self.held, *(instruments[held].underlying for held in self.held)}
            for gone in [seen for seen in self.seen if seen not in watched]:
                del self.seen[gone]
