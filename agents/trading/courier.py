"""Carries the calls of one account to its broker: one at a time, off the event loop, each durable before it leaves.

A courier lives as long as its worker has the account's partition. What it may do, it looks up anew before each call,
the last time in the very thread that sends: whether the partition is still its own, by heartbeats that are young, and
whether the arm is halted. What it hears, it hands to the trader, and waits until that is stored and said.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeVar

from agents.context import Context
from agents.trading.mirrored import mirror_link
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
from panda_streams.brokers.port import ConnectedTrader
from panda_streams.domain import callbook
from panda_streams.domain.brokerage import Answer, AnswerKind, BrokerBook, BrokerClient, LoggedOut, Unreachable
from panda_streams.domain.calendar import trading_date
from panda_streams.domain.callbook import CallBook, CallKind, CallState, Due, Moment
from panda_streams.domain.risk.modes import Mode
from tables.trader import TraderRow

__all__ = ["ABSENT", "RECONCILE", "Courier", "resolve_setting"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

ABSENT = "absent"
RECONCILE = "reconcile"
"""The level by which an operator asks for a comparison: its time says when."""
_IDLE_S = 0.2
"""Between two looks at what there is to do, if nothing wakes the courier."""
_TROUBLE_S = 1.0
"""Between two tries while the broker does not answer, or wants a login."""
_NOT_SENT = Answer(kind=AnswerKind.THROTTLED, text="not sent: the account is not this worker's any more, or is halted")


def resolve_setting(order_id: str) -> str:
    """The level by which an operator says what became of an unknown order."""
    return f"resolve:{order_id}"


class Shop(Protocol):
    """What a courier needs of its worker."""

    def row(self) -> TraderRow:
        """The account's row as it stands."""

    def reached(self) -> int | None:
        """Event time up to which all commands were taken in; None before any."""

    def wake(self) -> None:
        """Have the news fetched."""

    def licensed(self) -> bool:
        """Whether the account is still this worker's. Called from the sending thread too."""

    def broken(self) -> None:
        """The courier cannot go on: the worker must not, either."""


class Courier:
    """Carries the calls of one account."""

    def __init__(self, context: Context, trader: ConnectedTrader, shop: Shop) -> None:
        self._context = context
        self._trader = trader
        self._shop = shop
        self._client: BrokerClient = trader.connect(context.identity.world)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"{context.namespace}-courier")
        self._news: list[tuple[News, asyncio.Future[None]]] = []
        self._taken: list[asyncio.Future[None]] = []
        """Of the news that the trader has taken, and that are not stored yet."""
        self._called = asyncio.Event()
        self._hinted = True
        self._read_at = 0.0
        self._compared_at = self._tried_at = 0.0
        self._suspected: dict[str, int] = {}
        """What the last comparison found and nobody was told of yet."""
        self._closed = False
        self.trouble = ""
        """Why nothing can be sent, for people; empty if all is well."""
        self.wants_login = False

    # What the trader calls

    def start(self) -> None:
        mirror_link(self._context, self._trader.endpoint, "")
        self._tasks = [asyncio.ensure_future(self._run())]
        if not self._context.ordered:
            self._tasks.append(asyncio.ensure_future(self._trader.watch(self._context.identity.world, self._hint)))

    def take(self) -> list[News]:
        news, self._news = self._news, []
        self._taken += [future for _, future in news]
        return [one for one, _ in news]

    def stored(self) -> None:
        taken, self._taken = self._taken, []
        for future in taken:
            if not future.done():
                future.set_result(None)
        self._called.set()

    def close(self) -> None:
        self._closed = True
        for task in self._tasks:
            task.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _hint(self) -> None:
        """The broker has told of a change: its book is looked at."""
        self._hinted = True
        self._called.set()

    async def _tell(self, news: News) -> None:
        """Hand something to the trader; return once it is durable, and what it says was said."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._news.append((news, future))
        self._shop.wake()
        await future

    async def _ask(self, question: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, question)

    # The loop

    async def _run(self) -> None:
        try:
            await self._settle_in()
            # A cancellation can be lost in wait_for, which then returns as if it had been woken (Python 3.11).
            while not self._closed:
                self._called.clear()
                if not await self._turn_safely():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._called.wait(), _TROUBLE_S if self.trouble else _IDLE_S)
        except asyncio.CancelledError:
            raise
        except BaseException:  # whatever it is: without its courier the account would stand still in silence
            _log.critical("the courier of %s has broken", self._context.namespace, exc_info=True)
            self._shop.broken()
            raise

    async def _settle_in(self) -> None:
        """Wait until no call of an earlier owner can be under way, then take its book over."""
        if any(call.state is CallState.SENDING for call in self._shop.row().book.calls.values()):
            await asyncio.sleep(self._trader.pace.settle_in_s)
        await self._tell(Restarted(self._now()))

    async def _turn_safely(self) -> bool:
        try:
            busy = await self._turn()
        except LoggedOut as error:
            self._trouble(f"the broker wants a login: {error}", wants_login=True)
            return False
        except Unreachable as error:
            self._trouble(f"the broker does not answer: {error}")
            return False
        self._trouble("")
        return busy

    def _trouble(self, text: str, *, wants_login: bool = False) -> None:
        if text != self.trouble:
            (_log.warning if text else _log.info)("%s: %s", self._context.namespace, text or "the broker answers again")
            self.trouble, self.wants_login = text, wants_login
            mirror_link(self._context, self._trader.endpoint, text)

    async def _turn(self) -> bool:
        """Do one thing; False if there is nothing to do."""
        if not self._shop.licensed():
            return False
        mode = self._mode()
        await self._drop(mode)
        if await self._resolve():
            return True
        if self._read_is_due():
            await self._read()
            return True
        if not self.trouble and (due := self._next(mode)) is not None:
            await self._call(due)
            return True
        if self._compare_is_due():
            await self._compare()
        return await self._advance() if self._context.ordered else False

    def _mode(self) -> Mode:
        return self._context.levels.mode(self._context.namespace)[0]

    def _now(self) -> Moment:
        """On the replay clock, right after the last beat, or at the time of the last command, if that is later."""
        wall = time.time_ns() // 1_000_000
        if not self._context.ordered:
            return Moment(wall, wall)
        row = self._shop.row()
        return Moment(wall, max([row.clock + 1, *(call.time for call in row.book.calls.values())]))

    # Calls

    def _next(self, mode: Mode) -> Due | None:
        row = self._shop.row()
        # One that is unknown may still come to be: what is to close the same position waits at its desk.
        due = callbook.due(
            row.book, self._now(), entries=mode.rank < Mode.HALTED.rank, exits=mode is not Mode.HALTED_HARD
        )
        if due is not None and self._context.ordered and (row.book.unknown or self._late(row.book)):
            # An order of a later day would turn the simulated broker's page, on which those are looked for.
            return due if trading_date(due.call.time) <= trading_date(row.clock + 1) else None
        return due

    async def _drop(self, mode: Mode) -> None:
        now, halted = self._now(), mode.rank >= Mode.HALTED.rank
        if callbook.put_off(self._shop.row().book, now, halted=halted).words:
            await self._tell(Dropping(now, halted))

    async def _resolve(self) -> bool:
        for order_id in self._shop.row().book.unknown:
            level = self._context.levels.last(self._context.namespace, resolve_setting(order_id))
            if level is not None and level.value == ABSENT:
                await self._tell(Resolved(order_id, self._now()))
                return True
        return False

    async def _call(self, due: Due) -> None:
        await self._tell(Starting(due, self._now()))
        answer = await self._ask(lambda: self._send(due))
        await self._tell(Answered(due, answer, self._now()))
        self._hinted = True
        if answer.kind is AnswerKind.LOGGED_OUT:
            raise LoggedOut(answer.text)

    def _send(self, due: Due) -> Answer:
        """Make a call, in the courier's thread."""
        call, client = due.call, self._client
        if not self._may_send(due):
            return _NOT_SENT
        if due.kind is CallKind.PLACE:
            return client.place(call.request, call.time)
        assert call.broker_id is not None
        if due.kind is CallKind.CANCEL:
            return client.cancel(call.broker_id, call.time)
        assert call.change is not None
        return client.modify(call.broker_id, call.change, call.time)

    def _may_send(self, due: Due) -> bool:
        """Look once more, in the moment before a call leaves."""
        # Dismissed, it may find that its worker has the account again: for another courier.
        if self._closed or not self._shop.licensed():
            return False
        halt = Mode.HALTED if due.kind is CallKind.PLACE and not due.call.closes else Mode.HALTED_HARD
        return due.kind is CallKind.CANCEL or self._mode().rank < halt.rank

    # The broker's book

    def _read_is_due(self) -> bool:
        since = time.monotonic() - self._read_at
        book, pace = self._shop.row().book, self._trader.pace
        if not self._read_at:
            return True
        if self.trouble:
            return since >= _TROUBLE_S
        if self._hinted and book.live:
            return self._context.ordered or since >= pace.look_s
        if book.live and not self._context.ordered:
            return since >= pace.poll_s
        if book.unknown or book.unseen:
            return since >= pace.poll_s
        return since >= pace.idle_s and not self._context.ordered

    async def _read(self) -> None:
        asked_at = time.time_ns() // 1_000_000
        self._hinted = False
        found = await self._ask(self._look())
        self._read_at = time.monotonic()
        await self._tell(Read(found, asked_at, self._page()))

    def _page(self) -> Moment:
        """When the book was read: a simulated broker's is of the day of its clock, whatever has been asked since."""
        now = self._now()
        return now._replace(broker=self._shop.row().clock + 1) if self._context.ordered else now

    def _look(self) -> Callable[[], BrokerBook]:
        """A look into the broker's book, as far as it concerns the calls in hand."""
        return partial(self._client.book, overnight=self._shop.row().book.overnight)

    def _compare_is_due(self) -> bool:
        pace, book = self._trader.pace, self._shop.row().book
        if time.monotonic() - self._tried_at < pace.poll_s:
            return False
        if any(call.state in (CallState.SENDING, CallState.UNKNOWN) for call in book.calls.values()) or book.unseen:
            return False  # what it has traded may be in what the account holds, and in no book of ours
        level = self._context.levels.last(self._context.namespace, RECONCILE)
        reconciled = self._shop.row().reconciled
        if level is not None and (reconciled is None or reconciled.at < level.at):
            return True
        return not self._compared_at or time.monotonic() - self._compared_at >= pace.reconcile_s

    async def _compare(self) -> None:
        """Compare all that the account holds with the books, if its book stands still meanwhile.

        A difference counts once it was found twice: an account may hold something a moment before, or after, its trades
        are told.
        """
        self._tried_at, asked_at = time.monotonic(), time.time_ns() // 1_000_000
        look = self._look()
        before = await self._ask(look)
        await self._tell(Read(before, asked_at, self._page()))
        holdings = await self._ask(self._client.holdings)
        book, now = self._shop.row().book, self._now()
        if not before.whole or not book.in_step(before) or await self._ask(look) != before:
            self._hinted = True
            return
        apart = frozenset(filter(partial(self._settles, now), {*book.held, *(held.instrument for held in holdings)}))
        found = callbook.differences(book, holdings, apart)
        if found != self._suspected:
            self._suspected = found
            if found:
                return
        self._compared_at = time.monotonic()
        await self._tell(Compared(holdings, apart, now))

    def _settles(self, now: Moment, name: str) -> bool:
        """Whether an instrument is a contract that expires today or has: exchange, broker and books settle it each in
        its time, without a trade."""
        instrument = self._context.instruments.get(name)
        expiry = instrument.expiry if instrument is not None else None
        return expiry is not None and expiry <= trading_date(now.broker)

    # The simulated broker's clock

    def _late(self, book: CallBook) -> bool:
        """Whether the book is yet to show an order that was taken: what becomes of it is told in its time, unless the
        book leaves it out for longer than any order is late."""
        since = time.time_ns() // 1_000_000 - int(1000 * self._trader.pace.absent_after_s)
        return any(book.calls[name].sent_at > since for name in book.unseen)

    async def _advance(self) -> bool:
        """Let a simulated broker match up to where all commands were taken in, and say what came of it."""
        row, reached = self._shop.row(), self._shop.reached()
        if reached is None or reached <= row.clock or row.book.unknown or self._late(row.book):
            return False
        progress = await self._ask(lambda: self._client.advance(reached))
        if progress.version != row.version:
            await self._read()
        if progress.time <= row.clock and progress.version == row.version:
            return False
        await self._tell(Advanced(progress.model_copy(update={"time": max(progress.time, row.clock)})))
        return True
